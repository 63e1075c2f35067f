"""A block on a device: the same rows and features, filled into arrays there.

What a device block is asked is what a block is asked while rows are streamed, so that one suite of tests holds for
both. It knows its table from the start, because what kernels want of it is uploaded once for all frames.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.devices.planner import PanelPlan
from hamfit.features.block import AbstractBlock, Outside, Panel
from hamfit.features.source import Source
from hamfit.features.tables import RadialTable
from hamfit.frames import Frame
from hamfit.graphs import FrameGraphs
from hamfit.graphs.device_cells import prepare_on_device
from hamfit.types import FloatArray


class AbstractDeviceBlock(ABC):
    """A block made ready for a device, once for all frames."""

    def __init__(self, device: AbstractDevice, block: AbstractBlock) -> None:
        self.device, self.block = device, block

    def prepare(self, frame: Frame, graphs: FrameGraphs) -> Source:
        """The frame made ready, its graph shared through ``graphs``; with the errors of ``AbstractBlock.prepare``."""
        return self.block.prepare(frame, graphs)

    @abstractmethod
    def fill(self, source: Source, panel: Panel, column: int, seen: FloatArray) -> Outside | None:
        """As ``AbstractBlock.fill``, into rows on the device.

        Edges outside the table come back to the host. Running out of memory leaves nothing that counts.
        """

    def features(self, source: Source, plan: PanelPlan) -> FloatArray:
        """The pooled features of the whole frame, (n_columns,), on the host.

        By default the processor makes them: a row a frame is no work for a GPU.
        """
        return self.block.features(self.hosted(source))

    def hosted(self, source: Source) -> Source:
        """The frame as the block itself asks it."""
        return source if source.hosted is None else source.hosted()


class HostedBlock(AbstractDeviceBlock):
    """A block without kernels for devices: evaluated on the processor, and uploaded panel by panel."""

    def __init__(self, device: AbstractDevice, block: AbstractBlock, table: RadialTable | None) -> None:
        super().__init__(device, block)
        self._table, self._n_local = table, block.n_columns if table is None else table.n_local

    def fill(self, source: Source, panel: Panel, column: int, seen: FloatArray) -> Outside | None:
        """See ``AbstractDeviceBlock.fill``."""
        rows = np.empty((panel.rows.shape[0], self._n_local))
        outside = self.block.fill(source, Panel(panel.centres, rows), 0, seen, self._table)
        panel.rows[:, column : column + self._n_local] = self.device.upload(rows)
        return outside


class AbstractGraphedBlock(AbstractDeviceBlock):
    """A block whose edges are on the device."""

    def prepare(self, frame: Frame, graphs: FrameGraphs) -> Source:
        """See ``AbstractDeviceBlock.prepare``; blocks of one graph share what the device made of it."""
        graph = self.block.graph
        assert graph is not None
        self.block.check(frame)
        prepared = graphs.once(self.device.name, graph, frame, lambda: prepare_on_device(self.device, graph, frame))
        return Source(frame, on_device=prepared, hosted=lambda: self.block.prepare(frame, graphs))
