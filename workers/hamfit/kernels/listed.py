"""The compiled time step of particles joined by a fixed list: bonds, or all pairs of an open system.

Such systems are small, or their lists short, so one thread does it all; many of them run side by side instead. Laws
are the piecewise polynomials of ``kernels.pair_tables``.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from hamfit.kernels.bonds import minimum_images
from hamfit.kernels.lanes import OUT_ENERGY, OUT_VIRIAL, OUT_WORDS, VIRIAL_AXES
from hamfit.kernels.measure import square_of
from hamfit.kernels.pair_tables import Tables, law
from hamfit.types import FloatArray, IntArray

_VIRIAL_AXES = np.array(VIRIAL_AXES)


class Listed(NamedTuple):
    """Who acts on whom, and how."""

    bonds: IntArray
    """Pairs of particles, (B, 2); none where all pairs act."""
    types: IntArray
    """Channel of each bond, (B,)."""
    species: IntArray
    """Species of each particle, (N,); used where all pairs act."""
    channels: IntArray
    """Channel of each pair of species, (S, S); empty where bonds act."""
    lattice: FloatArray
    """Lattice vectors as rows, (3, 3)."""
    inverse: FloatArray
    """Its inverse, (3, 3)."""
    heights: FloatArray
    """Distances between its faces, (3,)."""
    periodic: IntArray
    """1 where it repeats, (3,)."""
    extents: FloatArray
    """Range of distances seen in training for each channel, (C, 2)."""
    tables: Tables
    """Laws of the channels."""


@nb.njit(cache=True, nogil=True)
def _push(
    i: int, j: int, c: int, d0: float, d1: float, d2: float, listed: Listed, force: FloatArray, out: FloatArray
) -> None:
    """Add one pair's forces to ``force`` (N, 3), and its energy, virial and range to out (13,)."""
    r2 = square_of(d0, d1, d2)
    if r2 == 0.0:
        # no direction: two particles at one place push each other nowhere
        return
    r = np.sqrt(r2)
    energy, slope = law(listed.tables, c, r)
    pull = -slope / r
    force[i, 0] += pull * d0
    force[i, 1] += pull * d1
    force[i, 2] += pull * d2
    force[j, 0] -= pull * d0
    force[j, 1] -= pull * d1
    force[j, 2] -= pull * d2
    out[OUT_ENERGY] += energy
    d = (d0, d1, d2)
    for word in range(6):
        out[OUT_VIRIAL + word] += pull * d[_VIRIAL_AXES[word, 0]] * d[_VIRIAL_AXES[word, 1]]
    out[OUT_WORDS] += not (listed.extents[c, 0] <= r <= listed.extents[c, 1])
    out[OUT_WORDS + 1] += 1.0


@nb.njit(cache=True, nogil=True)
def listed_forces(q: FloatArray, listed: Listed, force: FloatArray, out: FloatArray) -> None:
    """Forces at q, (N, 3) each; out (13,) as in ``kernels.lanes``, then pairs outside the trained range, and pairs."""
    force[:] = 0.0
    out[:] = 0.0
    if listed.channels.size:
        for i in range(q.shape[0]):
            for j in range(i + 1, q.shape[0]):
                c = listed.channels[listed.species[i], listed.species[j]]
                _push(i, j, c, q[i, 0] - q[j, 0], q[i, 1] - q[j, 1], q[i, 2] - q[j, 2], listed, force, out)
        return
    vectors = minimum_images(q, listed.bonds, listed.lattice, listed.inverse, listed.heights, listed.periodic)
    for e in range(listed.bonds.shape[0]):
        i, j = listed.bonds[e]
        _push(i, j, listed.types[e], vectors[e, 0], vectors[e, 1], vectors[e, 2], listed, force, out)


@nb.njit(cache=True, nogil=True)
def advance_listed(
    q: FloatArray,
    p: FloatArray,
    rate: FloatArray,
    listed: Listed,
    force: FloatArray,
    kicks: FloatArray,
    drifts: FloatArray,
    n_steps: int,
    far: float,
) -> int:
    """Move q and p, (N, 3), in place through whole steps of a composition; ``force`` holds the forces at q.

    Returns the number of steps made: fewer than n_steps when a coordinate is farther out than ``far``, or nan, where
    forces are not asked for (the search for the nearest image would not end).
    """
    out = np.empty(OUT_WORDS + 2)
    for step in range(n_steps):
        for k in range(drifts.size):
            lost = False
            for i in range(q.shape[0]):
                for axis in range(3):
                    p[i, axis] += kicks[k] * force[i, axis]
                    q[i, axis] += drifts[k] * rate[i] * p[i, axis]
                    lost |= not (abs(q[i, axis]) <= far)
            if lost:
                return step
            listed_forces(q, listed, force, out)
        for i in range(q.shape[0]):
            for axis in range(3):
                p[i, axis] += kicks[drifts.size] * force[i, axis]
    return n_steps
