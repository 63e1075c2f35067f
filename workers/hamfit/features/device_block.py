"""A block on a device: the same rows and features, filled into arrays there.

What a device block is asked is what a block is asked while rows are streamed, so that one suite of tests holds for
both. It knows its table from the start, because what kernels want of it is uploaded once for all frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.devices.planner import PanelPlan
from hamfit.features.block import AbstractBlock, Outside, Panel
from hamfit.features.source import Source
from hamfit.features.tables import RadialTable
from hamfit.frames import Frame
from hamfit.graphs import FrameGraphs
from hamfit.graphs.device_cells import AbstractDevicePrepared, prepare_on_device
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class DeviceSource:
    """What a device block asks of a frame."""

    frame: Frame
    """The frame, in the labels of the block."""
    prepared: AbstractDevicePrepared | None = None
    """Its edges on the device; None for a block that has none there."""
    hosted: Source | None = None
    """The frame as the block itself asks it, for a block that computes on the processor."""

    @property
    def order(self) -> IntArray:
        """All particles, (N,), on the host and as the block's own source orders them."""
        if self.prepared is not None:
            return self.prepared.order
        return Source(self.frame).order if self.hosted is None else self.hosted.order

    @property
    def has_order(self) -> bool:
        """See ``Source.has_order``: the same on the device as on the processor."""
        return self.prepared is not None or (self.hosted is not None and self.hosted.has_order)

    @property
    def edges_per_centre(self) -> float:
        """Mean number of edges that a particle has on the device."""
        return 0.0 if self.prepared is None else self.prepared.edges_per_centre


class AbstractDeviceBlock(ABC):
    """A block made ready for a device, once for all frames."""

    def __init__(self, device: AbstractDevice, block: AbstractBlock) -> None:
        self.device, self.block = device, block

    def prepare(self, frame: Frame, graphs: FrameGraphs) -> DeviceSource:
        """The frame made ready, its graph shared through ``graphs``; with the errors of ``AbstractBlock.prepare``."""
        # what the block refuses, and what its own graph refuses, without preparing that
        return DeviceSource(frame, hosted=self.block.prepare(frame, graphs))

    @abstractmethod
    def fill(self, source: DeviceSource, panel: Panel, column: int, seen: FloatArray) -> Outside | None:
        """As ``AbstractBlock.fill``, into rows on the device.

        Edges outside the table come back to the host. Running out of memory leaves nothing that counts.
        """

    @abstractmethod
    def features(self, source: DeviceSource, plan: PanelPlan) -> FloatArray:
        """The pooled features of the whole frame, (n_columns,), on the host."""


class HostedBlock(AbstractDeviceBlock):
    """A block without kernels for devices: evaluated on the processor, and uploaded panel by panel."""

    def __init__(self, device: AbstractDevice, block: AbstractBlock, table: RadialTable | None) -> None:
        super().__init__(device, block)
        self._table, self._n_local = table, block.n_columns if table is None else table.n_local

    def fill(self, source: DeviceSource, panel: Panel, column: int, seen: FloatArray) -> Outside | None:
        """See ``AbstractDeviceBlock.fill``."""
        assert source.hosted is not None
        rows = np.empty((panel.rows.shape[0], self._n_local))
        outside = self.block.fill(source.hosted, Panel(panel.centres, rows), 0, seen, self._table)
        panel.rows[:, column : column + self._n_local] = self.device.upload(rows)
        return outside

    def features(self, source: DeviceSource, plan: PanelPlan) -> FloatArray:
        """See ``AbstractDeviceBlock.features``."""
        assert source.hosted is not None
        return self.block.features(source.hosted)


class AbstractGraphedBlock(AbstractDeviceBlock):
    """A block whose edges are on the device."""

    def prepare(self, frame: Frame, graphs: FrameGraphs) -> DeviceSource:
        """See ``AbstractDeviceBlock.prepare``; blocks of one graph share what the device made of it."""
        graph = self.block.graph
        assert graph is not None
        self.block.check(frame)
        prepared = graphs.once(
            self.device.name, graph, frame, lambda: prepare_on_device(self.device, graph, frame)
        )
        return DeviceSource(frame, prepared)
