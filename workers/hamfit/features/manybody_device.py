"""Rows of Z for the many-body block on a device: ``manybody_rows`` in chunks that fill a GPU.

The same sums as on the processor, laid out by species: the environments of a chunk (centres and their neighbours) are
kept species by species, and so are the terms of the rows, so that each matrix product has one set of weights and no
selection, and each row is written once. A chunk is as large as its memory allows, because a halo around few
centres is mostly halo. The derivatives of the invariants are standardised from the start, so terms need no division.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.features.block import Outside, Panel
from hamfit.features.device_block import AbstractGraphedBlock
from hamfit.features.manybody_moments import monomials
from hamfit.features.manybody_radial import RadialBumps
from hamfit.features.manybody_round import Round
from hamfit.features.source import Source, stretches
from hamfit.graphs.device_cells import AbstractDevicePrepared
from hamfit.kernels.gpu import DeviceEdges
from hamfit.kernels.gpu_manybody import (
    DeviceBumps,
    DeviceMonomials,
    bump_moments,
    list_terms,
    standardise,
    sum_rows,
    tanh_slopes,
    term_derivatives,
)
from hamfit.types import FloatArray

if TYPE_CHECKING:
    from hamfit.features.manybody import ManyBodyBlock

#: Memory that the environments, edges and products of one chunk take: matrix products of some 10 Gflop, and a halo that
#: is small beside its centres. A constant, not a share of what is free, so that the same rows give the same bits.
BUDGET_BYTES = 2**30
#: Bytes of one edge: what ``DeviceEdges`` holds, its term, and what finding it takes.
_EDGE_BYTES = 16 * 8


@dataclass(frozen=True, slots=True, eq=False)
class _Species:
    """The arrays of a round that belong to one species of centre."""

    mixing: DeviceArray
    """(S*B, n_radial)."""
    mean: DeviceArray
    """(n_invariants,)."""
    deviation: DeviceArray
    """(n_invariants,)."""
    weights: DeviceArray
    """(n_invariants, own features)."""
    bias: DeviceArray
    """(own features,)."""


@dataclass(frozen=True, slots=True, eq=False)
class _Environments:
    """The environments of one species that a chunk depends on."""

    response: DeviceArray
    """Derivative of each standardised invariant by its moments, (n, M, n_radial)."""
    slopes: DeviceArray
    """tanh' of the species' features, (n, own features)."""


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Centres whose rows are made together."""

    centres: DeviceArray
    """(C,) int64."""
    species: DeviceArray
    """Species of all particles, (N,) int64."""
    edges: DeviceEdges
    """Edges of the centres."""
    particles: list[DeviceArray]
    """For each species, its particles among centres and neighbours, ascending."""
    position: DeviceArray
    """Place of each of them in its own list, (N,) int64."""


class DeviceManyBody(AbstractGraphedBlock):
    """A many-body block made ready for a device, once for all frames."""

    def __init__(self, device: AbstractDevice, block: ManyBodyBlock, budget_bytes: int = BUDGET_BYTES) -> None:
        super().__init__(device, block)
        layer = block.layer
        self._layer = layer
        self._budget_bytes = budget_bytes
        self._bumps = _upload_bumps(device, layer.radial)
        tensor = monomials(layer.l_max)
        self._monomials = DeviceMonomials(
            device.upload(tensor.exponents),
            device.upload(tensor.degree),
            device.upload(tensor.multiplicity),
            layer.l_max,
        )
        # what is kept of one environment
        widest = int(np.diff(layer.first).max())
        self._environment_bytes = 8 * (self._monomials.count * int(layer.mixing.shape[2]) + widest)
        self._species = [_upload_species(device, layer, s) for s in range(layer.n_species)]

    def fill(self, source: Source, panel: Panel, column: int, seen: FloatArray) -> Outside | None:
        """See ``AbstractDeviceBlock.fill``: chunk by chunk."""
        prepared, wanted, dim = source.on_device, panel.on_device, source.frame.dim
        assert prepared is not None
        if not panel.centres.size:
            return None
        everyone = self.device.upload(source.frame.species)
        # centres of a chunk if they had no halo
        each = self._environment_bytes + _EDGE_BYTES * prepared.edges_per_centre
        size = max(1, int(self._budget_bytes / 2 / each))
        start = 0
        while start < panel.centres.size:
            part = wanted[start : start + size]
            chunk = self._gather(prepared, part, everyone)
            held = sum(int(own.size) for own in chunk.particles) * self._environment_bytes
            if part.size > 1 and held + chunk.edges.n_edges * _EDGE_BYTES > self._budget_bytes // 2:
                size = -(-int(part.size) // 2)
                continue
            self._fill_chunk(prepared, chunk, dim, panel.rows, start * dim, column)
            start += int(part.size)
        return None

    def _gather(self, prepared: AbstractDevicePrepared, centres: DeviceArray, species: DeviceArray) -> _Chunk:
        xp = self.device.xp
        edges = prepared.edges(centres)
        needed = xp.zeros(species.size, dtype=bool)
        needed[centres] = True
        needed[edges.neighbour] = True
        particles = [xp.flatnonzero(needed & (species == s)) for s in range(self._layer.n_species)]
        position = xp.zeros(species.size, dtype=np.int64)
        for own in particles:
            position[own] = xp.arange(own.size, dtype=np.int64)
        return _Chunk(centres, species, edges, particles, position)

    def _fill_chunk(
        self, prepared: AbstractDevicePrepared, chunk: _Chunk, dim: int, out: DeviceArray, row: int, column: int
    ) -> None:
        device, layer, n_centres = self.device, self._layer, chunk.edges.n_centres
        terms = list_terms(device, chunk.edges, chunk.centres, chunk.species, chunk.position, layer.n_species)
        # where panels are cut; the only array that the host sees
        first = device.download(terms.first)
        for s, own in enumerate(self._species):
            halo = self._evaluate(prepared, s, chunk.particles[s], chunk.species)
            begin, columns = s * n_centres, layer.columns(s)
            # terms and products of a panel take half the budget
            most = max(1, self._budget_bytes // 2 // (8 * dim * (layer.n_invariants + int(own.bias.size))))
            for low, high in stretches(first[begin : begin + n_centres + 1], most):
                derivatives = term_derivatives(
                    device,
                    chunk.edges,
                    chunk.centres,
                    chunk.species,
                    terms,
                    int(first[begin + low]),
                    int(first[begin + high]),
                    s,
                    self._bumps,
                    own.mixing,
                    self._monomials,
                    halo.response,
                    dim,
                )
                where = terms.first[begin + low : begin + high + 1], terms.owner, dim, out, row + low * dim
                if columns.stop > columns.start:
                    sum_rows(device, derivatives @ own.weights, halo.slopes, *where, column + columns.start)
                if layer.direct_links:
                    sum_rows(device, derivatives, None, *where, column + layer.direct(s).start)

    def _evaluate(
        self, prepared: AbstractDevicePrepared, s: int, particles: DeviceArray, species: DeviceArray
    ) -> _Environments:
        """Moments, invariants and tanh' of environments of one species, as many at a time as memory allows."""
        device, own, tensor = self.device, self._species[s], self._monomials
        xp = device.xp
        n, n_radial = int(particles.size), int(own.mixing.shape[1])
        response = xp.empty((n, tensor.count, n_radial))
        slopes = xp.empty((n, own.bias.size))
        # moments before and after mixing, invariants and activations, beside what is kept
        each = 8 * (tensor.count * (int(own.mixing.shape[0]) + n_radial) + int(own.mean.size) + int(own.bias.size))
        size = max(1, int(self._budget_bytes / 2 / (each + _EDGE_BYTES * prepared.edges_per_centre)))
        for start in range(0, n, size):
            part = slice(start, start + size)
            centres = particles[part]
            moments = bump_moments(device, prepared.edges(centres), centres, species, self._bumps, tensor)
            response[part] = (moments.reshape(-1, moments.shape[2]) @ own.mixing).reshape(-1, tensor.count, n_radial)
            standard = standardise(device, response[part], own.mean, own.deviation, tensor)
            slopes[part] = standard @ own.weights
            tanh_slopes(device, slopes[part], own.bias)
        return _Environments(response, slopes)


def _upload_bumps(device: AbstractDevice, radial: RadialBumps) -> DeviceBumps:
    interact = radial.cutoff > 0
    ratio = np.where(interact, radial.cutoff, math.e) / np.where(interact, radial.lower, 1.0)
    return DeviceBumps(
        lower=device.upload(radial.lower),
        cutoff=device.upload(radial.cutoff),
        per_width=device.upload((radial.n_bumps - 1) / (radial.width * np.log(ratio))),
        n_bumps=radial.n_bumps,
        width=radial.width,
    )


def _upload_species(device: AbstractDevice, layer: Round, s: int) -> _Species:
    columns = layer.columns(s)
    return _Species(
        mixing=device.upload(layer.mixing[s]),
        mean=device.upload(layer.mean[s]),
        deviation=device.upload(layer.deviation[s]),
        weights=device.upload(layer.weights[:, columns]),
        bias=device.upload(layer.bias[columns]),
    )
