"""Positions that follow each particle through the box, whatever convention they were stored in.

Unwrapped positions are taken as they are. Wrapped ones (all in one cell, jumping by a lattice vector where a particle
leaves it) are followed by nearest images, which is right as long as no particle moves half a cell between two
frames. Which of the two a trajectory is, it tells itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from hamfit.data import Trajectory
from hamfit.frames import Frame
from hamfit.graphs.lattice import Lattice, padded
from hamfit.types import FloatArray

_ROUNDING = 1e-6
"""Fractional coordinates may leave the cell by this much: files carry few digits."""


def is_wrapped(trajectory: Trajectory) -> bool:
    """Whether positions were folded into one cell: all lie in it, and some jump by more than half of it.

    Reads frames until one proves the contrary; trajectories in open space are not wrapped.
    """
    if not any(trajectory.periodic):
        return False
    low = high = previous = None
    jumps = False
    for frame in trajectory.stream():
        lattice = Lattice.of(frame)
        fractions = (padded(frame.q) @ lattice.inverse)[:, lattice.periodic == 1]
        if previous is not None:
            jumps = jumps or bool((np.abs(fractions - previous) > 0.5).any())
        previous = fractions
        low = fractions.min(axis=0) if low is None else np.minimum(low, fractions.min(axis=0))
        high = fractions.max(axis=0) if high is None else np.maximum(high, fractions.max(axis=0))
        if not (high - low <= 1.0 + _ROUNDING).all():
            return False
    return jumps


def unwrapped(frames: Iterable[Frame], wrapped: bool) -> Iterator[tuple[Frame, FloatArray]]:
    """Frames of one trajectory, given in order, each with positions (N, d) that continue those of the one before."""
    before: FloatArray | None = None
    turns: FloatArray | float = 0.0
    for frame in frames:
        if not wrapped:
            yield frame, frame.q
            continue
        lattice = Lattice.of(frame)
        fractions = padded(frame.q) @ lattice.inverse
        turns = turns - np.round(fractions - (fractions if before is None else before)) * lattice.periodic
        before = fractions
        yield frame, frame.q + (turns @ lattice.vectors)[:, : frame.dim]


def lattice_shift(q: FloatArray, frame: Frame) -> FloatArray:
    """The lattice vectors that bring the frame's positions nearest to `q`, (N, d); zero along open directions."""
    lattice = Lattice.of(frame)
    turns = np.round(padded(q - frame.q) @ lattice.inverse) * lattice.periodic
    return np.asarray((turns @ lattice.vectors)[:, : frame.dim])
