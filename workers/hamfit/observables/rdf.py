"""The radial distribution function of each pair of species, in boxes of any shape.

g_ab(r) = volume / (ordered pairs a-b) * counts(r) / (2 * shell(r)) over full neighbour lists: an ideal gas has 1 at
every distance. Ordered pairs are N_a (N_a - 1) for like species and N_a N_b for unlike ones, as in LAMMPS's `compute
rdf`. Distances go through all images of the other particles, so the longest distance may exceed half the box; a
particle's own images are no pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import pi

import numpy as np

from hamfit.errors import DataError
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph, species_pairs
from hamfit.observables.state import smallest_height, volume_of
from hamfit.types import FloatArray

_PANEL = 2048
"""Centres whose edges are in memory together."""
_REACH = 5.0
"""Longest distance by default, in mean distances of neighbours (arbitrary: where a simple liquid has forgotten)."""


def default_r_max(frames: Iterable[Frame]) -> float:
    """Half the smallest height of the cells, but no more than 5 (volume / N)^(1/d)."""
    lengths = []
    for frame in frames:
        spacing = float((volume_of(frame) / frame.n_particles) ** (1.0 / frame.dim))
        lengths.append(min(0.5 * smallest_height(frame), _REACH * spacing))
    return min(lengths)


def shell_volumes(edges: FloatArray, dim: int) -> FloatArray:
    """Volume between spheres of radii `edges` (n + 1,) in 1, 2 or 3 dimensions, (n,)."""
    return np.asarray(np.diff({1: 2.0, 2: pi, 3: 4.0 / 3.0 * pi}[dim] * edges**dim))


def pair_distribution(frame: Frame, r_max: float, n_bins: int) -> FloatArray:
    """g(r) of one frame for each pair of species and each of n equal bins up to `r_max`, (channels, n).

    Channels are counted 0-0, 0-1, .., 1-1, ..; a row is nan where the frame has no such pair. Memory is that of a
    panel of centres. Raises DataError for a frame that is not periodic in all directions, GraphError for coincident
    particles.
    """
    if not all(frame.periodic):
        raise DataError("the frame is open in some direction, so its density is unknown: use periodic data for g(r)")
    n_species = len(frame.labels)
    channels = species_pairs(n_species)
    prepared = CutoffGraph(frame.labels, np.full((n_species, n_species), r_max)).prepare(frame)
    # a lattice vector is no shorter than the smallest height
    meets_itself = r_max > smallest_height(frame)
    counts = np.zeros((len(channels), n_bins), dtype=np.int64)
    for start in range(0, frame.n_particles, _PANEL):
        centres = prepared.order[start : start + _PANEL]
        edges = prepared.edges(centres)
        # a distance that rounds up to r_max belongs to the last bin
        place = np.minimum((edges.distance * (n_bins / r_max)).astype(np.int64), n_bins - 1)
        place += edges.channel * n_bins
        if meets_itself:
            place = place[edges.neighbour != np.repeat(centres, np.diff(edges.offsets))]
        counts += np.bincount(place, minlength=counts.size).reshape(counts.shape)
    numbers = np.bincount(frame.species, minlength=n_species).astype(np.float64)
    shells = shell_volumes(np.linspace(0.0, r_max, n_bins + 1), frame.dim)
    out = np.full(counts.shape, np.nan)
    for channel, (a, b) in enumerate(channels):
        # full lists see an unlike pair from both sides
        ordered = numbers[a] * (numbers[a] - 1.0) if a == b else 2.0 * numbers[a] * numbers[b]
        if ordered > 0.0:
            out[channel] = counts[channel] * volume_of(frame) / (ordered * shells)
    return out
