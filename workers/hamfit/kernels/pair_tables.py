"""Functions of the distance that no single polynomial follows: piecewise polynomials, one distance at a time.

A law is up to three segments of the distance (nearer than any pair in training, as in training, farther), each with
equal pieces in a mapped distance, and on each piece one polynomial for the energy whose derivative is the force. Beyond
the segments the energy goes on along its tangent. These kernels are also the slow path of ``kernels.lanes`` for pairs
nearer than its polynomials reach, and evaluate the curves of models (``features.curves``), which end with their
segments.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from hamfit.kernels.columns import Int32Array
from hamfit.kernels.cpu import SPLINE_DEGREE, mapped
from hamfit.kernels.lanes import (
    OUT_ENERGY,
    OUT_FORCE,
    OUT_VIRIAL,
    RUN_BEGIN,
    RUN_END,
    RUN_SHIFT,
    RUN_TARGET,
)
from hamfit.kernels.measure import between
from hamfit.kernels.uncounted import uncounted
from hamfit.types import FloatArray, IntArray


class Tables(NamedTuple):
    """Piecewise polynomials of the distance for every channel; the order of the fields is that of ``curves.cu``."""

    segments: IntArray
    """Segments of channel c are segments[c] .. segments[c + 1], in order of distance, (C + 1,)."""
    ends: FloatArray
    """Largest distance of each segment, (G,)."""
    maps: IntArray
    """Code of each segment's input map, (G,)."""
    low: FloatArray
    """Mapped distance where its pieces begin, (G,)."""
    scale: FloatArray
    """Pieces for each unit of the mapped distance, (G,)."""
    pieces: IntArray
    """Number of its pieces, (G,)."""
    first: IntArray
    """Row of its first piece, (G,)."""
    coefficients: FloatArray
    """Energy on each piece by rising power of the place in it, 0 to 1, (rows, degree + 1)."""
    nearest: FloatArray
    """Distance below which the energy follows its tangent, (C,)."""
    farthest: FloatArray
    """Distance above which it does, (C,); beyond the cutoff where there is one."""


@nb.njit(cache=True, nogil=True, inline="always")
def _at(tables: Tables, c: int, r: float) -> tuple[float, float, float]:
    """Energy of channel c at r, its derivative by the place in the piece, and that of the place over r."""
    g = tables.segments[c]
    while g < tables.segments[c + 1] - 1 and r > tables.ends[g]:
        g += 1
    s, steep = mapped(tables.maps[g], r)
    t = (s - tables.low[g]) * tables.scale[g]
    piece = min(max(int(t), 0), tables.pieces[g] - 1)
    u = t - piece
    row = tables.coefficients[tables.first[g] + piece]
    energy = row[SPLINE_DEGREE]
    slope = 0.0
    for power in range(SPLINE_DEGREE - 1, -1, -1):
        slope = slope * u + energy
        energy = energy * u + row[power]
    return energy, slope, tables.scale[g] * steep


@uncounted
def law(tables: Tables, c: int, r: float) -> tuple[float, float]:
    """Energy and its derivative by the distance, of channel c."""
    inside = min(max(r, tables.nearest[c]), tables.farthest[c])
    energy, slope, steep = _at(tables, c, inside)
    slope *= steep * inside
    return energy + slope * (r - inside), slope


@uncounted
def follow_curve(
    tables: Tables, distance: FloatArray, channel: IntArray, value: FloatArray, slope: FloatArray, outside: IntArray
) -> int:
    """f(r) and f'(r)/r at distances (E,) of mixed channels.

    Those nearer or farther than their channel's segments are left out and listed in ``outside``; their number is
    returned.
    """
    n_outside = 0
    for e in range(distance.size):
        c, r = channel[e], distance[e]
        if tables.nearest[c] <= r <= tables.farthest[c]:
            value[e], by_place, steep = _at(tables, c, r)
            slope[e] = by_place * steep
        else:
            outside[n_outside] = e
            n_outside += 1
    return n_outside


@uncounted
def push_table(
    q: FloatArray,
    force: FloatArray,
    runs: Int32Array,
    first: int,
    last: int,
    shifts: FloatArray,
    x: float,
    y: float,
    z: float,
    tables: Tables,
    channel: int,
    limit2: float,
    observe: bool,
    out: FloatArray,
) -> None:
    """Add the forces of one centre's runs first .. last - 1, of all pairs with r^2 < limit2.

    q (3, W); force (3, at least the window) has the neighbours' share subtracted; runs (M, 4); x, y, z the centre;
    out (11,) as in ``kernels.lanes``. A pair at one place pushes nobody.
    """
    for k in range(first, last):
        t0, t1, t2 = shifts[runs[k, RUN_SHIFT]]
        ahead = runs[k, RUN_TARGET] - runs[k, RUN_BEGIN]
        for j in range(runs[k, RUN_BEGIN], runs[k, RUN_END]):
            d0, d1, d2, r2 = between(x, y, z, q[0, j], q[1, j], q[2, j], t0, t1, t2)
            if r2 >= limit2 or r2 == 0.0:
                continue
            r = np.sqrt(r2)
            energy, slope = law(tables, channel, r)
            pull = -slope / r
            force[0, j + ahead] -= pull * d0
            force[1, j + ahead] -= pull * d1
            force[2, j + ahead] -= pull * d2
            out[OUT_FORCE] += pull * d0
            out[OUT_FORCE + 1] += pull * d1
            out[OUT_FORCE + 2] += pull * d2
            if observe:
                out[OUT_ENERGY] += energy
                out[OUT_VIRIAL] += pull * d0 * d0
                out[OUT_VIRIAL + 1] += pull * d1 * d1
                out[OUT_VIRIAL + 2] += pull * d2 * d2
                out[OUT_VIRIAL + 3] += pull * d0 * d1
                out[OUT_VIRIAL + 4] += pull * d0 * d2
                out[OUT_VIRIAL + 5] += pull * d1 * d2
