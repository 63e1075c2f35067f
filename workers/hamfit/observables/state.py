"""What observables ask of a frame: momenta, velocities, volume."""

from __future__ import annotations

import numpy as np

from hamfit.frames import Frame
from hamfit.graphs.lattice import Lattice
from hamfit.types import FloatArray


def momenta(frame: Frame) -> FloatArray | None:
    """p of every particle, (N, d), from the momenta or else m dq/dt; None where neither is known."""
    if frame.p is not None:
        return frame.p
    return None if frame.qdot is None else frame.qdot * frame.masses[:, None]


def velocities(frame: Frame) -> FloatArray | None:
    """dq/dt of every particle, (N, d), or else p / m; None where neither is known."""
    if frame.qdot is not None:
        return frame.qdot
    return None if frame.p is None else frame.p / frame.masses[:, None]


def volume_of(frame: Frame) -> float:
    """Volume of the box of a frame that repeats in all its directions: an area in the plane, a length on a line."""
    return abs(float(np.linalg.det(np.asarray(frame.box))))


def smallest_height(frame: Frame) -> float:
    """Smallest distance between opposite faces of the cell: within half of it a pair has one image only."""
    return float(Lattice.of(frame).heights[: frame.dim].min())
