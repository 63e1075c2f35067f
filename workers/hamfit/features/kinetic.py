"""The kinetic block: functions of |p_i|^2, one set per species.

One of its direct links is |p|^2 itself, so the kinetic energy |p|^2 / 2m is represented exactly; the sampled functions
are there for what is not of that form (relativistic particles, velocity-dependent masses).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from hamfit.errors import ModelError
from hamfit.features.block import Part, Sampled
from hamfit.features.pooled import AbstractRadialBlock, Curve
from hamfit.features.radial import N_LINKS, RadialFeatures
from hamfit.features.radial_choice import choose_radial
from hamfit.features.source import Source
from hamfit.features.survey import Sampling
from hamfit.frames import Frame
from hamfit.graphs import MomentumGraph
from hamfit.options import FitSpec
from hamfit.types import FloatArray


class KineticBlock(AbstractRadialBlock):
    """Random features of the momenta, pooled over the particles of each species."""

    kind: ClassVar[str] = "kinetic"
    part: ClassVar[Part] = "velocity"
    has_virial: ClassVar[bool] = False
    needs_like_masses: ClassVar[bool] = True
    pooling = 1.0

    def __init__(self, radial: RadialFeatures, labels: tuple[str, ...]) -> None:
        super().__init__(radial, MomentumGraph(labels))

    @property
    def momentum_functions(self) -> RadialFeatures:
        """The functions themselves."""
        return self.radial

    def follow(self, curve: Curve, source: Source, virial: FloatArray | None = None) -> tuple[float, FloatArray]:
        """Energy and gradient (N, d) by p; ModelError where a virial is asked for."""
        if virial is not None:
            raise ModelError(
                "the kinetic block depends on momenta, not on positions, so it has no virial: ask for none"
            )
        return super().follow(curve, source)

    @classmethod
    def sampled(cls, sampling: Sampling) -> Sampled:
        """|p|^2 is the natural input: its direct link is the kinetic energy of a free particle."""
        graph, options = MomentumGraph(sampling.labels), sampling.options
        sample = sampling.edges(graph, sampling.rng(3))
        radial, _ = choose_radial(sample, graph.channel_cutoffs, options, "r2", "shift", "elm")
        return Sampled(cls(radial, sampling.labels), sample.extent(radial.n_channels))

    @classmethod
    def expected_columns(cls, options: FitSpec, n_species: int, n_channels: int, dim: int) -> int:
        """Features and direct links of every species."""
        return n_species * (options.features + N_LINKS * int(options.direct_links))

    @classmethod
    def warm_up(cls, frame: Frame) -> None:
        """Rows and energies of momenta, with and without a table."""
        one = np.ones(1)
        radial = RadialFeatures(
            ("r2",), 0.5 * one, 2.0 * one, np.ones((1, 2)), np.zeros((1, 2)), np.inf * one, ("shift",)
        )
        cls(radial, frame.labels).run_once(frame)

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Attributes and arrays that ``from_store`` turns back into the same block."""
        attrs, arrays = self.radial.to_store()
        return {"radial": attrs, "labels": list(self.graph.channel_labels)}, arrays

    @classmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> KineticBlock:
        """The block that ``to_store`` described."""
        return cls(RadialFeatures.from_store(attrs["radial"], arrays), tuple(attrs["labels"]))
