"""Looking at trajectories that a rollout has written so far, from outside and without disturbing it.

A running rollout keeps its frames in three places: full chunks in the store to be, the rest in the checkpoint of each
trajectory, and what came after that in memory. The first two are read here, so that a watcher is behind by one
checkpoint at most. Everything that is read is checked against checksums; what vanishes meanwhile (a checkpoint that is
replaced, a rollout that ends) is looked for again by the caller.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.bundles import read_bundle, within
from hamfit.data import layout
from hamfit.data.manifest import Manifest, arrays_from_json, read_manifest, trajectory_from_json
from hamfit.errors import StoreError
from hamfit.rollouts.starts import initial_states
from hamfit.rollouts.workspace import Workspace
from hamfit.stores.zarr_array import CRC_BYTES, ArrayEntry, NumericArray, StoredArray, chunk_shape

MOST_NAMES = 10_000
"""Trajectories that a watcher is told of; nobody reads a longer list."""

_CHECKPOINT_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Watched:
    """A trajectory as far as it is."""

    name: str
    step: int
    """Steps made."""
    n_frames: int
    """Frames that can be read."""
    finished: bool
    summary: Mapping[str, Any] | None
    """How it went, once it is finished."""


def workspace_of(out: Path) -> Workspace | None:
    """The workspace of a rollout that is to end at ``out``; None when there is none."""
    hidden = out.with_name(f".{out.name}.rollout")
    try:
        home = hidden / json.loads((hidden / "plan.json").read_bytes())["folder"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Workspace(home, out, "") if home.is_dir() else None


def begun(workspace: Workspace) -> Sequence[str]:
    """Names of the trajectories that have begun, in alphabetical order."""
    names: set[str] = set()
    for folder, suffix in (("locks", ""), ("finished", ".json")):
        try:
            entries = [entry.name for entry in (workspace.home / folder).iterdir()]
        except OSError:
            continue  # the rollout ended this moment
        names.update(
            entry.removesuffix(suffix) for entry in entries if entry.endswith(suffix) and ".partial" not in entry
        )
    return sorted(names)


def watched(workspace: Workspace, name: str) -> Watched:
    """How far a trajectory is; at its start when nothing is known of it."""
    try:
        done = workspace.finished(name)
    except StoreError:
        done = None
    if done is not None:
        # a state that is none to start from has no trajectory
        frames = sum(trajectory_from_json(entry).n_frames for entry in done["written"]["trajectories"])
        return Watched(name, int(done["summary"]["steps"]), frames, True, done["summary"])
    try:
        kept = json.loads((workspace.checkpoint(name) / "zarr.json").read_bytes())["attributes"]
        step, frames = int(kept["step"]), int(kept["writer"]["n_frames"])
    except (OSError, ValueError, KeyError, TypeError):
        step, frames = 0, 0
    return Watched(name, max(step, workspace.told(name) or 0), frames, False, None)


@dataclass(frozen=True, slots=True, eq=False)
class Readable:
    """The arrays of one trajectory, wherever they lie."""

    root: Path
    name: str
    n_frames: int
    series: Mapping[str, tuple[StoredArray | None, NumericArray]]
    """By element (position, velocity, ..., step, time): full chunks, and the rows that follow them."""
    fixed: Mapping[str, NumericArray]
    """What is the same for all frames: species, mass, box."""
    labels: Sequence[str] = ()
    """Names of the species, where they are known."""

    def bytes_per_frame(self) -> int:
        """Size of one frame in memory."""
        return sum(8 * math.prod(rows.shape[1:]) for _, rows in self.series.values())

    def read(self, start: int, stop: int, step: int = 1) -> dict[str, NumericArray]:
        """Every ``step``-th of the frames start..stop, and what is fixed. Raises StoreError for damage."""
        return {key: self._rows(key, range(start, stop, step)) for key in self.series} | dict(self.fixed)

    def _rows(self, key: str, rows: range) -> NumericArray:
        """These rows; one chunk at a time is read, however far they are apart."""
        stored, rest = self.series[key]
        found = np.empty((len(rows), *rest.shape[1:]), dtype=rest.dtype)
        full = 0 if stored is None else stored.entry.shape[0]
        at = 0
        while stored is not None and at < len(rows) and rows[at] < full:
            size = stored.entry.chunks[0]
            end = min((rows[at] // size + 1) * size, full)
            here = rows[at : at + len(range(rows[at], min(end, rows.stop), rows.step))]
            found[at : at + len(here)] = stored.read(here[0], here[-1] + 1)[:: rows.step]
            at += len(here)
        found[at:] = rest[[row - full for row in rows[at:]]]
        return found


def open_published(path: Path, name: str) -> Readable | None:
    """A trajectory of a dataset that is complete; None when it has none of that name. Raises StoreError."""
    manifest = read_manifest(path)
    return _of_manifest(path, manifest, name)


def open_running(workspace: Workspace, name: str) -> Readable | None:
    """A trajectory of a rollout under way; None when no frame of it can be read yet.

    Raises StoreError when it is damaged, or was replaced while it was read: then it can be opened again.
    """
    done = workspace.finished(name)
    if done is not None:
        written = done["written"]
        if not written["trajectories"]:
            return None
        return _of_entries(
            workspace.store, trajectory_from_json(written["trajectories"][0]), arrays_from_json(written["arrays"]), ()
        )
    if not workspace.checkpoint(name).is_dir():
        return None
    attrs, arrays = read_bundle(workspace.checkpoint(name), "checkpoint", _CHECKPOINT_SCHEMA)
    return _of_checkpoint(workspace.store, name, attrs["writer"], within("pending", arrays))


def _of_manifest(path: Path, manifest: Manifest, name: str) -> Readable | None:
    for entry in manifest.trajectories:
        if entry.name == name:
            return _of_entries(path, entry, manifest.arrays, manifest.labels)
    return None


def _of_entries(root: Path, entry: Any, arrays: Mapping[str, ArrayEntry], labels: Sequence[str]) -> Readable:
    series: dict[str, tuple[StoredArray | None, NumericArray]] = {}
    for key, path in _series_paths(entry.name, [*entry.fields, "position"]):
        if path in arrays:
            stored = StoredArray(root, arrays[path])
            series[key] = (stored, np.empty((0, *stored.entry.shape[1:]), dtype=stored.entry.dtype))
    fixed = {key: StoredArray(root, arrays[path]).read() for key, path in _fixed_paths(entry.name) if path in arrays}
    return Readable(root, entry.name, entry.n_frames, series, fixed, labels)


def _of_checkpoint(
    root: Path, name: str, attrs: Mapping[str, Any], pending: Mapping[str, NumericArray]
) -> Readable | None:
    if not attrs["n_frames"]:
        return None
    series: dict[str, tuple[StoredArray | None, NumericArray]] = {}
    for key, path in _series_paths(name, [*attrs["fields"], "position"]):
        if path in pending:
            series[key] = (_full_chunks(root, path, attrs["crc32c"][path], pending[path]), pending[path])
    n, dim = series["position"][1].shape[1:]
    shapes = {"species": ((n,), "int64"), "mass": ((n,), "float64"), "box": ((dim, dim), "float64")}
    fixed = {}
    for key, path in _fixed_paths(name):
        if key in series or (key == "box" and "box_fixed" not in attrs["fields"]):
            continue
        fixed[key] = _whole(root, path, *shapes[key])
    return Readable(root, name, int(attrs["n_frames"]), series, fixed)


def _series_paths(name: str, fields: Sequence[str]) -> list[tuple[str, str]]:
    """What a reader calls each array that has a row for each frame, and where it lies."""
    position = f"{name}/{layout.POSITION.path}"
    found = [("step", f"{position}/step"), ("time", f"{position}/time")]
    found += [(f, f"{name}/{layout.ELEMENTS[f].path}/value") for f in sorted(fields) if f in layout.ELEMENTS]
    return found


def _fixed_paths(name: str) -> list[tuple[str, str]]:
    return [
        ("species", f"{name}/{layout.SPECIES}"),
        ("mass", f"{name}/{layout.MASS}"),
        ("box", f"{name}/{layout.EDGES}"),
    ]


def _full_chunks(root: Path, key: str, crcs: Sequence[str], pending: NumericArray) -> StoredArray | None:
    """The chunks that `ArrayWriter` had written at a checkpoint."""
    row = pending.shape[1:]
    rows = chunk_shape((2**62, *row))[0]
    chunks = (rows, *chunk_shape((rows, *row))[1:])
    beside = math.prod(-(-n // c) for n, c in zip(row, chunks[1:], strict=True))
    if not crcs:
        return None
    shape = (len(crcs) // beside * rows, *row)
    return StoredArray(root, ArrayEntry(key, shape, chunks, str(pending.dtype), "", tuple(crcs)))


def _whole(root: Path, key: str, shape: tuple[int, ...], dtype: str) -> NumericArray:
    """An array that was written at once, before there is a manifest: checked against the checksum in each chunk."""
    entry = ArrayEntry(key, shape, chunk_shape(shape), dtype, "", ())
    crcs = []
    for index in np.ndindex(*entry.grid):
        path = root / key / entry.chunk_name(tuple(int(i) for i in index))
        try:
            crcs.append(f"{int.from_bytes(path.read_bytes()[-CRC_BYTES:], 'little'):08x}")
        except OSError as error:
            raise StoreError(f"{root}: {key} cannot be read ({error.strerror}): repeat the rollout") from error
    return StoredArray(root, ArrayEntry(key, shape, entry.chunks, dtype, "", tuple(crcs))).read()


@lru_cache(maxsize=32)
def expected(
    home: Path, initial: Path, frames: str, replicas: int, temperature: float | None, seed: int
) -> tuple[str, ...]:
    """Names of all trajectories that the rollout with this workspace will have, in their order.

    Raises StoreError, DataError or ModelError when model or dataset are no longer what they were.
    """
    states = initial_states(
        home / "model", initial, frames=frames, replicas=replicas, temperature=temperature, seed=seed
    )
    return tuple(states.name(plan) for plan in states[:MOST_NAMES])
