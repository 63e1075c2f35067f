"""The many-body block: sampled functions of invariants of each particle's environment.

One round of message passing with sampled layers. Neighbours are summed into moments A^l_c(i) = sum_j
g_c(r_ij) u_ij^(tensor l); their invariants I = (A^0_c, |A^l_c|^2) are standardised over a sample; the
features are tanh(W I + b) and, as direct links, I itself, pooled over all particles of one species. Each
feature is exactly invariant under permutation, rotation and translation, local, and smooth but for
the cutoff, where forces are continuous.

Rows of Z are one matrix product per edge (``manybody_rows``). After the fit theta is contracted first, so
energy and forces cost the same per edge for any number of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from hamfit.errors import ModelError
from hamfit.features.block import AbstractBlock, Part, Sampled
from hamfit.features.functions import DensityFunctions
from hamfit.features.manybody_moments import edge_species, mix, monomials, sensitivity
from hamfit.features.manybody_radial import RadialBumps
from hamfit.features.manybody_round import Round
from hamfit.features.manybody_rows import CHUNK_CENTRES, fill_rows
from hamfit.features.manybody_sampling import sample_round
from hamfit.features.source import Source
from hamfit.features.survey import Sampling
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph, graph_from_attrs
from hamfit.graphs.channels import species_pairs
from hamfit.kernels.manybody import scatter_forces
from hamfit.options import FitSpec
from hamfit.types import FloatArray, IntArray

if TYPE_CHECKING:
    from hamfit.devices import AbstractDevice
    from hamfit.features.device_block import AbstractDeviceBlock
    from hamfit.features.tables import RadialTable

#: Relative difference of two distances that differ by rounding only.
_ROUNDING = 1e-9
_ARRAYS = ("mixing", "mean", "deviation", "weights", "bias", "first")


class ManyBodyBlock(AbstractBlock):
    """Pooled random features of environments; build with ``sample``."""

    kind: ClassVar[str] = "manybody"
    part: ClassVar[Part] = "force"
    needs_graph: ClassVar[Literal["no", "any", "cutoff"]] = "cutoff"
    needs_energies: ClassVar[bool] = True
    is_smooth: ClassVar[bool] = True

    graph: CutoffGraph

    def __init__(self, graph: CutoffGraph, layer: Round) -> None:
        self.graph, self.layer = graph, layer
        self.form = f"has angular moments up to {layer.l_max} of {layer.mixing.shape[2]} radial functions"

    @classmethod
    def sampled(cls, sampling: Sampling) -> Sampled:
        """Bumps, mixtures and hidden weights from the environments met."""
        options = sampling.options
        return Sampled(
            cls.sample(
                sampling.frames,
                sampling.cutoff_graph,
                n_features=options.features,
                n_radial=options.radial,
                l_max=options.l_max,
                sampler=options.plain_sampler,
                direct_links=options.direct_links,
                rng=sampling.rng(5),
            )
        )

    @classmethod
    def expected_columns(cls, options: FitSpec, n_species: int, n_channels: int, dim: int) -> int:
        """Features, and as direct links one invariant for each moment of each sampled radial function."""
        return options.features + int(options.direct_links) * options.radial * (options.l_max + 1) * n_species

    @classmethod
    def warm_up(cls, frame: Frame) -> None:
        """Rows and energies of a small block."""
        reach, rng = CutoffGraph(frame.labels, np.full((1, 1), 2.0)), np.random.default_rng(0)
        block = cls.sample([frame], reach, n_features=2, n_radial=2, n_bumps=3, rng=rng)
        source = block.prepare(frame)
        block.rows(source, source.order)
        block.energy_and_gradient(source, np.ones(block.n_columns))

    @classmethod
    def sample(cls, frames: Sequence[Frame], graph: CutoffGraph, **how: Any) -> ManyBodyBlock:
        """A block drawn from training frames, whose species index ``graph.labels``; ``how`` as for ``sample_round``."""
        return cls(graph, sample_round(frames, graph, **how))

    @property
    def n_columns(self) -> int:
        """tanh features of all species, then the direct links of each species."""
        return self.layer.n_columns

    @property
    def density_functions(self) -> DensityFunctions | None:
        """The block itself, where its environments are one density."""
        if self.layer.l_max > 0 or self.layer.mixing.shape[2] != 1:
            return None
        return DensityFunctions(self.layer, self.graph, self.extent())

    def extent(self, seen: FloatArray | None = None) -> FloatArray:
        """Shortest distance seen where the block was sampled, less rounding, and inf, for each channel, (C, 2).

        For pairs of species never met there it is half their cutoff. Longer distances than those seen end at the
        cutoff, where all functions vanish, so none is outside.
        """
        low = [self.layer.radial.lower[a, b] for a, b in species_pairs(len(self.graph.labels))]
        # the same pair seen from its other end, or in another image, must not count as nearer
        return np.column_stack([(1.0 - _ROUNDING) * np.array(low), np.full(len(low), np.inf)])

    def rows(self, source: Source, centres: IntArray) -> FloatArray:
        """Derivatives of all features by the positions of the centres, (len(centres) * d, n_columns)."""
        rows = np.zeros((centres.size, source.frame.dim, self.n_columns))
        fill_rows(self.layer, source, source.frame.species, centres, rows)
        return rows.reshape(-1, self.n_columns)

    def features(self, source: Source) -> FloatArray:
        """The pooled features of the whole frame, (n_columns,)."""
        layer, species = self.layer, source.frame.species
        total = np.zeros(self.n_columns)
        for edges, centres in source.pieces(CHUNK_CENTRES):
            _, standard = layer.environments(edges, centres, species)
            layer.pool(standard, species[centres], total)
        return total

    def on_device(self, device: AbstractDevice, table: RadialTable | None = None) -> AbstractDeviceBlock:
        """See ``AbstractBlock.on_device``."""
        from hamfit.features.manybody_device import DeviceManyBody

        return DeviceManyBody(device, self)

    def energy_and_gradient(
        self, source: Source, theta: FloatArray, virial: FloatArray | None = None
    ) -> tuple[float, FloatArray]:
        """``E = sum_k theta_k Phi_k`` and dE/dq, (N, d); theta is contracted per particle, before any work on edges.

        The virial costs next to nothing: it is summed from the pushes along each edge, and added to ``virial`` (d, d)
        where it is given.
        """
        layer, frame = self.layer, source.frame
        tensor = monomials(layer.l_max)
        total, gradient = np.zeros(self.n_columns), np.zeros(frame.q.shape)
        strained = np.zeros((frame.dim, frame.dim)) if virial is None else virial
        for edges, centres in source.pieces(CHUNK_CENTRES):
            species, neighbour_species = frame.species[centres], frame.species[edges.neighbour]
            moments, standard = layer.environments(edges, centres, frame.species)
            slope = layer.energy_slope(layer.pool(standard, species, total), species, theta)
            pull = sensitivity(moments, layer.l_max)
            pull *= slope.reshape(centres.size, layer.l_max + 1, -1)[:, tensor.degree]
            centre_species = edge_species(edges, species)
            values, slopes = layer.radial.evaluate(edges.distance, centre_species, neighbour_species)
            scatter_forces(
                edges.offsets,
                centres,
                edges.neighbour,
                edges.vector,
                edges.distance,
                neighbour_species * layer.radial.n_bumps,
                values,
                slopes,
                # back from mixtures to plain bumps: the transpose of the mixing
                mix(pull, layer.mixing.transpose(0, 2, 1), species),
                tensor.exponents,
                gradient,
                strained,
            )
        return float(total @ theta), gradient

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Options and the graph as attributes, everything sampled as arrays."""
        layer = self.layer
        attrs = {
            "graph": self.graph.to_attrs(),
            "l_max": layer.l_max,
            "direct_links": layer.direct_links,
            "n_bumps": layer.radial.n_bumps,
            "bump_width": layer.radial.width,
        }
        arrays = {name: getattr(layer, name) for name in _ARRAYS}
        return attrs, arrays | {"lower": layer.radial.lower, "cutoff": layer.radial.cutoff}

    @classmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> ManyBodyBlock:
        """The block that ``to_store`` described."""
        graph = graph_from_attrs(attrs["graph"])
        if not isinstance(graph, CutoffGraph):
            raise ModelError("the many-body block of this model has no cutoff graph: fit the model again")
        radial = RadialBumps(
            lower=arrays["lower"],
            cutoff=arrays["cutoff"],
            n_bumps=int(attrs["n_bumps"]),
            width=float(attrs["bump_width"]),
        )
        layer = Round(
            l_max=int(attrs["l_max"]),
            radial=radial,
            direct_links=bool(attrs["direct_links"]),
            **{name: arrays[name] for name in _ARRAYS},
        )
        return cls(graph, layer)
