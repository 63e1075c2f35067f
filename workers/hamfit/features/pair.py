"""The pair block: functions of the distance of two particles, one set per species pair or bond type.

Exactly invariant under translation, rotation and permutation, local and smooth; a model made of it applies to
systems of any size.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from hamfit.features.block import Part
from hamfit.features.pooled import AbstractRadialBlock, EdgeSource
from hamfit.features.radial import RadialFeatures
from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph, graph_from_attrs


class PairBlock(AbstractRadialBlock):
    """Random features of the distances along the edges of a graph."""

    kind: ClassVar[str] = "pair"
    part: ClassVar[Part] = "force"
    pooling = 0.5

    def __init__(self, radial: RadialFeatures, graph: AbstractGraph) -> None:
        super().__init__(radial)
        self.graph = graph

    @property
    def channel_labels(self) -> tuple[str, ...]:
        """Name of each channel."""
        return self.graph.channel_labels

    def prepare(self, frame: Frame) -> EdgeSource:
        """The frame's graph, ready for asking."""
        return self.graph.prepare(frame)

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Attributes and arrays that ``from_store`` turns back into the same block."""
        attrs, arrays = self.radial.to_store()
        return {"radial": attrs, "graph": self.graph.to_attrs()}, arrays

    @classmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> PairBlock:
        """The block that ``to_store`` described."""
        return cls(RadialFeatures.from_store(attrs["radial"], arrays), graph_from_attrs(attrs["graph"]))
