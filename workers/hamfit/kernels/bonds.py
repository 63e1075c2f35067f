"""Bonds seen from their particles: minimum images, and the edges of any subset of particles.

Lists of bonds come in any order and name each pair once; rows of a fit need, for each particle, all its
bonds. Both kernels here are linear in the number of bonds. They know nothing of bond types: those are
looked up by bond number.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hamfit.types import FloatArray, IntArray


@njit(cache=True, nogil=True)
def minimum_images(
    q: FloatArray,
    bonds: IntArray,
    lattice: FloatArray,
    inverse: FloatArray,
    heights: FloatArray,
    periodic: IntArray,
) -> FloatArray:
    """The shortest of all q[a] - q[b] + lattice translations, for each bond (a, b), (B, 3).

    q (N, 3); lattice (3, 3) rows and its inverse; heights (3,) distances between opposite faces; periodic
    (3,) 0 or 1. Exact for any cell, however skewed: rounding the fractional coordinates gives some image,
    of length r, and an image whose fractional coordinate along axis k is w is no shorter than abs(w)
    heights[k]; so only images with abs(w) <= r / heights[k] are left to try. Of images equally long the
    first tried is kept.
    """
    out = np.empty((bonds.shape[0], 3))
    r = np.empty(3)
    w = np.empty(3)
    first = np.zeros(3, np.int64)
    last = np.zeros(3, np.int64)
    for e in range(bonds.shape[0]):
        for a in range(3):
            r[a] = q[bonds[e, 0], a] - q[bonds[e, 1], a]
        for k in range(3):
            w[k] = r[0] * inverse[0, k] + r[1] * inverse[1, k] + r[2] * inverse[2, k]
        for k in range(3):
            if periodic[k]:
                boxes = np.floor(w[k] + 0.5)
                w[k] -= boxes
                for a in range(3):
                    r[a] -= boxes * lattice[k, a]
        best = r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
        for k in range(3):
            out[e, k] = r[k]
            if periodic[k]:
                span = np.sqrt(best) / heights[k]
                first[k] = int(np.ceil(w[k] - span))
                last[k] = int(np.floor(w[k] + span))
        for n0 in range(first[0], last[0] + 1):
            for n1 in range(first[1], last[1] + 1):
                for n2 in range(first[2], last[2] + 1):
                    v0 = r[0] - (n0 * lattice[0, 0] + n1 * lattice[1, 0] + n2 * lattice[2, 0])
                    v1 = r[1] - (n0 * lattice[0, 1] + n1 * lattice[1, 1] + n2 * lattice[2, 1])
                    v2 = r[2] - (n0 * lattice[0, 2] + n1 * lattice[1, 2] + n2 * lattice[2, 2])
                    square = v0 * v0 + v1 * v1 + v2 * v2
                    if square < best:
                        best = square
                        out[e, 0], out[e, 1], out[e, 2] = v0, v1, v2
    return out


@njit(cache=True, nogil=True)
def bonds_of_particles(bonds: IntArray, n_particles: int) -> tuple[IntArray, IntArray, int]:
    """Each bond under both its particles, (N + 1,) offsets and (2B,) half-bonds, in the order of the bonds.

    Half-bond 2 e is bond e seen from its first particle, 2 e + 1 from its second. The last number returned
    is a bond whose pair of particles occurs twice, or -1. Bonds must name particles that exist.
    """
    offsets = np.zeros(n_particles + 1, np.int64)
    for e in range(bonds.shape[0]):
        offsets[bonds[e, 0] + 1] += 1
        offsets[bonds[e, 1] + 1] += 1
    for i in range(n_particles):
        offsets[i + 1] += offsets[i]
    free = offsets[:-1].copy()
    half = np.empty(2 * bonds.shape[0], np.int64)
    for e in range(bonds.shape[0]):
        for side in range(2):
            i = bonds[e, side]
            half[free[i]] = 2 * e + side
            free[i] += 1
    twice = -1
    seen_by = np.full(n_particles, -1, np.int64)
    for i in range(n_particles):
        for h in range(offsets[i], offsets[i + 1]):
            j = bonds[half[h] // 2, 1 - half[h] % 2]
            if seen_by[j] == i:
                twice = half[h] // 2
            seen_by[j] = i
    return offsets, half, twice


@njit(cache=True, nogil=True)
def bonded_edges(
    centres: IntArray,
    offsets: IntArray,
    half: IntArray,
    bonds: IntArray,
    types: IntArray,
    vectors: FloatArray,
    lengths: FloatArray,
) -> tuple[IntArray, IntArray, FloatArray, FloatArray, IntArray]:
    """The bonds of ``centres``, (C,), each seen from its centre.

    offsets and half: as from ``bonds_of_particles``; vectors (B, 3) point from the second particle of each
    bond to the first. Returns offsets (C + 1,), neighbour (E,), vector (E, 3), distance (E,) and type (E,).
    """
    out = np.zeros(centres.shape[0] + 1, np.int64)
    for c in range(centres.shape[0]):
        out[c + 1] = out[c] + offsets[centres[c] + 1] - offsets[centres[c]]
    total = out[-1]
    neighbour = np.empty(total, np.int64)
    vector = np.empty((total, 3))
    distance = np.empty(total)
    channel = np.empty(total, np.int64)
    n = 0
    for c in range(centres.shape[0]):
        for h in range(offsets[centres[c]], offsets[centres[c] + 1]):
            e, side = half[h] // 2, half[h] % 2
            neighbour[n] = bonds[e, 1 - side]
            for a in range(3):
                vector[n, a] = vectors[e, a] if side == 0 else -vectors[e, a]
            distance[n] = lengths[e]
            channel[n] = types[e]
            n += 1
    return out, neighbour, vector, distance, channel
