"""Which frames of the reference a rollout can be compared with, frame by frame.

A rollout says in `attrs["rollout"]` where it started; without that it is taken to start where the reference
trajectory of the same name does. Frames are matched by the time since the start. Whatever it says, the first frames
must be the same state: a replica with velocities of its own follows the same law on another path, and comparing it
frame by frame would mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hamfit.data import Dataset, Trajectory
from hamfit.errors import DataError
from hamfit.frames import Frame
from hamfit.observables.state import momenta
from hamfit.observables.unwrapping import lattice_shift
from hamfit.types import FloatArray, IntArray

SAME_STATE = 1e-9
"""Relative difference up to which two first frames are the same state."""
SAME_TIME = 1e-6
"""Two frames have the same time when they are nearer than this part of the time between frames."""


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A rollout and the part of the reference that starts in the same state."""

    rollout: Trajectory
    reference: Trajectory | None
    """The trajectory that it started from; None where unknown."""
    start: int
    """Frame of the reference that it started from."""
    replica: int
    """Number among rollouts of the same start."""
    frames: IntArray = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    """Pairs (frame of the rollout, frame of the reference) at equal times, (M, 2), increasing; empty when `why` is
    set."""
    time: FloatArray = field(default_factory=lambda: np.empty(0))
    """Time since the start of each pair, (M,)."""
    why: str | None = None
    """Why the two cannot be compared frame by frame."""


def match(reference: Dataset, rollout: Trajectory, labels: tuple[str, ...]) -> Match:
    """Match one rollout, whose species are named by `labels`, with the reference.

    Raises DataError when the rollout names a trajectory or frame that the reference lacks.
    """
    origin = rollout.attrs.get("rollout")
    origin = origin if isinstance(origin, Mapping) else {}
    replica = int(origin.get("replica", 0))
    known = {trajectory.name: trajectory for trajectory in reference.trajectories}
    source = origin.get("source")
    if source is not None and source != reference.digest:
        return Match(rollout, None, 0, replica, why="it started from another dataset than the reference")
    name = str(origin.get("trajectory", rollout.name))
    if name not in known:
        if "trajectory" in origin:
            raise DataError(
                f"rollout {rollout.name} started from trajectory {name}, which {reference.path} lacks: give the dataset"
                " that it was started from"
            )
        return Match(rollout, None, 0, replica, why="it does not say where it started")
    start = int(origin.get("frame", 0))
    start = start + known[name].n_frames if start < 0 else start
    if not 0 <= start < known[name].n_frames:
        raise DataError(
            f"rollout {rollout.name} started from frame {start} of {name}, which has {known[name].n_frames} frames:"
            " give the dataset that it was started from"
        )
    trajectory = known[name]
    why = _state_differs(trajectory.frame(start), rollout.frame(0), reference.labels, labels)
    if why is None and not (trajectory.has_time and rollout.has_time):
        why = "the times of its frames or of the reference's are unknown"
    if why is not None:
        return Match(rollout, trajectory, start, replica, why=why)
    frames, time = same_times(rollout.time, trajectory.time[start:])
    if len(frames) < 2:
        why = f"no frame after the first has a counterpart in time among those of {name} after frame {start}"
        return Match(rollout, trajectory, start, replica, why=why)
    return Match(rollout, trajectory, start, replica, frames + np.array([0, start]), time)


def _state_differs(true: Frame, first: Frame, true_labels: tuple[str, ...], labels: tuple[str, ...]) -> str | None:
    """Why two first frames are not the same state of the same particles; None when they are."""
    if true.q.shape != first.q.shape:
        return f"it has {first.n_particles} particles where its start has {true.n_particles}"
    names = [true_labels[k] for k in true.species], [labels[k] for k in first.species]
    if names[0] != names[1] or not np.allclose(true.masses, first.masses, rtol=1e-9, atol=0.0):
        return "its particles are others than those of its start"
    near = true.q + lattice_shift(first.q, true)
    # differences relative to the extent of the system: the origin of coordinates is arbitrary
    extent = float(np.ptp(near, axis=0).max()) or 1.0
    if float(np.abs(near - first.q).max()) > SAME_STATE * extent:
        return "it starts at other positions than the frame that it names"
    p, p_hat = momenta(true), momenta(first)
    if p is not None and p_hat is not None:
        size = float(np.abs(p).max()) or 1.0
        if float(np.abs(p - p_hat).max()) > SAME_STATE * size:
            return "it starts with velocities of its own"
    return None


def same_times(rollout: FloatArray, reference: FloatArray) -> tuple[IntArray, FloatArray]:
    """Pairs of indices at equal times since the first entry, (M, 2), and these times."""
    a, b = rollout - rollout[0], reference - reference[0]
    # the last frame of a rollout may be as near as one step to the one before it, and says nothing of the others
    spacings = np.concatenate([np.diff(times)[: max(1, len(times) - 2)] for times in (a, b)])
    tolerance = SAME_TIME * float(spacings.min(initial=np.inf)) if spacings.size else 0.0
    place = np.clip(np.searchsorted(b, a), 1, max(len(b) - 1, 1))
    left = np.minimum(place - 1, len(b) - 1)
    right = np.minimum(place, len(b) - 1)
    nearest = np.where(np.abs(b[left] - a) <= np.abs(b[right] - a), left, right)
    same = np.flatnonzero(np.abs(b[nearest] - a) <= tolerance)
    return np.stack([same, nearest[same]], axis=1).astype(np.int64), a[same]
