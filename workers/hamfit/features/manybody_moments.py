"""Environments: moments of the neighbours around a particle, and the invariants made of them.

The moments A^l_c(i) = sum_j g_c(r_ij) u_ij^(tensor l) are first summed with the plain bumps in place of
g_c, one set per species of neighbour; the random mixtures g_c are then one small matrix product per
particle. A symmetric tensor of rank l is kept as its distinct components, each with the number of times it
occurs, so that |A^l|^2 = sum_m multiplicity_m A_m^2 is the full contraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import factorial

import numpy as np

from hamfit.errors import FeatureError
from hamfit.features.manybody_radial import RadialBumps
from hamfit.graphs import Edges
from hamfit.kernels.manybody import accumulate_moments
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Monomials:
    """Distinct components of the symmetric tensors u^(tensor l), l = 0 .. l_max."""

    exponents: IntArray
    """Powers of u_x, u_y, u_z, (M, 3)."""
    degree: IntArray
    """Tensor rank l of each component, (M,), ascending."""
    multiplicity: FloatArray
    """How often the component occurs in the full tensor, (M,)."""


@lru_cache
def monomials(l_max: int) -> Monomials:
    """The components for ranks 0 .. l_max; FeatureError unless 0 <= l_max <= 3."""
    if not 0 <= l_max <= 3:
        raise FeatureError(f"l_max is {l_max}: angular moments of rank 0 to 3 are available")
    table = [
        (x, y, degree - x - y)
        for degree in range(l_max + 1)
        for x in range(degree, -1, -1)
        for y in range(degree - x, -1, -1)
    ]
    exponents = np.array(table, dtype=np.int64)
    times = [factorial(x + y + z) / (factorial(x) * factorial(y) * factorial(z)) for x, y, z in table]
    return Monomials(exponents, exponents.sum(axis=1), np.array(times))


def bump_moments(edges: Edges, centre: IntArray, species: IntArray, radial: RadialBumps, l_max: int) -> FloatArray:
    """Moments with plain bumps, (C, M, S*B): columns s*B .. s*B + B hold the neighbours of species s.

    centre (C,) are the particles that ``edges`` was asked for, species (N,) is of all particles.
    """
    tensor = monomials(l_max)
    neighbour_species = species[edges.neighbour]
    values, _ = radial.evaluate(edges.distance, edge_species(edges, species[centre]), neighbour_species)
    n_species = radial.cutoff.shape[0]
    moments = np.zeros((centre.size, tensor.degree.size, n_species * radial.n_bumps))
    block = neighbour_species * radial.n_bumps
    accumulate_moments(edges.offsets, edges.vector, edges.distance, block, values, tensor.exponents, moments)
    return moments


def edge_species(edges: Edges, centre_species: IntArray) -> IntArray:
    """Species of the centre of each edge, (E,)."""
    return np.repeat(centre_species, np.diff(edges.offsets))


def mix(moments: FloatArray, mixing: FloatArray, species: IntArray) -> FloatArray:
    """Moments with the sampled radial functions, (C, M, n_radial), from bump moments (C, M, S*B).

    mixing (S, S*B, n_radial) is indexed by the species (C,) of the centre.
    """
    mixed = np.empty((*moments.shape[:2], mixing.shape[2]))
    for s in range(mixing.shape[0]):
        chosen = species == s
        mixed[chosen] = moments[chosen] @ mixing[s]
    return mixed


def invariants(moments: FloatArray, l_max: int) -> FloatArray:
    """A^0_c and |A^l_c|^2, l = 1 .. l_max, of mixed moments (C, M, n_radial): (C, (l_max + 1) * n_radial)."""
    tensor = monomials(l_max)
    parts = [moments[:, 0]]
    for degree in range(1, l_max + 1):
        chosen = tensor.degree == degree
        parts.append(np.einsum("cmr,m->cr", moments[:, chosen] ** 2, tensor.multiplicity[chosen]))
    return np.concatenate(parts, axis=1)


def sensitivity(moments: FloatArray, l_max: int) -> FloatArray:
    """Derivative of each component's own invariant by that component, (C, M, n_radial)."""
    tensor = monomials(l_max)
    result = moments * (2.0 * tensor.multiplicity)[:, None]
    result[:, 0] = 1.0
    return result
