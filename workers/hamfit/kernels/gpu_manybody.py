"""Kernels of the many-body block on a device: environments, and the chain rule back through their edges.

The loops of ``kernels.manybody`` with the same sums in the order of the edges. What differs: radial functions are
evaluated in the kernels, which saves arrays of all bumps of all edges; invariants are standardised where they are made,
so that their derivatives are too; and the terms of each species come in a list ordered by centre, so that every row is
one sum, written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.kernels.gpu import DeviceEdges

#: Edges that a block of ``manybody_moments`` holds at a time, as the source has it.
_STAGED = 16
_WARP = 32
_MOST_THREADS = 256


@dataclass(frozen=True, slots=True, eq=False)
class DeviceBumps:
    """What the kernels want of ``RadialBumps``; pairs are (species of the environment, species of the neighbour)."""

    lower: DeviceArray
    """(S, S) float64."""
    cutoff: DeviceArray
    """(S, S) float64."""
    per_width: DeviceArray
    """One over the standard deviation of a bump in log r, (S, S) float64; any number where species do not interact."""
    n_bumps: int
    """Number of bumps B."""
    width: float
    """Standard deviation of a bump over their spacing."""

    @property
    def shapes(self) -> tuple[DeviceArray | float, ...]:
        """What kernels take of them first."""
        return self.lower, self.cutoff, self.per_width, self.width

    @property
    def n_species(self) -> int:
        """Number of species S."""
        return int(self.lower.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class DeviceMonomials:
    """``Monomials`` on a device."""

    exponents: DeviceArray
    """(M, 3) int64."""
    degree: DeviceArray
    """(M,) int64, ascending."""
    multiplicity: DeviceArray
    """(M,) float64."""
    l_max: int
    """Highest degree."""

    @property
    def count(self) -> int:
        """Number of monomials M."""
        return int(self.degree.size)


class DeviceTerms(NamedTuple):
    """The terms that rows are sums of, by the species of the environment they differentiate, then by centre."""

    first: DeviceArray
    """Terms of species s in the rows of centre c begin at first[s * C + c], (S * C + 1,) int64."""
    edge: DeviceArray
    """The edge whose reverse belongs to a neighbour's environment; -1 for the centre's own environment, (T,) int64."""
    row: DeviceArray
    """Index of the centre, (T,) int64."""
    owner: DeviceArray
    """Position of the environment among those of its species, (T,) int64."""


def bump_moments(
    device: AbstractDevice,
    edges: DeviceEdges,
    centres: DeviceArray,
    species: DeviceArray,
    bumps: DeviceBumps,
    monomials: DeviceMonomials,
) -> DeviceArray:
    """Moments with plain bumps, (C, M, S*B): columns s*B .. s*B + B hold the neighbours of species s.

    centre (C,) int64 are the particles that ``edges`` was asked for, species (N,) int64 is of all particles.
    """
    components = monomials.count * bumps.n_bumps
    threads, tiles = _tiling(components)
    moments = device.xp.empty((edges.n_centres, monomials.count, bumps.n_species * bumps.n_bumps))
    sizes = bumps.n_species, bumps.n_bumps, monomials.count, tiles
    arguments = *edges.joined, centres, species, *bumps.shapes, monomials.exponents, *sizes, moments
    blocks, shared = edges.n_centres * bumps.n_species * tiles, 8 * _STAGED * (bumps.n_bumps + monomials.count + 1)
    device.launch("manybody_moments", blocks, threads, *arguments, shared_bytes=shared)
    return moments


def standardise(
    device: AbstractDevice,
    moments: DeviceArray,
    mean: DeviceArray,
    deviation: DeviceArray,
    monomials: DeviceMonomials,
) -> DeviceArray:
    """Standardised invariants (C, n_invariants) of environments of one species, from mixed moments (C, M, n_radial).

    ``moments`` becomes the derivative of each component's own standardised invariant by that component, in place.
    mean and deviation (n_invariants,) are those of the species.
    """
    n_radial, n_degrees = int(moments.shape[2]), monomials.l_max + 1
    standard = device.xp.empty((moments.shape[0], n_degrees * n_radial))
    sizes = monomials.count, n_radial, n_degrees
    arguments = mean, deviation, monomials.degree, monomials.multiplicity, *sizes, moments, standard
    device.launch_each("manybody_invariants", int(moments.shape[0]) * n_radial, *arguments)
    return standard


def tanh_slopes(device: AbstractDevice, activation: DeviceArray, bias: DeviceArray) -> None:
    """Put tanh'(activation + bias) in place of ``activation`` (C, features)."""
    device.launch_each("manybody_slopes", int(activation.size), bias, int(bias.size), activation)


def list_terms(
    device: AbstractDevice,
    edges: DeviceEdges,
    centres: DeviceArray,
    species: DeviceArray,
    position: DeviceArray,
    n_species: int,
) -> DeviceTerms:
    """The terms of the rows of ``centres``: in each row the centre's own one, then those of its edges in order.

    position (N,) int64: place of every particle that is a centre or a neighbour among those of its species.
    """
    xp, n_rows = device.xp, n_species * edges.n_centres
    counts = xp.empty(n_rows, dtype=np.int64)
    asked = edges.offsets, edges.neighbour, centres, species
    device.launch_each("manybody_term_counts", n_rows, *asked, edges.n_centres, counts)
    first = xp.zeros(n_rows + 1, dtype=np.int64)
    first[1:] = xp.cumsum(counts)
    found = [xp.empty(edges.n_centres + edges.n_edges, dtype=np.int64) for _ in range(3)]
    device.launch_each("manybody_term_list", n_rows, *asked, position, first, edges.n_centres, *found)
    return DeviceTerms(first, *found)


def term_derivatives(
    device: AbstractDevice,
    edges: DeviceEdges,
    centres: DeviceArray,
    species: DeviceArray,
    terms: DeviceTerms,
    begin: int,
    end: int,
    own_species: int,
    bumps: DeviceBumps,
    mixing: DeviceArray,
    monomials: DeviceMonomials,
    response: DeviceArray,
    dim: int,
) -> DeviceArray:
    """Derivatives of the standardised invariants by the position of the centre, ((end - begin) * dim, n_invariants).

    Of terms ``begin`` to ``end``, all of ``own_species``; mixing (S*B, n_radial) is that of the species, response
    (n, M, n_radial) what ``standardise`` made of the moments of its environments.
    """
    n_radial = int(mixing.shape[1])
    n_invariants = (monomials.l_max + 1) * n_radial
    threads, tiles = _tiling(n_invariants)
    out = device.xp.empty(((end - begin) * dim, n_invariants))
    sizes = bumps.n_species, bumps.n_bumps, monomials.count, n_radial, n_invariants, dim, tiles, begin
    chained = *terms[1:], *bumps.shapes, mixing, monomials.exponents, response, own_species
    blocks, shared = (end - begin) * tiles, 8 * (2 * bumps.n_bumps + 4 * monomials.count + 3)
    arguments = *edges.joined, centres, species, *chained, *sizes, out
    device.launch("manybody_terms", blocks, threads, *arguments, shared_bytes=shared)
    return out


def sum_rows(
    device: AbstractDevice,
    values: DeviceArray,
    slopes: DeviceArray | None,
    first: DeviceArray,
    owner: DeviceArray,
    dim: int,
    out: DeviceArray,
    row: int,
    column: int,
) -> None:
    """Write the sums over the terms of each centre, times tanh' of their environments where ``slopes`` are given.

    values (T * dim, width) are of terms first[0] to first[-1]; first (C + 1,) int64 indexes ``owner``, the environment
    of each term, a row of slopes (n, width). Rows ``row`` to ``row + C * dim`` of out, columns ``column`` to ``column +
    width``, are written.
    """
    width = int(values.shape[1])
    threads, tiles = _tiling(width)
    # not read without weights
    weights = values if slopes is None else slopes, int(slopes is not None)
    where = width, dim, tiles, int(out.shape[1]), row, column, out
    device.launch("manybody_rows", (int(first.size) - 1) * tiles, threads, values, *weights, first, owner, *where)


def _tiling(count: int) -> tuple[int, int]:
    """Threads of a block, and blocks, so that there is a thread for each of ``count`` things."""
    threads = min(_MOST_THREADS, -(-count // _WARP) * _WARP)
    return threads, -(-count // threads)
