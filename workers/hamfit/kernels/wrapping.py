"""Positions moved into the box along its periodic directions.

Graphs, kept lists and engines all move them here: the same position in the box means the same distances, to the last
bit, and so the same pairs within a cutoff.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hamfit.types import FloatArray, IntArray


@njit(cache=True, nogil=True, inline="always")
def enter_box(
    q: FloatArray, i: int, k: int, lattice: FloatArray, inverse: FloatArray, periodic: IntArray, x: FloatArray
) -> tuple[float, float]:
    """Move x[i] into the box along direction k, where q[i] is; its fractional coordinate there, and boxes moved by."""
    t = q[i, 0] * inverse[0, k] + q[i, 1] * inverse[1, k] + q[i, 2] * inverse[2, k]
    boxes = 0.0
    if periodic[k]:
        boxes = np.floor(t)
        t -= boxes
        for a in range(3):
            x[i, a] -= boxes * lattice[k, a]
    return t, boxes


@njit(cache=True, nogil=True)
def wrap(
    q: FloatArray, lattice: FloatArray, inverse: FloatArray, periodic: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Positions moved into the box along its periodic directions.

    q (N, 3); lattice (3, 3) rows; inverse its inverse; periodic (3,) 0 or 1. Returns the positions (N, 3),
    their fractional coordinates (N, 3), in [0, 1] along periodic directions, and the least and greatest of
    these, (3,) each.
    """
    n = q.shape[0]
    x = np.empty((n, 3))
    s = np.empty((n, 3))
    low = np.full(3, np.inf)
    high = np.full(3, -np.inf)
    for i in range(n):
        for a in range(3):
            x[i, a] = q[i, a]
        for k in range(3):
            t, _ = enter_box(q, i, k, lattice, inverse, periodic, x)
            s[i, k] = t
            low[k] = min(low[k], t)
            high[k] = max(high[k], t)
    return x, s, low, high
