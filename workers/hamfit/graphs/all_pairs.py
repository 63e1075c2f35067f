"""Every particle joined to every other: forces without a cutoff, such as gravity, in open systems.

The cost is O(N^2) by nature, and a panel of C centres holds C (N - 1) edges, so callers take small panels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hamfit.errors import GraphError, SpecError
from hamfit.frames import Frame
from hamfit.graphs.channels import checked_species, pair_channels, pair_labels
from hamfit.graphs.graph import AbstractGraph, Edges, Prepared, checked_centres, coincident, padded_positions
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class AllPairsGraph(AbstractGraph):
    """Joins all pairs of particles of an open system; the channel is the unordered pair of species."""

    kind: ClassVar[str] = "all-pairs"

    labels: tuple[str, ...]
    """Names of the S species."""

    def __post_init__(self) -> None:
        if len(self.labels) == 0:
            raise SpecError("labels is empty: name at least one species")

    @property
    def channel_labels(self) -> tuple[str, ...]:
        """Unordered pairs of species: 0-0, 0-1, .., 1-1, .."""
        return pair_labels(self.labels)

    def prepare(self, frame: Frame) -> PreparedPairs:
        """The frame's positions and species.

        Raises GraphError for a periodic frame, a frame without particles, positions that are not finite,
        and species named otherwise than here.
        """
        if any(frame.periodic):
            raise GraphError("the frame is periodic, where all pairs are infinitely many: give a cutoff")
        species = checked_species(frame, self.labels)
        return PreparedPairs(padded_positions(frame), species, pair_channels(len(self.labels)))


class PreparedPairs(Prepared):
    """Positions of an open system, whose particles come as they are numbered."""

    def __init__(self, q: FloatArray, species: IntArray, channels: IntArray) -> None:
        self.order = np.arange(len(q), dtype=np.int64)
        self._q, self._species, self._channels = q, species, channels

    def edges(self, centres: IntArray) -> Edges:
        """All other particles of every centre, ascending.

        Raises GraphError when a centre is no particle, or coincides with another.
        """
        others = len(self._q) - 1
        centres = checked_centres(centres, others + 1)
        # 0 .. N - 2, and one more from the centre onwards: all particles but the centre
        neighbour = np.arange(others) + (np.arange(others) >= centres[:, None])
        vector = (self._q[centres, None, :] - self._q[neighbour]).reshape(-1, 3)
        distance = np.sqrt(vector[:, 0] ** 2 + vector[:, 1] ** 2 + vector[:, 2] ** 2)
        if distance.size and distance.min() == 0:
            at = int(np.argmin(distance))
            raise coincident(*sorted((int(centres[at // others]), int(neighbour.ravel()[at]))))
        channel = self._channels[self._species[centres, None], self._species[neighbour]].ravel()
        offsets = np.arange(len(centres) + 1, dtype=np.int64) * others
        return Edges(offsets, neighbour.ravel(), vector, distance, channel)
