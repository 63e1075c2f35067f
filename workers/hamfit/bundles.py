"""A bundle: attributes and named arrays in one Zarr group that is either complete or not there at all.

Models, the bases of running fits and their partial states are bundles. A bundle is written under a hidden name beside
its place, its ``_manifest.json`` (kind, schema version, shape and checksums of every array) comes last, and a rename
puts it in place. Reading checks everything against the manifest, so that a missing chunk never reads as fill values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.errors import StoreError
from hamfit.stores.disk import write_bytes
from hamfit.stores.publish import publishing
from hamfit.stores.replacing import MANIFEST, read_steadily
from hamfit.stores.store_builder import StoreBuilder
from hamfit.stores.zarr_array import ArrayEntry, StoredArray

ATTRIBUTES = "zarr.json"


def write_bundle(
    path: Path,
    kind: str,
    schema: int,
    attrs: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    parents: bool = True,
) -> None:
    """Write a bundle at ``path``, replacing a store that is there; nothing is left behind on failure.

    Array names may hold slashes, which become Zarr groups; dtypes are float64 and int64. Without ``parents`` the folder
    that is to hold the bundle must be there: what is written into a workspace must not make one that was removed.
    Raises StoreError when another process is writing the same bundle, DiskError when the disk is full or read-only.
    """
    with publishing(path, overwrite=True, parents=parents) as root:
        builder = StoreBuilder(root, path)
        for name, value in arrays.items():
            builder.add_array(name, np.ascontiguousarray(value), tuple(f"axis_{k}" for k in range(value.ndim)))
        builder.write_metadata(attrs)
        with builder.writing():
            manifest = {
                "kind": kind,
                "schema": schema,
                "attributes": _digest(root / ATTRIBUTES),
                "arrays": [asdict(entry) for entry in builder.arrays.values()],
            }
            write_bytes(root / MANIFEST, json.dumps(manifest).encode())


def kind_of(path: Path) -> str | None:
    """Kind of the bundle at ``path``, whatever its schema; None when there is no bundle."""
    try:
        return str(json.loads((path / MANIFEST).read_bytes())["kind"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def peek(path: Path) -> dict[str, Any]:
    """Attributes of a bundle as they lie there, checked against nothing; StoreError when they cannot be read."""
    try:
        return dict(json.loads((path / ATTRIBUTES).read_bytes())["attributes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error}): it is damaged; write it again") from error


def fingerprint(path: Path) -> str:
    """sha256 (hex) of the manifest of a bundle: tells it from any other at the same place. Raises StoreError."""
    try:
        return _digest(path / MANIFEST)
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({error.strerror}): write it again") from error


def read_bundle(path: Path, kind: str, schema: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Attributes and arrays of a bundle, every chunk checked against the manifest.

    A bundle that is replaced meanwhile is read again, so that all comes from one. Raises StoreError when it is missing,
    incomplete, damaged, of another kind or of a newer schema.
    """
    return read_steadily(path, lambda: _read(path, kind, schema))


def _read(path: Path, kind: str, schema: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    manifest = _manifest(path, kind, schema)
    try:
        intact, attrs = _digest(path / ATTRIBUTES) == manifest["attributes"], peek(path)
        entries = [_entry(fields) for fields in manifest["arrays"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{kind} {path} cannot be read ({error}): it is damaged; write it again") from error
    if not intact:
        raise StoreError(f"{kind} {path}: {ATTRIBUTES} is not what was written: it is damaged; write it again")
    return attrs, {entry.key: StoredArray(path, entry).read() for entry in entries}


def _manifest(path: Path, kind: str, schema: int) -> dict[str, Any]:
    if not path.exists():
        raise StoreError(f"{kind} {path} does not exist: check the path")
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        found, version = str(manifest["kind"]), int(manifest["schema"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} is not a complete {kind}: its {MANIFEST} is missing or damaged; write it again"
        ) from error
    if found != kind:
        raise StoreError(f"{path} holds a {found} where a {kind} is needed: check the path")
    if version > schema:
        raise StoreError(
            f"{kind} {path} has schema {version}, newer than the {schema} this version reads: update hamfit"
        )
    return manifest


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _entry(f: Mapping[str, Any]) -> ArrayEntry:
    shape, chunks, crcs = tuple(f["shape"]), tuple(f["chunks"]), tuple(f["crc32c"])
    return ArrayEntry(str(f["key"]), shape, chunks, str(f["dtype"]), str(f["sha256"]), crcs)


def nested(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays with ``prefix/`` before their names."""
    return {f"{prefix}/{name}": value for name, value in arrays.items()}


def within(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with ``prefix/``, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in arrays.items() if name.startswith(start)}
