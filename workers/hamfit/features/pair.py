"""The pair block: functions of the distance of two particles, one set per species pair or bond type.

Exactly invariant under translation, rotation and permutation, local and smooth; a model made of it applies to
systems of any size.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from hamfit.features.block import Part, Sampled
from hamfit.features.functions import PairFunctions
from hamfit.features.pooled import PIECE_CENTRES, AbstractRadialBlock
from hamfit.features.radial import N_LINKS, RadialFeatures, Taper
from hamfit.features.radial_choice import choose_radial
from hamfit.features.source import Source
from hamfit.features.survey import Sampling
from hamfit.frames import Frame
from hamfit.graphs import BondGraph, CutoffGraph, graph_from_attrs
from hamfit.options import FitSpec
from hamfit.types import FloatArray


class PairBlock(AbstractRadialBlock):
    """Random features of the distances along the edges of a graph."""

    kind: ClassVar[str] = "pair"
    part: ClassVar[Part] = "force"
    form = "has functions of the distance"
    needs_graph: ClassVar[Literal["no", "any", "cutoff"]] = "any"
    has_virial_rows: ClassVar[bool] = True
    pooling = 0.5

    @property
    def pair_functions(self) -> PairFunctions:
        """The block itself."""
        return PairFunctions(self.radial, self.graph)

    def virials(self, source: Source) -> FloatArray:
        """The virial of each pooled feature, (n_columns, d, d): -1/2 sum over edges of phi_k'(r)/r v_a v_b."""
        d, width = source.frame.dim, self.radial.per_channel
        out = np.zeros((self.n_columns, d, d))
        for edges, _ in source.pieces(PIECE_CENTRES):
            for c in range(self.radial.n_channels):
                own = np.flatnonzero(edges.channel == c)
                for start in range(0, own.size, max(1, 2**19 // width)):
                    some = own[start : start + max(1, 2**19 // width)]
                    vector = edges.vector[some, :d]
                    products = (vector[:, :, None] * vector[:, None, :]).reshape(some.size, d * d)
                    slopes = self.radial.slopes_over_r(c, edges.distance[some])
                    out[self.radial.columns(c)] -= self.pooling * (slopes.T @ products).reshape(width, d, d)
        return out

    @classmethod
    def sampled(cls, sampling: Sampling) -> Sampled:
        """Input map, taper and sampler chosen by held-out error, unless they are given."""
        graph, options = sampling.known_graph, sampling.options
        sample = sampling.edges(graph, sampling.rng(4))
        beside_smooth = any(block.is_smooth for block in sampling.beside)
        taper: Taper | None = None
        if options.taper == "smooth" or (options.taper == "auto" and beside_smooth):
            taper = "smooth"
        elif options.taper == "none":
            taper = "shift"
        input_map = None if options.input_map == "auto" else options.input_map
        sampler = None if options.sampler == "auto" else options.sampler
        radial, judged = choose_radial(sample, graph.channel_cutoffs, options, input_map, taper, sampler)
        choices = {
            "input_maps": list(radial.input_maps),
            "taper": radial.tapers[0],
            "sampled_rows": int(sample.targets.size),
            "candidates": [one.to_dict() for one in judged],
        }
        return Sampled(cls(radial, graph), sample.extent(radial.n_channels), choices)

    @classmethod
    def expected_columns(cls, options: FitSpec, n_species: int, n_channels: int, dim: int) -> int:
        """Features and direct links of every channel."""
        return n_channels * (options.features + N_LINKS * int(options.direct_links))

    @classmethod
    def warm_up(cls, frame: Frame) -> None:
        """Rows and energies along bonds and within a cutoff, with and without a table."""
        for graph in (CutoffGraph(frame.labels, np.full((1, 1), 2.0)), BondGraph(frame.bond_labels)):
            cls(_WARM, graph).run_once(frame)

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Attributes and arrays that ``from_store`` turns back into the same block."""
        attrs, arrays = self.radial.to_store()
        return {"radial": attrs, "graph": self.graph.to_attrs()}, arrays

    @classmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> PairBlock:
        """The block that ``to_store`` described."""
        return cls(RadialFeatures.from_store(attrs["radial"], arrays), graph_from_attrs(attrs["graph"]))


_WARM = RadialFeatures(
    ("r",), np.array([0.5]), np.array([2.0]), np.ones((1, 2)), np.zeros((1, 2)), np.array([2.0]), ("shift",)
)
