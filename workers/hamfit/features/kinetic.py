"""The kinetic block: functions of |p_i|^2, one set per species.

One of its direct links is |p|^2 itself, so the kinetic energy |p|^2 / 2m is represented exactly; the sampled functions
are there for what is not of that form (relativistic particles, velocity-dependent masses).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hamfit.errors import DataError, ModelError
from hamfit.features.block import Part
from hamfit.features.pooled import AbstractRadialBlock, Curve
from hamfit.features.radial import RadialFeatures
from hamfit.frames import Frame
from hamfit.graphs import Edges
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class MomentumEdges:
    """Every particle's momentum as its one edge; the channel is the species."""

    vector: FloatArray
    """Momenta padded to three components, (N, 3)."""
    species: IntArray
    """Species index, (N,)."""

    @property
    def order(self) -> IntArray:
        """Particles as they come."""
        return np.arange(self.species.size, dtype=np.int64)

    def edges(self, centres: IntArray) -> Edges:
        """One edge for each centre."""
        vector = self.vector[centres]
        return Edges(
            offsets=np.arange(centres.size + 1, dtype=np.int64),
            neighbour=centres,
            vector=vector,
            distance=np.sqrt(np.einsum("ij,ij->i", vector, vector)),
            channel=self.species[centres],
        )


class KineticBlock(AbstractRadialBlock):
    """Random features of the momenta, pooled over the particles of each species."""

    kind: ClassVar[str] = "kinetic"
    part: ClassVar[Part] = "velocity"
    pooling = 1.0

    def __init__(self, radial: RadialFeatures, labels: tuple[str, ...]) -> None:
        super().__init__(radial)
        self.labels = labels

    @property
    def channel_labels(self) -> tuple[str, ...]:
        """Name of each channel: the species."""
        return self.labels

    def prepare(self, frame: Frame) -> MomentumEdges:
        """The frame's momenta; DataError where it has none."""
        return momentum_edges(frame)

    def follow(self, frame: Frame, curve: Curve, virial: FloatArray | None = None) -> tuple[float, FloatArray]:
        """Energy and gradient (N, d) by p; ModelError where a virial is asked for."""
        if virial is not None:
            raise ModelError(
                "the kinetic block depends on momenta, not on positions, so it has no virial: ask for none"
            )
        return super().follow(frame, curve)

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Attributes and arrays that ``from_store`` turns back into the same block."""
        attrs, arrays = self.radial.to_store()
        return {"radial": attrs, "labels": list(self.labels)}, arrays

    @classmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> KineticBlock:
        """The block that ``to_store`` described."""
        return cls(RadialFeatures.from_store(attrs["radial"], arrays), tuple(attrs["labels"]))


def momentum_edges(frame: Frame) -> MomentumEdges:
    """The momenta of a frame as edges; DataError where it has none."""
    if frame.p is None:
        raise DataError("the frame has no momenta, which the kinetic block needs: give velocities, or leave it out")
    vector = np.zeros((frame.n_particles, 3))
    vector[:, : frame.dim] = frame.p
    return MomentumEdges(vector, frame.species)
