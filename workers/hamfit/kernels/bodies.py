"""Particles sorted into columns, and who of them may meet whom: what all kernels of a time step take.

A chunk is a fixed set of rows of columns, and collects forces in a window of its own, which reaches as far ahead as its
runs do; the windows are added in the order of the chunks. So chunks depend on the system and never on the number of
threads, and neither does a bit of the result.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb

from hamfit.kernels.columns import Int32Array
from hamfit.types import FloatArray, IntArray


class Bodies(NamedTuple):
    """State of the sorted particles; rows of W >= N + LANES numbers, of which the last are spare."""

    q: FloatArray
    """Positions, (3, W)."""
    p: FloatArray
    """Momenta, (3, W)."""
    force: FloatArray
    """Forces, (3, W)."""
    start: FloatArray
    """Positions when the runs were found, (3, W)."""
    rate: FloatArray
    """dq/dt = rate * p, (N,)."""
    species: IntArray
    """Species of each particle, (N,)."""


class Reach(NamedTuple):
    """Who may meet whom until a particle has moved too far."""

    runs: Int32Array
    """(N, M, 4), see ``kernels.lanes``."""
    ends: Int32Array
    """Runs among particles of species b are ends[i, b] .. ends[i, b + 1], (N, S + 1)."""
    shifts: FloatArray
    """Lattice translations, (T, 3)."""
    chunks: IntArray
    """First particle of each chunk and the number of particles, (K + 1,)."""
    window: IntArray
    """For each chunk: first particle of its window, its length, its place in ``forces``, its row width, (K, 4)."""
    forces: FloatArray
    """Windows of all chunks, one after the other, each (3, width)."""


@nb.njit(cache=True, nogil=True, inline="always")
def window_of(k: int, reach: Reach) -> FloatArray:
    """The window of chunk k, (3, width)."""
    place, width = reach.window[k, 2], reach.window[k, 3]
    return reach.forces[place : place + 3 * width].reshape(3, width)
