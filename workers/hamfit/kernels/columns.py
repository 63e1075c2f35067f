"""Particles sorted into columns, and for each of them the runs of particles within reach.

A box is cut into columns along its third axis (the caller turns the axes so that this is the longest). Particles are
stored row by row of columns, in a row species by species, in a species column by column, in a column layer by layer.
Then all particles within a distance R of one lie in a few contiguous runs, one for each column (and periodic image) in
reach, from one layer to another: a run is two numbers instead of a list, and found without a search. Each pair
occurs once: runs reach into columns ahead, and in the centre's own column to what comes after it.

Heights and gaps are measured in the lattice's own height units, y_k = s_k h_k with fractional coordinates s and
distances h between opposite faces. In an orthogonal box they are plain distances; in a skewed one |dr| >= max_k |dy_k|
still holds, which gives longer runs but never misses a pair.
"""

from __future__ import annotations

from typing import TypeAlias

import numba as nb
import numpy as np
import numpy.typing as npt

from hamfit.kernels.lanes import RUN_BEGIN, RUN_END, RUN_SHIFT, RUN_TARGET
from hamfit.types import FloatArray, IntArray

Int32Array: TypeAlias = npt.NDArray[np.int32]


@nb.njit(cache=True, nogil=True)
def _place(s: float, low: float, scale: float, count: int) -> int:
    """Which of ``count`` equal parts, ``scale`` to the unit of s, a coordinate lies in; monotonic in s."""
    return min(max(int((s - low) * scale), 0), count - 1)


@nb.njit(cache=True, nogil=True)
def _scale(span: float, count: int) -> float:
    return count / span if span > 0.0 else 0.0


@nb.njit(cache=True, nogil=True)
def _steps(limit: float, width: float, count: int, periodic: int) -> int:
    """Columns ahead that ``limit`` reaches into; without images no more than there are, however thin they be."""
    if width <= 0.0:
        return 0
    steps = np.ceil(limit / width)
    return int(steps) if periodic else int(min(steps, float(count)))


@nb.njit(cache=True, nogil=True)
def sort_into_columns(
    s: FloatArray, low: FloatArray, span: FloatArray, species: IntArray, shape: IntArray, n_species: int
) -> tuple[IntArray, IntArray]:
    """Order of the particles, (N,), and where each layer of each column begins, (rows * S * columns * layers + 1,).

    s (N, 3) fractional coordinates from low, within span, (3,); shape (3,): rows, columns in a row, layers. Layer
    (row, species, column, layer) has number ((row * S + species) * columns + column) * layers + layer. Particles of one
    layer stand in the order of their numbers.
    """
    n = s.shape[0]
    layers = shape[2]
    scale0, scale1, scale2 = _scale(span[0], shape[0]), _scale(span[1], shape[1]), _scale(span[2], layers)
    key = np.empty(n, np.int64)
    start = np.zeros(shape[0] * n_species * shape[1] * layers + 1, np.int64)
    for i in range(n):
        row = _place(s[i, 0], low[0], scale0, shape[0])
        column = _place(s[i, 1], low[1], scale1, shape[1])
        layer = _place(s[i, 2], low[2], scale2, layers)
        key[i] = ((row * n_species + species[i]) * shape[1] + column) * layers + layer
        start[key[i] + 1] += 1
    for k in range(start.size - 1):
        start[k + 1] += start[k]
    order = np.empty(n, np.int64)
    free = start[:-1].copy()
    for i in range(n):
        order[free[key[i]]] = i
        free[key[i]] += 1
    return order, start


@nb.njit(cache=True, nogil=True)
def find_runs(
    s: FloatArray,
    start: IntArray,
    low: FloatArray,
    span: FloatArray,
    heights: FloatArray,
    periodic: IntArray,
    orthogonal: bool,
    shape: IntArray,
    reach: FloatArray,
    images: IntArray,
    origins: IntArray,
    first_row: int,
    last_row: int,
    runs: Int32Array,
    ends: Int32Array,
) -> bool:
    """Fill ``runs`` and ``ends`` for the centres of rows first_row .. last_row - 1; False when there is no room.

    s (N, 3) sorted fractional coordinates; start as ``sort_into_columns`` gives it; heights (3,) between faces; reach
    (S, S), 0 where species do not interact; images (3,) how far translations are numbered: shift number
    ((b0 + images[0]) * (2 images[1] + 1) + b1 + images[1]) * (2 images[2] + 1) + b2 + images[2] moves by b boxes.
    origins (rows,): where the window of forces of each row's chunk begins. runs (N, M, 4); ends (N, S + 1): the runs of
    centre i among particles of species b are ends[i, b] .. ends[i, b + 1].
    """
    n_species, n_rows, n_columns, layers, n = reach.shape[0], shape[0], shape[1], shape[2], s.shape[0]
    room = runs.shape[1]
    h0, h1, h2 = heights[0], heights[1], heights[2]
    width0, width1 = span[0] / n_rows, span[1] / n_columns
    scale2 = _scale(span[2], layers)
    thickness = span[2] / layers
    for row in range(first_row, last_row):
        for a in range(n_species):
            for column in range(n_columns):
                own = ((row * n_species + a) * n_columns + column) * layers
                first, last = start[own], start[own + layers]
                for b in range(n_species):
                    for i in range(first, last):
                        if b == 0:
                            ends[i, 0] = 0
                        ends[i, b + 1] = ends[i, b]
                    limit = reach[a, b]
                    if limit <= 0.0 or first == last:
                        continue
                    limit2 = limit * limit
                    most0 = _steps(limit, width0 * h0, n_rows, periodic[0])
                    most1 = _steps(limit, width1 * h1, n_columns, periodic[1])
                    most2 = int(np.ceil(limit / h2)) if periodic[2] else 0
                    for e0 in range(row, row + most0 + 1):
                        b0 = e0 // n_rows
                        if b0 != 0 and not periodic[0]:
                            continue
                        left0 = low[0] + e0 * width0
                        for e1 in range(column if e0 == row else column - most1, column + most1 + 1):
                            b1 = e1 // n_columns
                            if b1 != 0 and not periodic[1]:
                                continue
                            same = e0 == row and e1 == column
                            if same and a > b:
                                continue
                            target = (((e0 - b0 * n_rows) * n_species + b) * n_columns + e1 - b1 * n_columns) * layers
                            if start[target] == start[target + layers]:
                                continue
                            apart0 = max(e0 - row - 1, 0) * width0 * h0
                            apart1 = max(abs(e1 - column) - 1, 0) * width1 * h1
                            if orthogonal and apart0 * apart0 + apart1 * apart1 >= limit2:
                                continue
                            left1 = low[1] + e1 * width1
                            for b2 in range(0 if same and a == b else -most2, most2 + 1):
                                shift = (b0 + images[0]) * (2 * images[1] + 1) + b1 + images[1]
                                shift = shift * (2 * images[2] + 1) + b2 + images[2]
                                some, beyond = _within(s, first, last, limit / h2 + thickness, b2, low[2], span[2])
                                for i in range(some, beyond):
                                    gap0 = max(left0 - s[i, 0], s[i, 0] - left0 - width0, 0.0) * h0
                                    gap1 = max(left1 - s[i, 1], s[i, 1] - left1 - width1, 0.0) * h1
                                    half = limit / h2
                                    if orthogonal:
                                        rest = limit2 - gap0 * gap0 - gap1 * gap1
                                        if rest <= 0.0:
                                            continue
                                        half = np.sqrt(rest) / h2
                                    elif max(gap0, gap1) >= limit:
                                        continue
                                    bottom, top = s[i, 2] - half - b2, s[i, 2] + half - b2
                                    if top < low[2] or bottom > low[2] + span[2]:
                                        continue
                                    up = start[target + _place(top, low[2], scale2, layers) + 1]
                                    if same and a == b and b2 == 0:
                                        down = i + 1
                                    else:
                                        down = start[target + _place(bottom, low[2], scale2, layers)]
                                    if down >= up:
                                        continue
                                    k = ends[i, b + 1]
                                    if k == room:
                                        return False
                                    goal = down - origins[row]
                                    runs[i, k, RUN_BEGIN] = down
                                    runs[i, k, RUN_END] = up
                                    runs[i, k, RUN_TARGET] = goal if goal >= 0 else goal + n
                                    runs[i, k, RUN_SHIFT] = shift
                                    ends[i, b + 1] = k + 1
    return True


@nb.njit(cache=True, nogil=True)
def _within(s: FloatArray, first: int, last: int, reach: float, box: int, low: float, span: float) -> tuple[int, int]:
    """The part of first .. last, layer by layer, from which the contents of another box can be reached.

    ``reach`` includes the thickness of a layer, within which particles are in no order.
    """
    if box > 0:
        k = last
        while k > first and s[k - 1, 2] + reach >= low + box:
            k -= 1
        return k, last
    if box < 0:
        k = first
        while k < last and s[k, 2] - reach <= low + span + box:
            k += 1
        return first, k
    return first, last
