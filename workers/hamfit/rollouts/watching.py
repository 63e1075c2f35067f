"""Looking at trajectories that a rollout has written so far, from outside and without disturbing it.

A running rollout keeps its frames in three places: full chunks in the store to be, the rest in the checkpoint of each
trajectory, and what came after that in memory. The first two are read here, so that a watcher is behind by one
checkpoint at most. Everything that is read is checked against checksums; what vanishes meanwhile (a checkpoint that is
replaced, a rollout that ends) is looked for again by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from hamfit.data.manifest import read_manifest
from hamfit.data.readable import Readable
from hamfit.data.trajectory_writer import TrajectoryWriter
from hamfit.data.writer import read_part
from hamfit.errors import StoreError
from hamfit.rollouts.options import RolloutSpec
from hamfit.rollouts.starts import initial_states
from hamfit.rollouts.workspace import Workspace
from hamfit.stores.replacing import read_steadily

MOST_NAMES = 10_000
"""Trajectories that a watcher is told of; nobody reads a longer list."""


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


def watched(workspace: Workspace, name: str) -> Watched:
    """How far a trajectory is; at its start when nothing is known of it."""
    try:
        done = workspace.finished(name)
    except StoreError:
        done = None
    if done is not None:
        # a state that is none to start from has no trajectory
        entries, _ = read_part(done["written"])
        frames = sum(entry.n_frames for entry in entries)
        return Watched(name, int(done["summary"]["steps"]), frames, True, done["summary"])
    step, frames = workspace.steps_and_frames(name)
    return Watched(name, max(step, workspace.told(name) or 0), frames, False, None)


def open_published(path: Path, name: str) -> Readable | None:
    """A trajectory of a dataset that is complete; None when it has none of that name. Raises StoreError."""

    def found() -> Readable | None:
        manifest = read_manifest(path)
        for entry in manifest.trajectories:
            if entry.name == name:
                return Readable.of_entries(path, entry, manifest.arrays, manifest.labels)
        return None

    return read_steadily(path, found)


def open_running(workspace: Workspace, name: str) -> Readable | None:
    """A trajectory of a rollout under way; None when no frame of it can be read yet.

    Raises StoreError when it is damaged, or was replaced while it was read: then it can be opened again.
    """
    done = workspace.finished(name)
    if done is not None:
        entries, arrays = read_part(done["written"])
        return Readable.of_entries(workspace.store, entries[0], arrays) if entries else None
    if not workspace.checkpoint(name).is_dir():
        return None
    _, written, _, _ = workspace.kept(name)
    return TrajectoryWriter.readable(workspace.store, name, *written)


@lru_cache(maxsize=32)
def expected(
    home: Path, initial: Path, frames: str, replicas: int, temperature: float | None, seed: int
) -> tuple[str, ...]:
    """Names of all trajectories that the rollout with this workspace will have, in their order.

    Raises StoreError, DataError, ModelError or SpecError when model or dataset are no longer what they were.
    """
    given = {"steps": 1, "frames": frames, "replicas": replicas, "temperature": temperature, "seed": seed}
    options = RolloutSpec.build(given)
    states = initial_states(home / "model", initial, options)
    return tuple(states.name(plan) for plan in islice(states, MOST_NAMES))
