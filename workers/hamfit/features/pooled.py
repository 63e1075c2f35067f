"""Radial features pooled over the edges of a frame: what the pair and the kinetic block have in common.

A pooled feature is Phi_k = pooling * sum over edges of phi_k(|v_e|), where v_e is the vector of edge e seen from its
centre. Its derivative with respect to the centre's coordinate is sum over the centre's edges of phi_k'(|v|)/|v| v.
For pairs every edge is seen from both sides, so pooling is 1/2; for momenta each particle has one edge, its own p.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np

from hamfit.features.block import AbstractBlock, Evaluator, Outside, Panel
from hamfit.features.radial import RadialFeatures, map_inverse, map_value
from hamfit.features.source import Source, stretches
from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph, Edges
from hamfit.kernels.cpu import radial_rows, widen_extent
from hamfit.types import FloatArray, IntArray

if TYPE_CHECKING:
    from hamfit.devices import AbstractDevice
    from hamfit.features.device_block import AbstractDeviceBlock
    from hamfit.features.tables import RadialTable

#: Feature values evaluated at a time, so that one piece (half a megabyte) stays in the second-level cache.
_PIECE_VALUES = 2**16
#: Particles whose edges are looked at together.
PIECE_CENTRES = 1024
#: Tables reach this share of the range further than the survey saw, so that few edges need the slow way.
_MARGIN = 0.02

Curve: TypeAlias = Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]]
"""Distances and channels (E,) to f(r) and f'(r)/r."""


class AbstractRadialBlock(AbstractBlock):
    """Random features of edge lengths, one set for each channel."""

    pooling: float
    is_tabulated: ClassVar[bool] = True

    graph: AbstractGraph

    def __init__(self, radial: RadialFeatures, graph: AbstractGraph) -> None:
        self.radial, self.graph = radial, graph

    @property
    def n_columns(self) -> int:
        """Number of features."""
        return self.radial.n_columns

    @property
    def n_extents(self) -> int:
        """The channels."""
        return self.radial.n_channels

    def rows(self, source: Source, centres: IntArray) -> FloatArray:
        """Derivatives of all features, (len(centres) * d, n_columns)."""
        return self._rows_of(source.edges(centres), source.frame.dim)

    def _rows_of(self, edges: Edges, dim: int) -> FloatArray:
        out = np.zeros(((edges.offsets.size - 1) * dim, self.n_columns))
        width = self.radial.per_channel
        for first, last in stretches(edges.offsets, max(1, _PIECE_VALUES // width)):
            begin, end = int(edges.offsets[first]), int(edges.offsets[last])
            radial_rows(
                edges.offsets[first : last + 1] - begin,
                edges.vector[begin:end],
                edges.channel[begin:end],
                self.radial.mixed_slopes(edges.channel[begin:end], edges.distance[begin:end]),
                width,
                dim,
                0,
                out[first * dim : last * dim],
            )
        return out

    def features(self, source: Source) -> FloatArray:
        """Pooled features of the whole frame, (n_columns,)."""
        out = np.zeros(self.n_columns)
        for edges, _ in source.pieces(PIECE_CENTRES):
            for c in range(self.radial.n_channels):
                distance = edges.distance[edges.channel == c]
                if distance.size:
                    out[self.radial.columns(c)] += self.radial.values(c, distance).sum(axis=0)
        return self.pooling * out

    def energy_and_gradient(
        self, source: Source, theta: FloatArray, virial: FloatArray | None = None
    ) -> tuple[float, FloatArray]:
        """Both at once, for the price of one, feature by feature; the virial too where an array is given."""
        return self.follow(lambda distance, channel: self.radial.contract(distance, channel, theta), source, virial)

    def compiled(self, theta: FloatArray, extent: FloatArray | None) -> Evaluator:
        """Through pieces of degree 7 on the extent; beyond it, and without one, feature by feature."""
        from hamfit.features.curves import RadialCurve

        nothing = np.full((self.radial.n_channels, 2), np.nan)
        curve = RadialCurve.compile(self.radial, theta, nothing if extent is None else extent)
        return partial(self.follow, curve)

    def follow(self, curve: Curve, source: Source, virial: FloatArray | None = None) -> tuple[float, FloatArray]:
        """Energy and gradient (N, d) of a function of the edge lengths: ``curve`` gives f(r) and f'(r)/r.

        Adds -sum over pairs of f'(r)/r v_a v_b to ``virial`` (d, d) where it is given.
        """
        frame = source.frame
        out = np.zeros((frame.n_particles, frame.dim))
        energy = 0.0
        for edges, centres in source.pieces(PIECE_CENTRES):
            value, slope = curve(edges.distance, edges.channel)
            energy += float(value.sum())
            owner = np.repeat(np.arange(centres.size), np.diff(edges.offsets))
            for axis in range(frame.dim):
                out[centres, axis] = np.bincount(owner, slope * edges.vector[:, axis], minlength=centres.size)
            if virial is not None:
                vector = edges.vector[:, : frame.dim]
                virial -= self.pooling * (vector.T @ (slope[:, None] * vector))
        return self.pooling * energy, out

    def tabulate(self, extent: FloatArray, projection: FloatArray, preliminary: FloatArray) -> RadialTable | None:
        """B-splines of the distance on the extent and a little beyond."""
        from hamfit.features.tables import build_table

        return build_table(self.radial, self._table_extent(extent), projection, preliminary)

    def _table_extent(self, extent: FloatArray) -> FloatArray:
        """Distances the table covers, (C, 2): the survey's and a margin in the mapped distance; nan for no edges."""
        out = np.full_like(extent, np.nan)
        radial = self.radial
        for c, input_map in enumerate(radial.input_maps):
            ends = np.sort(map_value(input_map, extent[c]))
            if not np.all(np.isfinite(ends)):
                continue
            if ends[1] <= ends[0]:
                # one length only, as in a crystal at rest: the range the features were sampled for
                ends = np.array([radial.low[c], radial.high[c]])
            margin = _MARGIN * (ends[1] - ends[0])
            low, high = max(ends[0] - margin, 0.5 * ends[0], 0.0), ends[1] + margin
            distances = np.sort(map_inverse(input_map, np.array([low, high])))
            out[c] = np.minimum(distances, radial.cutoffs[c])
        return out

    def fill(
        self, source: Source, panel: Panel, column: int, seen: FloatArray, table: RadialTable | None = None
    ) -> Outside | None:
        """See ``AbstractBlock.fill``: splines where there is a table."""
        edges, dim, out = source.edges(panel.centres), source.frame.dim, panel.rows
        if table is None:
            out[:, column : column + self.n_columns] = self._rows_of(edges, dim)
            widen_extent(edges.distance, edges.channel, seen)
            return None
        out[:, column : column + table.n_local] = 0.0
        outside = table.fill(edges, dim, column, out, seen)
        if not outside.size:
            return None
        owners = np.searchsorted(edges.offsets, outside, side="right") - 1
        return Outside(owners * dim, edges.channel[outside], edges.distance[outside], edges.vector[outside])

    def beyond_table(self, outside: Outside, projection: FloatArray) -> FloatArray:
        """What edges outside its table add to the whitened rows of their centres, feature by feature, (E, 3, k)."""
        slopes = self.radial.mixed_slopes(outside.channel, outside.distance)
        whitened = np.stack(
            [slope @ projection[self.radial.columns(int(c))] for c, slope in zip(outside.channel, slopes, strict=True)]
        )
        return np.asarray(outside.vector[:, :, None] * whitened[:, None, :])

    def on_device(self, device: AbstractDevice, table: RadialTable | None = None) -> AbstractDeviceBlock:
        """See ``AbstractBlock.on_device``."""
        from hamfit.features.device_radial import DeviceRadialBlock

        return DeviceRadialBlock(device, self, table)

    def run_once(self, frame: Frame) -> None:
        """Every kernel, for ``warm_up``: rows and energies, with a table and without."""
        extent, source = np.array([[0.5, 2.0]]), self.prepare(frame)
        table = self.tabulate(extent, np.eye(self.n_columns), np.ones(self.n_columns))
        assert table is not None
        for using in (None, table):
            width = self.n_columns if using is None else using.n_local
            panel = Panel(source.order, np.zeros((source.order.size * frame.dim, width)))
            self.fill(source, panel, 0, extent, using)
        self.compiled(np.ones(self.n_columns), extent)(source, None)
