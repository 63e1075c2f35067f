"""Compiled loops of the Lennard-Jones reference: the sum over listed pairs, and whether the list still holds.

Single-threaded, in the order of the list, without fast-math: NaN must stay NaN, and the same input gives
the same bits. The tests compare with a sum over all images in plain NumPy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from hamfit.types import FloatArray, IntArray


@njit(cache=True, nogil=True)
def moved_less(points: FloatArray, old: FloatArray, limit: float) -> bool:
    """Whether no particle has moved further than the square root of `limit`."""
    for i in range(points.shape[0]):
        moved = 0.0
        for axis in range(3):
            moved += (points[i, axis] - old[i, axis]) ** 2
        # Written so that NaN asks for a new list, whose builder refuses it.
        if not moved <= limit:
            return False
    return True


@njit(cache=True, nogil=True)
def sum_pairs(
    q: FloatArray,
    first: npt.NDArray[np.int32],
    second: npt.NDArray[np.int32],
    image: npt.NDArray[np.int16],
    edges: FloatArray,
    species: IntArray,
    epsilon: FloatArray,
    sigma2: FloatArray,
    cutoff2: FloatArray,
    shift: FloatArray,
    forces: FloatArray,
) -> float:
    """Add the forces of all listed pairs within their cutoff to `forces`, (N, 3); return the energy."""
    energy = 0.0
    for k in range(first.shape[0]):
        i, j = first[k], second[k]
        x = q[i, 0] - q[j, 0] - image[k, 0] * edges[0]
        y = q[i, 1] - q[j, 1] - image[k, 1] * edges[1]
        z = q[i, 2] - q[j, 2] - image[k, 2] * edges[2]
        squared = x * x + y * y + z * z
        a, b = species[i], species[j]
        if squared < cutoff2[a, b]:
            inverse = sigma2[a, b] / squared
            sixth = inverse * inverse * inverse
            energy += 4.0 * epsilon[a, b] * sixth * (sixth - 1.0) - shift[a, b]
            pull = 24.0 * epsilon[a, b] * sixth * (2.0 * sixth - 1.0) / squared
            forces[i, 0] += pull * x
            forces[i, 1] += pull * y
            forces[i, 2] += pull * z
            forces[j, 0] -= pull * x
            forces[j, 1] -= pull * y
            forces[j, 2] -= pull * z
    return energy
