"""Compiled kernels that turn edges into rows of the least-squares problem, on the CPU.

All take edges in CSR form (see ``hamfit.graphs.Edges``) and add into a panel that the caller owns, so that no array
larger than a panel is ever made. They are single-threaded and release the GIL: parallelism is over shards. Sums run
in the order of the edges, so the same input gives the same bits.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from hamfit.types import FloatArray, IntArray

#: Spline pieces are polynomials of this degree.
SPLINE_DEGREE = 7
_ORDER = SPLINE_DEGREE + 1

MAP_R, MAP_INVERSE, MAP_SQUARE = 0, 1, 2
#: Edges whose splines are evaluated together.
_BATCH = 64


@nb.njit(cache=True, nogil=True, inline="always")
def mapped(input_map: int, r: float) -> tuple[float, float]:
    """s(r) and (ds/dr)/r of an input map."""
    if input_map == MAP_R:
        return r, (1.0 / r if r > 0.0 else 0.0)
    if input_map == MAP_INVERSE:
        s = 1.0 / r
        return s, -s * s * s
    return r * r, 2.0


@nb.njit(cache=True, nogil=True)
def radial_rows(
    offsets: IntArray,
    vector: FloatArray,
    channel: IntArray,
    slopes: FloatArray,
    per_channel: int,
    dim: int,
    column: int,
    out: FloatArray,
) -> None:
    """Add slopes[e, k] * vector[e, axis] of every edge to the rows of its centre.

    offsets (C+1), vector (E, 3), channel (E), slopes (E, per_channel); out (C*dim, at least column +
    channels*per_channel), of which the columns from ``column`` on are used.
    """
    for centre in range(offsets.shape[0] - 1):
        for e in range(offsets[centre], offsets[centre + 1]):
            first = column + channel[e] * per_channel
            for axis in range(dim):
                component = vector[e, axis]
                row = centre * dim + axis
                for k in range(per_channel):
                    out[row, first + k] += slopes[e, k] * component


@nb.njit(cache=True, nogil=True, fastmath={"contract"})
def spline_rows(
    offsets: IntArray,
    vector: FloatArray,
    distance: FloatArray,
    channel: IntArray,
    maps: IntArray,
    low: FloatArray,
    scale: FloatArray,
    pieces: IntArray,
    first_column: IntArray,
    slope_basis: FloatArray,
    dim: int,
    out: FloatArray,
    extent: FloatArray,
    outside: IntArray,
) -> int:
    """Add the gradients of all B-splines of the distance of every edge to the rows of its centre.

    The splines of channel c live on ``pieces[c]`` equal intervals of t = (s(r) - low[c]) * scale[c], one interval
    long each, and occupy columns first_column[c] + 0 .. pieces[c] + degree - 1. ``slope_basis`` (degree, degree+1)
    holds, by rising power, the polynomials of d(B-spline)/dt on one interval. ``extent`` (channels, 2) is widened to
    the distances met. Edges outside the intervals are left out and listed in ``outside``; their number is returned.
    """
    n_outside = 0
    # the eight splines of a batch of edges, edges along the fast axis, so that the polynomials vectorise
    splines = np.empty((_ORDER, _BATCH))
    local = np.empty(_BATCH)
    slope = np.empty(_BATCH)
    column = np.empty(_BATCH, dtype=np.int64)
    for centre in range(offsets.shape[0] - 1):
        row = centre * dim
        for begin in range(offsets[centre], offsets[centre + 1], _BATCH):
            count = min(_BATCH, offsets[centre + 1] - begin)
            for k in range(count):
                c = channel[begin + k]
                r = distance[begin + k]
                extent[c, 0] = min(extent[c, 0], r)
                extent[c, 1] = max(extent[c, 1], r)
                s, steep = mapped(maps[c], r)
                t = (s - low[c]) * scale[c]
                if t < 0.0 or t > pieces[c]:
                    outside[n_outside] = begin + k
                    n_outside += 1
                    t = 0.0
                    steep = 0.0
                piece = min(int(t), pieces[c] - 1)
                local[k] = t - piece
                slope[k] = steep * scale[c]
                column[k] = first_column[c] + piece
            for j in range(_ORDER):
                for k in range(count):
                    value = slope_basis[SPLINE_DEGREE - 1, j]
                    for power in range(SPLINE_DEGREE - 2, -1, -1):
                        value = value * local[k] + slope_basis[power, j]
                    splines[j, k] = value * slope[k]
            for k in range(count):
                for axis in range(dim):
                    component = vector[begin + k, axis]
                    for j in range(_ORDER):
                        out[row + axis, column[k] + j] += component * splines[j, k]
    return n_outside


@nb.njit(cache=True, nogil=True)
def widen_extent(distance: FloatArray, channel: IntArray, extent: FloatArray) -> None:
    """Widen ``extent`` (channels, 2) to the shortest and longest distance of each channel."""
    for e in range(distance.shape[0]):
        c = channel[e]
        if distance[e] < extent[c, 0]:
            extent[c, 0] = distance[e]
        if distance[e] > extent[c, 1]:
            extent[c, 1] = distance[e]


@nb.njit(cache=True, nogil=True)
def count_outside(distance: FloatArray, channel: IntArray, extent: FloatArray) -> int:
    """How many of the distances lie outside their channel's extent (channels, 2); all where that is nan."""
    count = 0
    for e in range(distance.shape[0]):
        c = channel[e]
        count += not (extent[c, 0] <= distance[e] <= extent[c, 1])
    return count
