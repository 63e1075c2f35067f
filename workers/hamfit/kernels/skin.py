"""Neighbour lists that reach a little beyond the cutoff: found once, measured anew at every step.

A list keeps for each centre its neighbours within cutoff and skin, and the lattice translation to each, as two
numbers of four bytes. ``near_edges`` turns it into edges at the positions of the day. These are moved into the box as a
search moves them, and where a particle has passed through a face since, its translations follow: so edges are those
that ``kernels.cells.find_edges`` finds, to the last bit.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from hamfit.kernels.cells import OK, OUT_OF_RANGE
from hamfit.kernels.columns import Int32Array
from hamfit.kernels.measure import between, coincide
from hamfit.kernels.wrapping import enter_box
from hamfit.types import FloatArray, IntArray


@nb.njit(cache=True, nogil=True)
def translation_codes(
    centres: IntArray,
    offsets: IntArray,
    neighbour: IntArray,
    vector: FloatArray,
    x: FloatArray,
    inverse: FloatArray,
    images: IntArray,
    codes: Int32Array,
) -> None:
    """Number of the lattice translation of each edge into codes (E,), as ``translations`` orders them.

    Edges of C centres as in ``hamfit.graphs.Edges``; x (N, 3) positions in the box; inverse (3, 3) of the lattice;
    images (3,): translations along each axis are -images .. images.
    """
    for c in range(centres.shape[0]):
        i = centres[c]
        for e in range(offsets[c], offsets[c + 1]):
            j, code = neighbour[e], 0
            for k in range(3):
                boxes = 0.0
                for axis in range(3):
                    boxes += (x[i, axis] - x[j, axis] - vector[e, axis]) * inverse[axis, k]
                code = code * (2 * images[k] + 1) + int(np.rint(boxes)) + images[k]
            codes[e] = code


@nb.njit(cache=True, nogil=True)
def bring_home(
    q: FloatArray,
    start: FloatArray,
    lattice: FloatArray,
    inverse: FloatArray,
    periodic: IntArray,
    images: IntArray,
    x: FloatArray,
    homes: IntArray,
) -> float:
    """Positions in the box into x (N, 3), and which box that was, as one number in the way of codes, into homes (N,).

    q and start (N, 3). Returns the greatest squared distance moved from ``start``; inf where there is a number that is
    none.
    """
    most = 0.0
    for i in range(q.shape[0]):
        square, home = 0.0, 0
        for axis in range(3):
            moved = q[i, axis] - start[i, axis]
            square += moved * moved
            x[i, axis] = q[i, axis]
        for k in range(3):
            _, boxes = enter_box(q, i, k, lattice, inverse, periodic, x)
            home = home * (2 * images[k] + 1) + int(boxes)
        homes[i] = home
        if not square < np.inf:
            return np.inf
        most = max(most, square)
    return most


@nb.njit(cache=True, nogil=True)
def near_edges(
    centres: IntArray,
    offsets: IntArray,
    rank: IntArray,
    listed: Int32Array,
    codes: Int32Array,
    translations: FloatArray,
    x: FloatArray,
    passed: Int32Array,
    species: IntArray,
    cutoffs2: FloatArray,
    channels: IntArray,
) -> tuple[IntArray, IntArray, FloatArray, FloatArray, IntArray, IntArray]:
    """Edges of centres (C,) within their cutoffs, as ``kernels.cells.find_edges`` gives them.

    The list: neighbours of particle i are listed[offsets[rank[i]] .. offsets[rank[i] + 1]], with the translations of
    ``codes``. x (N, 3) positions in the box; passed (N,) boxes passed since the search, as one number in the
    way of codes; cutoffs2 and channels (S, S).
    """
    capacity, ends, verdict = 0, np.zeros(centres.shape[0] + 1, np.int64), np.array([OK, 0])
    for i in centres:
        if i < 0 or i >= rank.shape[0]:
            verdict[0], verdict[1] = OUT_OF_RANGE, i
            centres = centres[:0]
            break
        capacity += offsets[rank[i] + 1] - offsets[rank[i]]
    # one more, because what is too far is written down too, and overwritten
    neighbour, channel = np.empty(capacity + 1, np.int64), np.empty(capacity + 1, np.int64)
    vector, distance = np.empty((capacity + 1, 3)), np.empty(capacity + 1)
    n = np.uint64(0)
    for c in range(centres.shape[0]):
        i = np.uint64(centres[c])
        a = species[i]
        x0, x1, x2, own = x[i, 0], x[i, 1], x[i, 2], passed[i]
        for e in range(offsets[rank[i]], offsets[rank[i] + 1]):
            j = np.uint32(listed[e])
            code = np.uint32(codes[e] + passed[j] - own)
            t0, t1, t2 = translations[code, 0], translations[code, 1], translations[code, 2]
            d0, d1, d2, square = between(x0, x1, x2, x[j, 0], x[j, 1], x[j, 2], t0, t1, t2)
            b = species[j]
            limit2 = cutoffs2[a, b]
            keep = square < limit2
            if keep and coincide(square, limit2):
                if i != j:
                    verdict[0], verdict[1] = min(i, np.uint64(j)), max(i, np.uint64(j))
                keep = False
            neighbour[n] = j
            vector[n, 0], vector[n, 1], vector[n, 2] = d0, d1, d2
            distance[n] = np.sqrt(square)
            channel[n] = channels[a, b]
            n += np.uint64(keep)
        ends[c + 1] = n
    count = int(n)
    return ends[: centres.shape[0] + 1], neighbour[:count], vector[:count], distance[:count], channel[:count], verdict
