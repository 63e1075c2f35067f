"""A bundle: attributes and named arrays in one Zarr group that is either complete or not there at all.

Models, the bases of running fits and their partial states are bundles. A bundle is written under a temporary name
beside its place, its ``_manifest.json`` (kind, schema version, shape, dtype and digest of every array) comes last,
and a rename puts it in place. Reading checks everything against the manifest, so that a missing chunk never reads as
fill values. Arrays are stored uncompressed: they are numbers without structure, and time matters more than space.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.errors import StoreError

MANIFEST = "_manifest.json"


def write_bundle(
    path: Path, kind: str, schema: int, attrs: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a bundle at ``path``, replacing one that is there; nothing is left behind on failure.

    Array names may hold slashes, which become Zarr groups. Raises StoreError when the disk is full or read-only.
    """
    import zarr

    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(temporary, mode="w", zarr_format=3, attributes=dict(attrs))
        for name, value in arrays.items():
            # one chunk an array; an empty array still needs a chunk length
            chunks = tuple(max(1, n) for n in value.shape)
            stored = group.create_array(name, shape=value.shape, dtype=value.dtype, chunks=chunks, compressors=None)
            if value.size:
                stored[...] = value
        manifest = {
            "kind": kind,
            "schema": schema,
            "arrays": {
                name: {"shape": list(value.shape), "dtype": str(value.dtype), "sha256": digest_of(value)}
                for name, value in arrays.items()
            },
        }
        with open(temporary / MANIFEST, "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(temporary, path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise StoreError(f"{kind} {path} cannot be written: {reason}; free space or choose another place") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _put_in_place(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.rename(temporary, path)
        return
    old = path.with_name(f".{path.name}.{uuid.uuid4().hex}.old")
    os.rename(path, old)
    os.rename(temporary, path)
    shutil.rmtree(old, ignore_errors=True)


def read_manifest(path: Path, kind: str, schema: int) -> dict[str, Any]:
    """The manifest of a bundle; StoreError when it is missing, damaged, of another kind or newer than ``schema``."""
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


def read_bundle(path: Path, kind: str, schema: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Attributes and arrays of a bundle, every array checked against its digest.

    Raises StoreError when the bundle is missing, incomplete, damaged, of another kind or of a newer schema.
    """
    import zarr

    manifest = read_manifest(path, kind, schema)
    arrays: dict[str, np.ndarray] = {}
    try:
        group = zarr.open_group(path, mode="r", zarr_format=3)
        attrs = dict(group.attrs)
        for name, entry in manifest["arrays"].items():
            stored = group[name]
            if not isinstance(stored, zarr.Array):
                raise StoreError(f"array {name} of {kind} {path} is missing: write it again")
            value = np.asarray(stored[...])
            arrays[name] = value
            if list(value.shape) != entry["shape"] or str(value.dtype) != entry["dtype"]:
                raise StoreError(f"array {name} of {kind} {path} has changed its shape or type: write it again")
            if digest_of(value) != entry["sha256"]:
                raise StoreError(f"array {name} of {kind} {path} is damaged (digest differs): write it again")
    except StoreError:
        raise
    except Exception as error:  # zarr raises many kinds for a damaged store
        raise StoreError(f"{kind} {path} cannot be read ({error}): it is damaged; write it again") from error
    return attrs, arrays


def digest_of(value: np.ndarray) -> str:
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()


def nested(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays with ``prefix/`` before their names."""
    return {f"{prefix}/{name}": value for name, value in arrays.items()}


def within(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with ``prefix/``, without it."""
    start = f"{prefix}/"
    return {name[len(start) :]: value for name, value in arrays.items() if name.startswith(start)}
