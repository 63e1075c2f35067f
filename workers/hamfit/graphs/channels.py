"""Channels of edges between species: one for each unordered pair of them.

Pairs are counted 0-0, 0-1, .., 0-(S-1), 1-1, .., so that with one species there is one channel, number 0.
"""

from __future__ import annotations

import numpy as np

from hamfit.errors import GraphError
from hamfit.frames import Frame
from hamfit.types import IntArray


def species_pairs(n_species: int) -> list[tuple[int, int]]:
    """Unordered pairs of species (a <= b) in the order of their channels."""
    return [(a, b) for a in range(n_species) for b in range(a, n_species)]


def pair_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the channels, such as ``Si-O``."""
    return tuple(f"{labels[a]}-{labels[b]}" for a, b in species_pairs(len(labels)))


def pair_channels(n_species: int) -> IntArray:
    """Channel of each ordered pair of species, (S, S), symmetric."""
    table = np.empty((n_species, n_species), dtype=np.int64)
    for channel, (a, b) in enumerate(species_pairs(n_species)):
        table[a, b] = table[b, a] = channel
    return table


def checked_species(frame: Frame, labels: tuple[str, ...]) -> IntArray:
    """Species of the frame's particles, (N,), as indices into ``labels``.

    Raises GraphError when the frame counts species by another table, which would silently mix up channels.
    """
    if frame.labels != labels:
        raise GraphError(
            f"the frame names its species {', '.join(frame.labels)} where the graph has {', '.join(labels)}: "
            "use frame.relabel first"
        )
    species = np.ascontiguousarray(frame.species, dtype=np.int64)
    if species.size and (species.min() < 0 or species.max() >= len(labels)):
        raise GraphError(f"species of the frame has indices outside 0 to {len(labels) - 1}: correct them")
    return species
