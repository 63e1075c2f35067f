"""Neighbours within a cutoff, for any subset of particles: the kernels of a cell list.

Why not only vesin, which is excellent at whole lists? A fit visits a frame in panels of a few hundred
centres, so that nothing larger than a panel is ever in memory; each panel asks for the full lists of its
own centres. vesin (like every list builder we know) answers for all particles at once: 600k edges of 48
bytes for 11k particles, sorted only at twice the cost of finding them. The kernels here sort the particles
into cells once, O(N) in time and memory, and then answer panels; vesin and brute force are their oracles in
the tests.

How a panel is answered. The particles are stored cell by cell, the last axis fastest, so that the cells in
reach form a few contiguous runs for each pair of offsets along the first two axes. All centres of one cell
share the particles of those runs: they are gathered once, with the lattice translation of each, and thinned
to those within the cutoff of the cell's own particles. What is left for each centre is one straight loop
over contiguous doubles, which the compiler vectorises, and one branch-free compaction. Boxes smaller than
the cutoff need no special case: cell numbers run on beyond the box, and the number of boxes passed is the
translation, self-images included.

Laws: differences are those of ``kernels.measure``, so the full list is symmetric to the last bit. The
neighbours of a centre and their order depend on the frame only, not on the panel.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hamfit.kernels.measure import between, coincide
from hamfit.types import FloatArray, IntArray

OK = -1
"""First word of the verdict of ``find_edges`` when nothing is wrong."""
OUT_OF_RANGE = -2
"""First word of that verdict when a centre is no particle; the second word is the centre."""


@njit(cache=True, nogil=True)
def sort_into_cells(
    s: FloatArray, low: FloatArray, scale: FloatArray, shape: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Counting sort of particles by cell, the last axis fastest, stable in the particle index.

    s (N, 3) fractional coordinates; cell number along k is ``floor((s - low) * scale)`` kept within
    ``shape``. Returns order (N,), the particle at each sorted place; rank (N,), its inverse; cell (N,), the
    cell at each sorted place; start (cells + 1,), where each cell begins.
    """
    n = s.shape[0]
    of = np.empty(n, np.int64)
    start = np.zeros(shape[0] * shape[1] * shape[2] + 1, np.int64)
    for i in range(n):
        number = 0
        for k in range(3):
            c = int((s[i, k] - low[k]) * scale[k])
            number = number * shape[k] + min(max(c, 0), shape[k] - 1)
        of[i] = number
        start[number + 1] += 1
    for c in range(start.shape[0] - 1):
        start[c + 1] += start[c]
    order = np.empty(n, np.int64)
    rank = np.empty(n, np.int64)
    cell = np.empty(n, np.int64)
    free = start[:-1].copy()
    for i in range(n):
        place = free[of[i]]
        free[of[i]] += 1
        order[place] = i
        rank[i] = place
        cell[place] = of[i]
    return order, rank, cell, start


@njit(cache=True, nogil=True)
def list_runs(
    cell: int, start: IntArray, shape: IntArray, reach: IntArray, periodic: IntArray, runs: IntArray
) -> tuple[int, int]:
    """The runs of sorted places within ``reach`` cells of ``cell``.

    Writes rows (begin, end, boxes passed along each axis) into runs (R, 5), and returns how many, and the
    sum of their lengths. With R = 0 nothing is written: a first call to size ``runs``.
    """
    c0 = cell // (shape[1] * shape[2])
    c1 = cell // shape[2] % shape[1]
    c2 = cell % shape[2]
    n_runs, total = 0, 0
    for e0 in range(c0 - reach[0], c0 + reach[0] + 1):
        b0 = e0 // shape[0]
        if b0 != 0 and not periodic[0]:
            continue
        for e1 in range(c1 - reach[1], c1 + reach[1] + 1):
            b1 = e1 // shape[1]
            if b1 != 0 and not periodic[1]:
                continue
            column = ((e0 - b0 * shape[0]) * shape[1] + e1 - b1 * shape[1]) * shape[2]
            first, last = c2 - reach[2], c2 + reach[2]
            if not periodic[2]:
                first, last = max(first, 0), min(last, shape[2] - 1)
            for b2 in range(first // shape[2], last // shape[2] + 1):
                begin = start[column + max(first - b2 * shape[2], 0)]
                end = start[column + min(last - b2 * shape[2], shape[2] - 1) + 1]
                if end > begin:
                    if n_runs < runs.shape[0]:
                        runs[n_runs, 0] = begin
                        runs[n_runs, 1] = end
                        runs[n_runs, 2] = b0
                        runs[n_runs, 3] = b1
                        runs[n_runs, 4] = b2
                    n_runs += 1
                    total += end - begin
    return n_runs, total


@njit(cache=True, nogil=True)
def gather_candidates(
    runs: IntArray,
    begin: int,
    end: int,
    x: FloatArray,
    lattice: FloatArray,
    reach2: float,
    place: IntArray,
    near: FloatArray,
) -> int:
    """Collect the particles of ``runs`` within sqrt(reach2) of the bounding box of the particles begin:end.

    x (3, N) sorted positions. Writes their sorted places into place (K,), and their positions (rows 0 to 2)
    and translations (rows 3 to 5) into near (6, K); returns how many.
    """
    lo0, lo1, lo2 = x[0, begin], x[1, begin], x[2, begin]
    hi0, hi1, hi2 = lo0, lo1, lo2
    for p in range(begin + 1, end):
        lo0, hi0 = min(lo0, x[0, p]), max(hi0, x[0, p])
        lo1, hi1 = min(lo1, x[1, p]), max(hi1, x[1, p])
        lo2, hi2 = min(lo2, x[2, p]), max(hi2, x[2, p])
    m = 0
    for r in range(runs.shape[0]):
        b0, b1, b2 = runs[r, 2], runs[r, 3], runs[r, 4]
        t0 = b0 * lattice[0, 0] + b1 * lattice[1, 0] + b2 * lattice[2, 0]
        t1 = b0 * lattice[0, 1] + b1 * lattice[1, 1] + b2 * lattice[2, 1]
        t2 = b0 * lattice[0, 2] + b1 * lattice[1, 2] + b2 * lattice[2, 2]
        for p in range(runs[r, 0], runs[r, 1]):
            x0, x1, x2 = x[0, p], x[1, p], x[2, p]
            d0 = max(lo0 - (x0 + t0), (x0 + t0) - hi0, 0.0)
            d1 = max(lo1 - (x1 + t1), (x1 + t1) - hi1, 0.0)
            d2 = max(lo2 - (x2 + t2), (x2 + t2) - hi2, 0.0)
            place[m] = p
            near[0, m], near[1, m], near[2, m] = x0, x1, x2
            near[3, m], near[4, m], near[5, m] = t0, t1, t2
            m += d0 * d0 + d1 * d1 + d2 * d2 <= reach2
    return m


@njit(cache=True, nogil=True)
def squared_distances(
    x0: float,
    x1: float,
    x2: float,
    y0: FloatArray,
    y1: FloatArray,
    y2: FloatArray,
    t0: FloatArray,
    t1: FloatArray,
    t2: FloatArray,
    limit: float,
    r2: FloatArray,
    hits: IntArray,
) -> int:
    """Write the places k where |x - y[k] - t[k]|^2 < limit into hits, and return how many; r2 holds all
    squares.

    Seven separate arrays, one of them written: more, and the compiler's test for overlap exceeds its own
    limit and it gives up vectorising.
    """
    for k in range(y0.shape[0]):
        _, _, _, r2[k] = between(x0, x1, x2, y0[k], y1[k], y2[k], t0[k], t1[k], t2[k])
    n = 0
    for k in range(y0.shape[0]):
        hits[n] = k
        n += r2[k] < limit
    return n


@njit(cache=True, nogil=True)
def enlarge_ints(old: IntArray, n: int, capacity: int) -> IntArray:
    """A copy with room for ``capacity`` entries of which the first n are set."""
    new = np.empty(capacity, np.int64)
    for k in range(n):
        new[k] = old[k]
    return new


@njit(cache=True, nogil=True)
def enlarge_floats(old: FloatArray, n: int, capacity: int) -> FloatArray:
    """A copy with room for ``capacity`` entries of which the first n are set."""
    new = np.empty(capacity)
    for k in range(n):
        new[k] = old[k]
    return new


@njit(cache=True, nogil=True)
def enlarge_vectors(old: FloatArray, n: int, capacity: int) -> FloatArray:
    """A copy with room for ``capacity`` rows of three of which the first n are set."""
    new = np.empty((capacity, 3))
    for k in range(n):
        for a in range(3):
            new[k, a] = old[k, a]
    return new


@njit(cache=True, nogil=True)
def find_edges(
    centres: IntArray,
    order: IntArray,
    rank: IntArray,
    cell: IntArray,
    start: IntArray,
    shape: IntArray,
    reach: IntArray,
    periodic: IntArray,
    x: FloatArray,
    species: IntArray,
    lattice: FloatArray,
    cutoffs2: FloatArray,
    widest2: FloatArray,
    reach2: float,
    channels: IntArray,
    guess: int,
) -> tuple[IntArray, IntArray, FloatArray, FloatArray, IntArray, IntArray]:
    """The full neighbour lists of ``centres``, (C,), in their order.

    order .. x and species: the particles sorted into cells; cutoffs2 (S, S): squared cutoffs; widest2 (S,):
    the greatest of each row; reach2: square of a length no less than any cutoff; channels (S, S); guess:
    edges per centre to make room for at first. Returns offsets (C + 1,), neighbour (E,), vector (E, 3),
    distance (E,), channel (E,) and the verdict (2,): (OK, 0), (OUT_OF_RANGE, centre), or two coincident
    particles.
    """
    n_centres = centres.shape[0]
    offsets = np.zeros(n_centres + 1, np.int64)
    verdict = np.array([OK, 0])
    capacity = n_centres * guess
    neighbour = np.empty(capacity, np.int64)
    vector = np.empty((capacity, 3))
    distance = np.empty(capacity)
    channel = np.empty(capacity, np.int64)
    runs = np.empty((64, 5), np.int64)
    place = np.empty(0, np.int64)
    near = np.empty((6, 0))
    r2 = np.empty(0)
    hits = np.empty(0, np.int64)
    home, m, n = -1, 0, 0
    for c in range(n_centres):
        i = centres[c]
        if i < 0 or i >= order.shape[0]:
            verdict[0], verdict[1] = OUT_OF_RANGE, i
            break
        a = rank[i]
        if cell[a] != home:
            home = cell[a]
            n_runs, total = list_runs(home, start, shape, reach, periodic, runs)
            if n_runs > runs.shape[0]:
                runs = np.empty((n_runs, 5), np.int64)
                list_runs(home, start, shape, reach, periodic, runs)
            # One more than the candidates: the branch-free loops write one place past the last they keep.
            if total + 1 > place.shape[0]:
                place = np.empty(total + total // 2 + 1, np.int64)
                near = np.empty((6, place.shape[0]))
                r2 = np.empty(place.shape[0])
                hits = np.empty(place.shape[0], np.int64)
            m = gather_candidates(runs[:n_runs], start[home], start[home + 1], x, lattice, reach2, place, near)
        x0, x1, x2, si = x[0, a], x[1, a], x[2, a], species[a]
        y0, y1, y2 = near[0, :m], near[1, :m], near[2, :m]
        t0, t1, t2 = near[3, :m], near[4, :m], near[5, :m]
        n_hits = squared_distances(x0, x1, x2, y0, y1, y2, t0, t1, t2, widest2[si], r2, hits)
        if n + n_hits > capacity:
            capacity = 2 * (n + n_hits)
            neighbour = enlarge_ints(neighbour, n, capacity)
            vector = enlarge_vectors(vector, n, capacity)
            distance = enlarge_floats(distance, n, capacity)
            channel = enlarge_ints(channel, n, capacity)
        for h in range(n_hits):
            k = hits[h]
            p = place[k]
            sj = species[p]
            square, limit2 = r2[k], cutoffs2[si, sj]
            keep = square < limit2
            if keep and coincide(square, limit2):
                if p != a:
                    verdict[0], verdict[1] = min(i, order[p]), max(i, order[p])
                keep = False
            neighbour[n] = order[p]
            d0, d1, d2, _ = between(x0, x1, x2, y0[k], y1[k], y2[k], t0[k], t1[k], t2[k])
            vector[n, 0], vector[n, 1], vector[n, 2] = d0, d1, d2
            distance[n] = square
            channel[n] = channels[si, sj]
            n += keep
        offsets[c + 1] = n
    for e in range(n):
        distance[e] = np.sqrt(distance[e])
    return offsets, neighbour[:n], vector[:n], distance[:n], channel[:n], verdict
