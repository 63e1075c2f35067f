"""The completeness manifest: what a dataset must hold, so that nothing missing can pass for data.

`_manifest.json` is written last. It names every array with its shape, chunks and digests, and every
trajectory with what it has, and it ends in a digest of its own. Opening a dataset reads this one file (and
the sizes of the chunk files), never the metadata of thousands of arrays: that is why it is quick. It
duplicates what the zarr.json files say to other readers; the manifest is the authority here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hamfit.data.units import Units
from hamfit.errors import StoreError
from hamfit.stores.publish import is_being_written
from hamfit.stores.replacing import MANIFEST
from hamfit.stores.zarr_array import ArrayEntry

FORMAT = "hamfit-dataset"
SCHEMA_VERSION = 1
_SEAL_BYTES = len(',"checksum":""}') + 64


@dataclass(frozen=True, slots=True)
class TrajectoryEntry:
    """What the manifest says of one trajectory; the arrays lie in the group of the same name."""

    name: str
    n_frames: int
    n_particles: int
    dim: int
    periodic: tuple[bool, ...]
    fields: tuple[str, ...]
    """Elements present besides position: velocity, force, momentum, momentum_rate, potential_energy, box,
    box_fixed, bonds, time."""
    attrs: Mapping[str, Any]
    """What ingest or simulate recorded about the origin of the numbers."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All a reader must know before it touches an array."""

    units: Units
    labels: tuple[str, ...]
    bond_labels: tuple[str, ...]
    trajectories: tuple[TrajectoryEntry, ...]
    arrays: Mapping[str, ArrayEntry]
    attrs: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """sha256 (hex) of the content: units, names, trajectories and array digests, but neither chunks nor
        attrs.

        Two datasets with the same numbers under the same names have the same digest, whoever wrote them and
        when.
        """
        content = {
            "units": self.units.to_attrs(),
            "labels": self.labels,
            "bond_labels": self.bond_labels,
            "trajectories": [
                [t.name, t.n_frames, t.n_particles, t.dim, t.periodic, sorted(t.fields)] for t in self.trajectories
            ],
            "arrays": sorted((a.key, a.shape, a.dtype, a.sha256) for a in self.arrays.values()),
        }
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON, ending in a checksum over all the rest."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "digest": manifest.digest,
        "units": manifest.units.to_attrs(),
        "labels": manifest.labels,
        "bond_labels": manifest.bond_labels,
        "attrs": manifest.attrs,
        "trajectories": [asdict(t) for t in manifest.trajectories],
        "arrays": arrays_to_json(manifest.arrays),
    }
    return _sealed(json.dumps(document, separators=(",", ":"), allow_nan=False).encode())


def arrays_to_json(arrays: Mapping[str, ArrayEntry]) -> dict[str, Any]:
    """Entries of arrays as JSON-able values; `arrays_from_json` is the inverse."""
    return {
        a.key: {
            "shape": a.shape,
            "chunk_shape": a.chunks,
            "data_type": a.dtype,
            "n_chunks": len(a.crc32c),
            "sha256": a.sha256,
            "crc32c": "".join(a.crc32c),
        }
        for a in arrays.values()
    }


def _sealed(raw: bytes) -> bytes:
    """JSON text of an object with one more field at its end: the checksum of the text before that field."""
    body = raw[:-1]
    return body + b',"checksum":"' + hashlib.sha256(body).hexdigest().encode() + b'"}'


def read_manifest(path: Path) -> Manifest:
    """The manifest of the store at `path`; StoreError when there is none, it is damaged, or its schema is
    newer."""
    if not path.is_dir():
        if is_being_written(path):
            raise StoreError(f"{path}: the dataset is still being written: wait until its writer has finished")
        found = "is a file" if path.exists() else "does not exist"
        raise StoreError(f"{path}: {found}, not a hamfit dataset: give the folder that ingest or simulate wrote")
    try:
        raw = (path / MANIFEST).read_bytes()
    except OSError as error:
        kind = "incomplete Zarr store" if (path / "zarr.json").exists() else "folder without a Zarr store"
        raise StoreError(f"{path}: {kind} ({MANIFEST} cannot be read): ingest or simulate the dataset again") from error
    damaged = f"{path}: {MANIFEST} is damaged: copy the store again or write it again"
    try:
        document = json.loads(raw)
        kind, version = document.get("format"), document.get("schema_version")
    except (ValueError, AttributeError) as error:
        raise StoreError(damaged) from error
    if kind != FORMAT:
        raise StoreError(f"{path}: the store holds {kind!r}, not a hamfit dataset: give a dataset")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: has dataset schema {version}, this hamfit knows up to {SCHEMA_VERSION}: upgrade hamfit"
        )
    # Over the text, not over the parsed values: writing those out again would take longer than the
    # rest of opening.
    if raw != _sealed(raw[:-_SEAL_BYTES] + b"}"):
        raise StoreError(damaged)
    try:
        return Manifest(
            Units.from_attrs(document["units"]),
            tuple(document["labels"]),
            tuple(document["bond_labels"]),
            tuple(trajectory_from_json(t) for t in document["trajectories"]),
            arrays_from_json(document["arrays"]),
            document["attrs"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(damaged) from error


def trajectory_from_json(t: Mapping[str, Any]) -> TrajectoryEntry:
    """The entry that `asdict` described; KeyError, TypeError or ValueError for anything else."""
    return TrajectoryEntry(**{**t, "periodic": tuple(map(bool, t["periodic"])), "fields": tuple(t["fields"])})


def arrays_from_json(arrays: Mapping[str, Any]) -> dict[str, ArrayEntry]:
    """The entries that `arrays_to_json` described; KeyError, TypeError or ValueError for anything else."""
    return {key: _array(key, a) for key, a in arrays.items()}


def _array(key: str, a: Mapping[str, Any]) -> ArrayEntry:
    crcs = a["crc32c"]
    entry = ArrayEntry(
        key,
        tuple(a["shape"]),
        tuple(a["chunk_shape"]),
        a["data_type"],
        a["sha256"],
        tuple(crcs[k : k + 8] for k in range(0, len(crcs), 8)),
    )
    if len(entry.crc32c) != a["n_chunks"]:
        raise ValueError(key)
    return entry
