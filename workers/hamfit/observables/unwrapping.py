"""Positions that follow each particle through the box, whatever convention they were stored in.

Unwrapped positions are taken as they are. Wrapped ones (all in one cell, jumping by a lattice vector where a particle
leaves it) are followed by nearest images, which is right as long as no particle moves half a cell between two
frames. Which of the two a trajectory is, it tells itself.
"""

from __future__ import annotations

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


class Unwrapper:
    """Turns the frames of one trajectory, given in order, into unwrapped positions."""

    def __init__(self, wrapped: bool) -> None:
        self._wrapped = wrapped
        self._before: FloatArray | None = None
        self._turns: FloatArray | None = None

    def __call__(self, frame: Frame) -> FloatArray:
        """Positions (N, d) that continue those of the frame before."""
        if not self._wrapped:
            return frame.q
        lattice = Lattice.of(frame)
        fractions = padded(frame.q) @ lattice.inverse
        if self._before is None or self._turns is None:
            self._turns = np.zeros_like(fractions)
        else:
            self._turns = self._turns - np.round(fractions - self._before) * lattice.periodic
        self._before = fractions
        return frame.q + (self._turns @ lattice.vectors)[:, : frame.dim]


def lattice_shift(q: FloatArray, frame: Frame) -> FloatArray:
    """The lattice vectors that bring the frame's positions nearest to `q`, (N, d); zero along open directions."""
    lattice = Lattice.of(frame)
    turns = np.round(padded(q - frame.q) @ lattice.inverse) * lattice.periodic
    return np.asarray((turns @ lattice.vectors)[:, : frame.dim])
