"""Radial blocks on a device: features and their tables, uploaded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.devices.planner import PanelPlan
from hamfit.features.block import Outside, Panel
from hamfit.features.device_block import AbstractGraphedBlock
from hamfit.features.radial import RadialFeatures
from hamfit.features.source import Source
from hamfit.features.tables import MAP_CODE, RadialTable, spline_slopes
from hamfit.kernels.gpu import DeviceRadial, DeviceTable, radial_rows, radial_sums, spline_rows, widen_extent
from hamfit.types import FloatArray, IntArray

if TYPE_CHECKING:
    from hamfit.features.pooled import AbstractRadialBlock

#: Bytes of one edge in a panel: neighbour, vector, distance, channel, two flags, and what finding it takes.
EDGE_BYTES = 8 * 8


class DeviceRadialBlock(AbstractGraphedBlock):
    """A radial block with its table, where it has one."""

    def __init__(self, device: AbstractDevice, block: AbstractRadialBlock, table: RadialTable | None) -> None:
        super().__init__(device, block)
        self._pooling, self._n_local = block.pooling, block.n_columns if table is None else table.n_local
        self._radial = upload_radial(device, block.radial)
        self._table = None if table is None else upload_table(device, table)
        self._slope_basis = device.upload(spline_slopes())

    def fill(self, source: Source, panel: Panel, column: int, seen: FloatArray) -> Outside | None:
        """See ``AbstractDeviceBlock.fill``."""
        device, dim, out = self.device, source.frame.dim, panel.rows
        assert source.on_device is not None
        edges = source.on_device.edges(panel.on_device)
        widen_extent(device, edges.distance, edges.channel, seen)
        if self._table is None:
            radial_rows(device, edges, self._radial, dim, column, out)
            return None
        outside = spline_rows(device, edges, self._table, self._slope_basis, dim, column, self._n_local, out)
        if not outside.size:
            return None
        owners = device.download(device.xp.searchsorted(edges.offsets, outside, side="right") - 1)
        return Outside(
            owners * dim,
            device.download(edges.channel[outside]),
            device.download(edges.distance[outside]),
            device.download(edges.vector[outside]),
        )

    def features(self, source: Source, plan: PanelPlan) -> FloatArray:
        """See ``AbstractDeviceBlock.features``; panel by panel in the order of the frame."""
        device, prepared, total = self.device, source.on_device, np.zeros(self.block.n_columns)
        assert prepared is not None

        def add(centres: IntArray) -> None:
            nonlocal total
            edges = prepared.edges(device.upload(centres))
            total = total + device.download(radial_sums(device, edges.distance, edges.channel, self._radial))

        plan.measure(EDGE_BYTES * prepared.edges_per_centre)
        plan.run(prepared.order, add)
        return np.asarray(self._pooling * total)


def upload_table(device: AbstractDevice, table: RadialTable) -> DeviceTable:
    """What the kernels want of a table."""
    return DeviceTable(*(device.upload(getattr(table, name)) for name in DeviceTable._fields))


def upload_radial(device: AbstractDevice, radial: RadialFeatures) -> DeviceRadial:
    """What the kernels want of radial features."""
    smooth = np.array([taper == "smooth" for taper in radial.tapers]) & np.isfinite(radial.cutoffs)
    return DeviceRadial(
        maps=device.upload(np.array([MAP_CODE[name] for name in radial.input_maps], dtype=np.int64)),
        low=device.upload(radial.low),
        high=device.upload(radial.high),
        cutoffs=device.upload(radial.cutoffs),
        smooth=device.upload(smooth.astype(np.int64)),
        weights=device.upload(radial.weights),
        biases=device.upload(radial.biases),
        per_channel=radial.per_channel,
    )
