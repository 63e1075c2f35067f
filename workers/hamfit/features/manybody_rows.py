"""Rows of Z for the many-body block, panel by panel.

A particle i moves its own environment and that of each neighbour. So its rows are one term for itself (the
sum of d(I_i)/d(vector) over its edges) and one per edge i -> j (minus the derivative of I_j by the reversed
edge). A term is a (d, n_invariants) block, is multiplied by W in one matrix product with some hundred
others, then by tanh' of the environment it belongs to. Only environments of the centres and of their
neighbours (the halo) are needed, so a shard of particles needs no more than its surroundings. A particle
that neighbours its own image needs no special care: the two edges i -> image and back cancel, as they
should, because the image moves along.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.features.manybody_moments import monomials, sensitivity
from hamfit.features.manybody_round import Round
from hamfit.features.source import Source, stretches
from hamfit.graphs import Edges
from hamfit.kernels.manybody import accumulate_derivatives, accumulate_rows
from hamfit.types import FloatArray, IntArray

#: Centres whose environments are evaluated together.
CHUNK_CENTRES = 256
#: Bytes that tanh' of the centres and their halo may take before the chunk is halved.
CHUNK_BYTES = 32 * 2**20
#: Edges and features of one matrix product: its result (some MB) stays in the cache.
PANEL_EDGES = 512
PANEL_FEATURES = 512


@dataclass(frozen=True, slots=True, eq=False)
class _Halo:
    """The environments that a chunk of centres depends on."""

    particles: IntArray
    """Ascending particle indices, (H,)."""
    sensitivity: FloatArray
    """Derivative of each invariant by its moments, (H, M, n_radial)."""
    slopes: FloatArray
    """tanh' of the features of the environment's own species, (H, widest species)."""


def fill_rows(layer: Round, source: Source, species: IntArray, centres: IntArray, rows: FloatArray) -> None:
    """Add the rows of ``centres`` (C,) into ``rows`` (C, d, n_columns), which the caller has zeroed."""
    for start in range(0, centres.size, CHUNK_CENTRES):
        part = slice(start, start + CHUNK_CENTRES)
        _fill_chunk(layer, source, species, centres[part], rows[part])


def _fill_chunk(layer: Round, source: Source, species: IntArray, centres: IntArray, rows: FloatArray) -> None:
    edges = source.edges(centres)
    particles = np.unique(np.concatenate([centres, edges.neighbour]))
    if centres.size > 1 and particles.size * layer.n_columns * 8 > CHUNK_BYTES:
        half = centres.size // 2
        _fill_chunk(layer, source, species, centres[:half], rows[:half])
        _fill_chunk(layer, source, species, centres[half:], rows[half:])
        return
    halo = _evaluate_halo(layer, source, species, particles)
    for first, last in stretches(edges.offsets, PANEL_EDGES):
        _fill_panel(layer, edges, species, centres, halo, first, last, rows)


def _evaluate_halo(layer: Round, source: Source, species: IntArray, particles: IntArray) -> _Halo:
    n_monomials = monomials(layer.l_max).degree.size
    widest = int(np.diff(layer.first).max())
    response = np.empty((particles.size, n_monomials, layer.mixing.shape[2]))
    slopes = np.zeros((particles.size, widest))
    for start in range(0, particles.size, CHUNK_CENTRES):
        chunk = particles[start : start + CHUNK_CENTRES]
        moments, standard = layer.environments(source.edges(chunk), chunk, species)
        response[start : start + chunk.size] = sensitivity(moments, layer.l_max)
        for own, tanh in layer.hidden(standard, species[chunk]).values():
            slopes[start + own, : tanh.shape[1]] = 1.0 - tanh**2
    return _Halo(particles, response, slopes)


def _fill_panel(
    layer: Round,
    edges: Edges,
    species: IntArray,
    centres: IntArray,
    halo: _Halo,
    first: int,
    last: int,
    rows: FloatArray,
) -> None:
    """Add the rows of centres[first:last]."""
    own = centres[first:last]
    span = slice(int(edges.offsets[first]), int(edges.offsets[last]))
    neighbour, vector, distance = edges.neighbour[span], edges.vector[span], edges.distance[span]
    position = np.repeat(np.arange(own.size), np.diff(edges.offsets[first : last + 1]))
    centre_species, neighbour_species = species[own][position], species[neighbour]
    owner = np.searchsorted(halo.particles, np.concatenate([own, neighbour]))
    tensor = monomials(layer.l_max)
    terms = np.zeros((owner.size, rows.shape[1], layer.n_invariants))

    def add(sign: float, environment: IntArray, row: IntArray, of: IntArray, towards: IntArray) -> None:
        radial, slope = _mixed_radial(layer, distance, of, towards)
        accumulate_derivatives(
            vector if sign > 0 else -vector,
            distance,
            sign,
            environment,
            row,
            radial,
            slope,
            halo.sensitivity,
            tensor.exponents,
            tensor.degree,
            terms,
        )

    add(1.0, owner[position], position, centre_species, neighbour_species)
    edge_row = np.arange(own.size, owner.size)
    # The reversed edge belongs to the neighbour's environment, and its vector shrinks when the centre moves
    # along it.
    add(-1.0, owner[own.size :], edge_row, neighbour_species, centre_species)

    target = first + np.concatenate([np.arange(own.size), position])
    term_species = np.concatenate([species[own], neighbour_species])
    for s in range(layer.n_species):
        chosen = np.flatnonzero(term_species == s)
        if chosen.size:
            _add_products(layer, s, terms[chosen], target[chosen], owner[chosen], halo, rows)


def _add_products(
    layer: Round, s: int, terms: FloatArray, target: IntArray, owner: IntArray, halo: _Halo, rows: FloatArray
) -> None:
    """Multiply the terms (R, d, n_invariants) of one species by its weights and add them to their rows."""
    terms /= layer.deviation[s]
    flat = terms.reshape(-1, layer.n_invariants)
    columns = layer.columns(s)
    for start in range(columns.start, columns.stop, PANEL_FEATURES):
        block = slice(start, min(start + PANEL_FEATURES, columns.stop))
        product = (flat @ layer.weights[:, block]).reshape(*terms.shape[:2], -1)
        accumulate_rows(product, target, owner, halo.slopes, start, start - columns.start, rows)
    if layer.direct_links:
        one = np.ones((halo.particles.size, layer.n_invariants))
        accumulate_rows(terms, target, owner, one, layer.direct(s).start, 0, rows)


def _mixed_radial(layer: Round, distance: FloatArray, of: IntArray, towards: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mixed radial functions g_c and their slopes, (E, n_radial), for edges ``of`` -> ``towards``."""
    bumps, slopes = layer.radial.evaluate(distance, of, towards)
    width = layer.radial.n_bumps
    value = np.empty((distance.size, layer.mixing.shape[2]))
    slope = np.empty_like(value)
    for s in range(layer.n_species):
        for t in range(layer.n_species):
            chosen = (of == s) & (towards == t)
            mixing = layer.mixing[s, t * width : (t + 1) * width]
            value[chosen], slope[chosen] = bumps[chosen] @ mixing, slopes[chosen] @ mixing
    return value, slope
