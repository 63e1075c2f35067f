"""Momenta as edges: every particle has one, from rest to its own momentum, and the channel is its species."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hamfit.errors import DataError
from hamfit.frames import Frame
from hamfit.graphs.graph import AbstractGraph, Edges, Prepared, checked_centres
from hamfit.graphs.lattice import padded
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class MomentumGraph(AbstractGraph):
    """Joins every particle to its own momentum."""

    kind: ClassVar[str] = "momenta"

    labels: tuple[str, ...]
    """Names of the species."""

    @property
    def channel_labels(self) -> tuple[str, ...]:
        """The species."""
        return self.labels

    def prepare(self, frame: Frame) -> PreparedMomenta:
        """The frame's momenta; DataError where it has none."""
        if frame.p is None:
            raise DataError("the frame has no momenta, as a block of momenta needs: give velocities, or leave it out")
        return PreparedMomenta(padded(frame.p), frame.species)


class PreparedMomenta(Prepared):
    """Momenta padded to three components, (N, 3), and species, (N,), of particles as they are numbered."""

    def __init__(self, vector: FloatArray, species: IntArray) -> None:
        self.order = np.arange(species.size, dtype=np.int64)
        self._vector, self._species = vector, species

    def edges(self, centres: IntArray) -> Edges:
        """One edge for each centre. Raises GraphError when a centre is no particle."""
        centres = checked_centres(centres, self._species.size)
        vector = self._vector[centres]
        return Edges(
            offsets=np.arange(centres.size + 1, dtype=np.int64),
            neighbour=centres,
            vector=vector,
            distance=np.sqrt(np.einsum("ij,ij->i", vector, vector)),
            channel=self._species[centres],
        )
