"""Rows on a device: panels of as many particles as its memory holds, from edges to the reduction without a way back.

A frame's positions and targets go to the device, and one triangle comes back for a whole shard. What is rare stays with
the processor: edges outside a table are evaluated feature by feature, and rows unlike the sample go to an R factor
there. Blocks without kernels of their own are evaluated on the processor and uploaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray, DeviceMemoryFull
from hamfit.devices.planner import PanelPlan
from hamfit.errors import DeviceError
from hamfit.features.block import Outside, Panel
from hamfit.features.device_radial import EDGE_BYTES
from hamfit.features.source import Source
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.frame_rows import Pooled
from hamfit.fitting.part_stream import AbstractPartStream, Corrections
from hamfit.fitting.shards import Shard
from hamfit.frames import Frame
from hamfit.graphs import FrameGraphs
from hamfit.kernels.gpu import row_squares
from hamfit.reductions import AbstractReduction, Triangle
from hamfit.types import FloatArray, IntArray


class DevicePartStream(AbstractPartStream):
    """Rows of one part, in panels on a device, into one accumulator there."""

    _device: AbstractDevice

    def __init__(self, part: PartBasis, reduction: AbstractReduction, device: AbstractDevice) -> None:
        self._device = device
        with self._working("the columns of the fit"):
            super().__init__(part, reduction, device)
            self._blocks = self._made = [block.on_device(device, part.table(k)) for k, block in enumerate(part.blocks)]
        self._plan = PanelPlan(device)

    @contextmanager
    def _working(self, what: str) -> Iterator[None]:
        """The device's turn; DeviceError where it has no room for what it is to hold."""
        with self._device.turn:
            try:
                with self._device.guarded():
                    yield
            except DeviceMemoryFull as error:
                raise DeviceError(
                    f"{self._device.name} has no room for {what} ({error}): free its memory, or use the device cpu"
                ) from None

    def absorb(self, frame: Frame, shard: Shard, position: int, graphs: FrameGraphs) -> None:
        """See ``AbstractPartStream.absorb``; other threads read their frames meanwhile, and wait with theirs."""
        with self._working(f"a frame of {frame.n_particles} particles"):
            super().absorb(frame, shard, position, graphs)

    def _pooled(self, frame: Frame, sources: Sequence[Source]) -> Pooled:
        asked = list(zip(self._made, sources, strict=True))
        return Pooled(
            lambda: np.concatenate([block.features(source, self._plan) for block, source in asked]),
            # a few rows a frame, which the processor makes
            lambda: np.concatenate([block.block.virials(block.hosted(source)) for block, source in asked]),
        )

    def _take(self, frame: Frame, sources: Sequence[Source], order: IntArray, targets: FloatArray) -> None:
        # one centre in a panel: its rows, lifted ones, a copy without rare ones, and its edges
        edges = sum(source.on_device.edges_per_centre for source in sources if source.on_device is not None)
        columns = int(self._columns[-1]) + 3 * (self.part.n_columns + 1)
        self._plan.measure(8.0 * frame.dim * columns + EDGE_BYTES * edges)
        self._plan.run(order, lambda centres: self._absorb_panel(sources, centres, targets))

    def _absorb_panel(self, sources: Sequence[Source], centres: IntArray, targets: FloatArray) -> None:
        device = self._device
        width = int(self._columns[-1]) if self._lift is not None else self.part.n_columns + 1
        local = device.xp.empty((centres.size * self._dim, width))
        # blocks write all of their columns; those of constants are zero in rows of forces
        local[:, int(self._columns[-1]) :] = 0.0
        corrections = self._fill(sources, Panel(centres, local, device.upload(centres)))
        wanted = device.upload(targets[centres].reshape(-1) / self.part.target_scale)
        self._reduce(local, wanted, corrections)

    def _fill_block(self, position: int, source: Source, panel: Panel) -> Outside | None:
        return self._made[position].fill(source, panel, int(self._columns[position]), self._seen[position])

    def _correct(
        self, panel: DeviceArray, predicted: DeviceArray, corrections: Corrections, preliminary: FloatArray
    ) -> None:
        for rows, additions in corrections:
            own, place = np.unique(rows, return_inverse=True)
            sums = np.zeros((own.size, additions.shape[1]))
            np.add.at(sums, place, additions)
            where = self._device.upload(own)
            panel[where, : sums.shape[1]] += self._device.upload(sums)
            predicted[where] += self._device.upload(sums @ preliminary)

    def _squares(self, panel: DeviceArray) -> DeviceArray:
        return row_squares(self._device, panel, panel.shape[1] - 1)

    @property
    def notes(self) -> tuple[str, ...]:
        """See ``AbstractPartStream.notes``."""
        return self._plan.notes

    def _main_state(self) -> Triangle:
        with self._working("the sums over the rows"):
            return super()._main_state()
