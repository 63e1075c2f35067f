"""Sampling of a many-body round from data: bumps, mixtures, standardisation and hidden weights.

Everything that a round needs is drawn here once and kept as plain arrays in a ``Round``: the model needs no
data and no random numbers afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hamfit.errors import FeatureError
from hamfit.features.manybody_moments import bump_moments, edge_species, invariants, mix
from hamfit.features.manybody_radial import RadialBumps
from hamfit.features.manybody_round import Round
from hamfit.features.manybody_rows import CHUNK_CENTRES
from hamfit.features.sampling import sample_swim
from hamfit.features.source import Source
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.types import FloatArray, IntArray

SAMPLERS = ("elm", "swim")
#: Environments that standardisation and SWIM look at; more change the means by under a percent.
SAMPLE_ENVIRONMENTS = 20_000


def sample_round(
    frames: Sequence[Frame],
    graph: CutoffGraph,
    *,
    n_features: int,
    n_radial: int = 32,
    n_bumps: int = 10,
    bump_width: float = 2.0,
    l_max: int = 3,
    weight_scale: float = 0.05,
    sampler: str = "elm",
    direct_links: bool = True,
    rng: np.random.Generator,
) -> Round:
    """Draw a round of ``n_features`` tanh features from the environments met, shared out evenly among the species.

    frames: training frames, whose species index ``graph.labels``. n_radial mixtures of n_bumps bumps,
    each bump ``bump_width`` spacings wide. ``elm`` draws W ~ N(0, weight_scale^2 / n_invariants), b ~
    U(-1, 1); ``swim`` draws pairs of environments and ignores weight_scale. Raises FeatureError when
    there are no frames, no particle has a neighbour, or an option is out of range.
    """
    if not frames:
        raise FeatureError("the many-body block has no frames to sample from: give at least one")
    if n_features < 1 or n_radial < 1:
        raise FeatureError(f"n_features is {n_features} and n_radial {n_radial}: the many-body block needs both")
    if sampler not in SAMPLERS:
        raise FeatureError(f"sampler {sampler!r} is unknown to the many-body block: use one of {', '.join(SAMPLERS)}")
    n_species = len(graph.labels)
    chosen = _choose_environments(frames, rng)
    # prepared once; the edges of 20,000 environments may take hundreds of megabytes and are found again, piece by piece
    sources = [Source(frame, graph.prepare(frame)) for frame in frames]
    radial = RadialBumps(_shortest_distances(sources, chosen, graph), graph.cutoffs, n_bumps, bump_width)
    mixing = rng.normal(0.0, 1.0 / np.sqrt(n_bumps), size=(n_species, n_species * n_bumps, n_radial))
    if l_max == 0 and n_radial == 1:
        # One density alone is that of an embedded-atom model, which other programs tabulate from zero upwards; of one
        # sign it is as accurate (cu-256 and ka-500: within the scatter of seeds).
        np.abs(mixing, out=mixing)
    met, parts = [frame.species for frame in frames], []
    for source, own, centres in zip(sources, met, chosen, strict=True):
        for edges, piece in source.pieces(CHUNK_CENTRES, centres):
            moments = bump_moments(edges, piece, own, radial, l_max)
            parts.append(invariants(mix(moments, mixing, own[piece]), l_max))
    species = np.concatenate([own[centres] for own, centres in zip(met, chosen, strict=True)])
    values = np.concatenate(parts)
    mean, deviation = _moments_per_species(values, species, n_species)
    standard = (values - mean[species]) / deviation[species]
    first = np.linspace(0, n_features, n_species + 1).astype(np.int64)
    weights = np.empty((n_features, values.shape[1]))
    bias = np.empty(n_features)
    for s in range(n_species):
        part = slice(first[s], first[s + 1])
        if sampler == "swim":
            points = standard[species == s]
            weights[part], bias[part] = sample_swim(points, int(first[s + 1] - first[s]), rng)
        else:
            scale = weight_scale / np.sqrt(values.shape[1])
            weights[part] = rng.normal(0.0, scale, size=weights[part].shape)
            bias[part] = rng.uniform(-1.0, 1.0, size=bias[part].shape)
    return Round(l_max, radial, mixing, mean, deviation, np.ascontiguousarray(weights.T), bias, first, direct_links)


def _choose_environments(frames: Sequence[Frame], rng: np.random.Generator) -> list[IntArray]:
    """Particles of each frame to look at, ascending: all, or a random share when there are many."""
    total = sum(frame.n_particles for frame in frames)
    share = min(1.0, SAMPLE_ENVIRONMENTS / max(total, 1))
    return [
        np.sort(rng.choice(f.n_particles, size=max(1, round(share * f.n_particles)), replace=False)).astype(np.int64)
        for f in frames
    ]


def _shortest_distances(sources: list[Source], chosen: list[IntArray], graph: CutoffGraph) -> FloatArray:
    """Shortest distance seen for each pair of species, (S, S); half the cutoff for pairs never seen."""
    n_species = len(graph.labels)
    shortest = np.full((n_species, n_species), np.inf)
    for source, centres in zip(sources, chosen, strict=True):
        species = source.frame.species
        for edges, piece in source.pieces(CHUNK_CENTRES, centres):
            pairs = edge_species(edges, species[piece]), species[edges.neighbour]
            np.minimum.at(shortest, pairs, edges.distance)
    shortest = np.minimum(shortest, shortest.T)
    if not np.isfinite(shortest).any():
        raise FeatureError(
            "no particle has a neighbour within the cutoff: give a larger cutoff for the many-body block"
        )
    return np.where(np.isfinite(shortest), shortest, 0.5 * graph.cutoffs)


def _moments_per_species(values: FloatArray, species: IntArray, n_species: int) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each invariant for each species, both (S, n_invariants)."""
    mean = np.zeros((n_species, values.shape[1]))
    deviation = np.ones_like(mean)
    for s in range(n_species):
        own = values[species == s]
        if own.shape[0] == 0:
            continue
        mean[s] = own.mean(axis=0)
        spread = own.std(axis=0)
        # An invariant that is zero for all of them (a species without neighbours, a lattice) keeps its own
        # unit.
        deviation[s] = np.where(spread > 1e-12 * np.abs(own).max(axis=0), spread, 1.0)
    return mean, deviation
