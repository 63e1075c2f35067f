"""Forces of one-density models: embedded atoms, with or without pair functions beside them.

Forces take two passes. The first finds all pairs within the cutoff (``kernels.piece_lanes``), evaluates the functions
of their distances, adds up the density at both ends, and keeps vectors and slopes. Then F and F' of the densities are
looked up. The second pass pushes both ends of every kept pair by phi' + F'(rho_i) g_ab' + F'(rho_j) g_ba'.

Chunks and windows are those of ``kernels.bodies``, whose windows of forces hold densities in their first row during
the first pass. Pairs nearer than any in training are rare, and evaluated one by one by ``kernels.pair_tables``.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from hamfit.kernels.bodies import Bodies, Reach, window_of
from hamfit.kernels.columns import Int32Array
from hamfit.kernels.emitter import LANES
from hamfit.kernels.lanes import OUT_ENERGY, OUT_VIRIAL, RUN_BEGIN, RUN_END, RUN_WORDS
from hamfit.kernels.measure import square_of
from hamfit.kernels.pair_tables import Tables, law
from hamfit.kernels.piece_lanes import (
    FUNCTION_CORE2,
    FUNCTION_CUTOFF2,
    evaluate_lanes,
    keep_near,
    measure_lanes,
    slope_lanes,
)
from hamfit.kernels.uncounted import uncounted
from hamfit.types import FloatArray, IntArray

#: Rows of ``Pairs.numbers``.
PAIR_VECTOR, PAIR_OWN, PAIR_OTHER, PAIR_PULL, PAIR_NUMBERS = 0, 3, 4, 5, 6
#: Centres whose pairs are evaluated together; their numbers stay in the first-level cache.
BATCH = 32


class Densities(NamedTuple):
    """The functions of a one-density model."""

    which: IntArray
    """For a centre of species a and a neighbour of species b: number of the function of the density at the centre, of
    that at the neighbour, and of the pair, (S, S, 3). The last function is zero, for what is not there."""
    rows: FloatArray
    """Functions as ``kernels.piece_lanes`` wants them, (G, 6)."""
    functions: Tables
    """Functions of the distance, G channels."""
    embeddings: Tables
    """F of the density for each species, S channels."""
    empty: FloatArray
    """Density of a particle without neighbours, (S,)."""


class Pairs(NamedTuple):
    """Pairs within the cutoff, centre after centre in each chunk, and what the density around each particle means."""

    numbers: FloatArray
    """Vector from neighbour to centre, -2 dg/d(r^2) at the centre and at the neighbour, the same of phi, (6, P)."""
    places: Int32Array
    """Place of the neighbour in the window of the centre's chunk, (P,)."""
    begin: IntArray
    """Where the pairs of each chunk begin, (K,)."""
    spans: IntArray
    """Pairs of centre i among species b: first, and one past the last, (N, S, 2)."""
    room: int
    """Places that the candidates of one centre may take."""
    steep: FloatArray
    """dF/d(density) of each particle, (N,)."""
    energy: FloatArray
    """F of each particle, (N,)."""


class Scratch(NamedTuple):
    """Buffers of one thread."""

    found: FloatArray
    """Candidates as ``measure_lanes`` writes them, (4, room)."""
    places: Int32Array
    """(room / 8,)."""
    hits: Int32Array
    """Which of them are within the cutoff, (room + 1,)."""
    values: FloatArray
    """r^2 of the pairs of a batch; densities at the centre and at the neighbour, (3, BATCH * room)."""


@nb.njit(cache=True, nogil=True)
def count_candidates(reach: Reach) -> tuple[IntArray, int]:
    """Candidates of each chunk, (K,), and the most places that those of one centre take."""
    total, most = np.zeros(reach.chunks.size - 1, np.int64), 0
    for k in range(total.size):
        for i in range(reach.chunks[k], reach.chunks[k + 1]):
            places = 0
            for r in range(reach.ends[i, reach.ends.shape[1] - 1]):
                n = reach.runs[i, r, RUN_END] - reach.runs[i, r, RUN_BEGIN]
                total[k] += n
                places += (n + LANES - 1) // LANES * LANES
            most = max(most, places)
    return total, most


@nb.njit(cache=True, nogil=True)
def scratch_of(pairs: Pairs) -> Scratch:
    """Buffers for one thread."""
    room = pairs.room
    return Scratch(
        np.empty((4, room)),
        np.empty(room // LANES, np.int32),
        np.empty(room + 1, np.int32),
        np.zeros((3, BATCH * room)),
    )


@nb.njit(cache=True, nogil=True, inline="always")
def _find(
    i: int, b: int, bodies: Bodies, reach: Reach, limit2: float, to: int, pairs: Pairs, w: Scratch, here: int
) -> int:
    """Keep the pairs of centre i and species b with r^2 < limit2, from ``to`` on, and their r^2 from ``here`` on.

    Returns how many there are.
    """
    q, first, last = bodies.q, reach.ends[i, b], reach.ends[i, b + 1]
    if first == last:
        return 0
    found, places = (w.found.ctypes.data, w.found.shape[1]), w.places.ctypes.data
    runs_at = reach.runs.ctypes.data + 4 * RUN_WORDS * (i * reach.runs.shape[1] + first)
    rows, centre, shifts = (q.ctypes.data, q.shape[1]), (q[0, i], q[1, i], q[2, i]), reach.shifts.ctypes.data
    filled = measure_lanes(rows, runs_at, last - first, shifts, centre, found, places)
    squares, vectors = w.values.ctypes.data + 8 * here, (pairs.numbers.ctypes.data + 8 * to, pairs.numbers.shape[1])
    kept_at = pairs.places.ctypes.data + 4 * to
    kept: int = keep_near(found, places, filled, limit2, w.hits.ctypes.data, squares, vectors, kept_at)
    return kept


@uncounted
def _evaluate(a: int, b: int, n: int, to: int, d: Densities, pairs: Pairs, w: Scratch) -> None:
    """Densities and slopes of n pairs from ``to`` on."""
    own, other, pair = d.which[a, b, 0], d.which[a, b, 1], d.which[a, b, 2]
    table, r2 = d.functions.coefficients.ctypes.data, w.values.ctypes.data
    row, width = 8 * w.values.shape[1], 8 * pairs.numbers.shape[1]
    at = pairs.numbers.ctypes.data + 8 * to
    evaluate_lanes(d.rows[own].ctypes.data, table, r2, n, r2 + row, at + PAIR_OWN * width)
    if own != other:
        evaluate_lanes(d.rows[other].ctypes.data, table, r2, n, r2 + 2 * row, at + PAIR_OTHER * width)
    if pair != d.rows.shape[0] - 1:
        slope_lanes(d.rows[pair].ctypes.data, table, r2, n, 0, at + PAIR_PULL * width)
    core2 = max(d.rows[own, FUNCTION_CORE2], d.rows[pair, FUNCTION_CORE2])
    for m in range(n):
        if w.values[0, m] < core2:
            # a pair at one place has no direction and pushes nobody
            r = np.sqrt(w.values[0, m])
            back = -1.0 / r if r > 0.0 else 0.0
            value, slope = law(d.functions, own, r)
            w.values[1, m], pairs.numbers[PAIR_OWN, to + m] = value, back * slope
            value, slope = law(d.functions, other, r)
            w.values[2, m], pairs.numbers[PAIR_OTHER, to + m] = value, back * slope
            pairs.numbers[PAIR_PULL, to + m] = back * law(d.functions, pair, r)[1]


@uncounted
def sum_chunk(k: int, bodies: Bodies, reach: Reach, d: Densities, pairs: Pairs, w: Scratch) -> None:
    """Find the pairs whose centre lies in chunk k, and add their densities to the first row of its window."""
    origin, last = reach.window[k, 0], reach.chunks[k + 1]
    window, to = window_of(k, reach)[0], pairs.begin[k]
    window[:] = 0.0
    first = reach.chunks[k]
    while first < last:
        # some centres of one species at a time: functions are fast for many pairs at once
        a, beyond = bodies.species[first], first + 1
        while beyond < min(last, first + BATCH) and bodies.species[beyond] == a:
            beyond += 1
        for b in range(reach.ends.shape[1] - 1):
            own, other = d.which[a, b, 0], d.which[a, b, 1]
            limit2 = max(d.rows[own, FUNCTION_CUTOFF2], d.rows[d.which[a, b, 2], FUNCTION_CUTOFF2])
            begin = to
            for i in range(first, beyond):
                pairs.spans[i, b, 0] = to
                to += _find(i, b, bodies, reach, limit2, to, pairs, w, to - begin)
                pairs.spans[i, b, 1] = to
            if to > begin:
                _evaluate(a, b, to - begin, begin, d, pairs, w)
            here, there = w.values[1], w.values[1] if own == other else w.values[2]
            for i in range(first, beyond):
                density = 0.0
                for m in range(pairs.spans[i, b, 0], pairs.spans[i, b, 1]):
                    density += here[m - begin]
                    window[pairs.places[m]] += there[m - begin]
                window[i - origin] += density
        first = beyond


@uncounted
def embed(first: int, last: int, bodies: Bodies, reach: Reach, d: Densities, pairs: Pairs) -> None:
    """F and its slope for particles first .. last - 1, whose densities are the sums of all windows, in order."""
    n, density = bodies.species.size, pairs.steep
    for i in range(first, last):
        density[i] = d.empty[bodies.species[i]]
    for k in range(reach.window.shape[0]):
        origin, length = reach.window[k, 0], reach.window[k, 1]
        window = window_of(k, reach)[0]
        # a window that runs past the last particle goes on at the first
        for i in range(max(first, origin), min(last, origin + length)):
            density[i] += window[i - origin]
        for i in range(first, min(last, origin + length - n)):
            density[i] += window[i - origin + n]
    for i in range(first, last):
        pairs.energy[i], pairs.steep[i] = law(d.embeddings, bodies.species[i], density[i])


@uncounted
def push_kept(
    k: int, bodies: Bodies, reach: Reach, d: Densities, pairs: Pairs, observe: bool, out: FloatArray
) -> None:
    """Forces of all kept pairs whose centre lies in chunk k, into its window.

    Where ``observe``, the energy of the pair functions and the virial are added to out (11,) as in ``kernels.lanes``.
    """
    n, origin = bodies.species.size, reach.window[k, 0]
    window = window_of(k, reach)
    w0, w1, w2 = window[0], window[1], window[2]
    window[:] = 0.0
    nothing = d.rows.shape[0] - 1
    for i in range(reach.chunks[k], reach.chunks[k + 1]):
        a, steep = bodies.species[i], pairs.steep[i]
        f0, f1, f2 = 0.0, 0.0, 0.0
        for b in range(reach.ends.shape[1] - 1):
            own, other, pair = d.which[a, b, 0], d.which[a, b, 1], d.which[a, b, 2]
            here = pairs.numbers[PAIR_OWN]
            there = here if own == other else pairs.numbers[PAIR_OTHER]
            for m in range(pairs.spans[i, b, 0], pairs.spans[i, b, 1]):
                place = pairs.places[m]
                j = place + origin
                if j >= n:
                    j -= n
                pull = here[m] * steep + there[m] * pairs.steep[j]
                if pair != nothing:
                    pull += pairs.numbers[PAIR_PULL, m]
                d0, d1, d2 = pairs.numbers[0, m], pairs.numbers[1, m], pairs.numbers[2, m]
                w0[place] -= pull * d0
                w1[place] -= pull * d1
                w2[place] -= pull * d2
                f0 += pull * d0
                f1 += pull * d1
                f2 += pull * d2
                if observe:
                    r2 = square_of(d0, d1, d2)
                    if r2 < d.rows[pair, FUNCTION_CUTOFF2]:
                        out[OUT_ENERGY] += law(d.functions, pair, np.sqrt(r2))[0]
                    out[OUT_VIRIAL] += pull * d0 * d0
                    out[OUT_VIRIAL + 1] += pull * d1 * d1
                    out[OUT_VIRIAL + 2] += pull * d2 * d2
                    out[OUT_VIRIAL + 3] += pull * d0 * d1
                    out[OUT_VIRIAL + 4] += pull * d0 * d2
                    out[OUT_VIRIAL + 5] += pull * d1 * d2
        w0[i - origin] += f0
        w1[i - origin] += f1
        w2[i - origin] += f2
