"""Frames of a trajectory one after the other, read in pieces that fit the memory whatever the trajectory's length."""

from __future__ import annotations

from collections.abc import Iterator

from hamfit.data.dataset import Trajectory
from hamfit.frames import Frame

PIECE_BYTES = 2**23
"""Bytes of one vector field read at a time; a frame larger than that is read alone."""


def stream(trajectory: Trajectory, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
    """Frames start..stop in order; memory is one piece, not the trajectory."""
    stop = trajectory.n_frames if stop is None else stop
    step = max(1, PIECE_BYTES // (8 * max(1, trajectory.n_particles * trajectory.dim)))
    for first in range(start, stop, step):
        yield from trajectory.frames(first, min(stop, first + step))
