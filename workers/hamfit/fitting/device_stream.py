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
from hamfit.features.block import Panel
from hamfit.features.device_block import DeviceSource
from hamfit.features.device_radial import EDGE_BYTES
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.frame_rows import Pooled
from hamfit.fitting.part_stream import RARE_LENGTH, AbstractPartStream, Lift
from hamfit.fitting.residuals import ResidualSums
from hamfit.fitting.shards import Shard
from hamfit.frames import Frame
from hamfit.graphs import FrameGraphs
from hamfit.kernels.gpu import row_squares
from hamfit.reductions import AbstractReduction, Triangle
from hamfit.types import FloatArray, IntArray


class DevicePartStream(AbstractPartStream[DeviceSource]):
    """Rows of one part, in panels on a device, into one accumulator there."""

    def __init__(self, part: PartBasis, reduction: AbstractReduction, device: AbstractDevice) -> None:
        super().__init__(part, reduction)
        self._device = device
        with self._working("the columns of the fit"):
            self._accumulator = reduction.accumulator(device)
            self._sums = ResidualSums(part, device) if reduction.of_residuals else None
            lift = Lift.of(part, reduction)
            self._lift = None if lift is None else device.upload(lift.matrix)
            self._prediction = None if lift is None else device.upload(lift.prediction)
            self._blocks = [block.on_device(device, part.table(k)) for k, block in enumerate(part.blocks)]
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

    def _prepare(self, frame: Frame, graphs: FrameGraphs) -> list[DeviceSource]:
        return [block.prepare(frame, graphs) for block in self._blocks]

    def _pooled(self, frame: Frame, sources: Sequence[DeviceSource]) -> Pooled:
        asked, hosts = list(zip(self._blocks, sources, strict=True)), self.part.blocks
        return Pooled(
            lambda: np.concatenate([block.features(source, self._plan) for block, source in asked]),
            # a few rows a frame, which the processor makes
            lambda: np.concatenate([block.virials(block.prepare(frame)) for block in hosts]),
        )

    def _take(self, frame: Frame, sources: Sequence[DeviceSource], order: IntArray, targets: FloatArray) -> None:
        self._plan.measure(self._centre_bytes(frame.dim, sources))
        self._plan.run(order, lambda centres: self._absorb_panel(frame, sources, centres, targets))

    def _centre_bytes(self, dim: int, sources: Sequence[DeviceSource]) -> float:
        """Memory that one centre takes in a panel: its rows, lifted ones, a copy without rare ones, and its edges."""
        edges = sum(source.edges_per_centre for source in sources)
        columns = int(self._columns[-1]) + 3 * (self.part.n_columns + 1)
        return 8.0 * dim * columns + EDGE_BYTES * edges

    def _absorb_panel(
        self, frame: Frame, sources: Sequence[DeviceSource], centres: IntArray, targets: FloatArray
    ) -> None:
        device, dim = self._device, frame.dim
        width = int(self._columns[-1]) if self._lift is not None else self.part.n_columns + 1
        local = device.xp.empty((centres.size * dim, width))
        # blocks write all of their columns; those of constants are zero in rows of forces
        local[:, int(self._columns[-1]) :] = 0.0
        panel = Panel(centres, local, device.upload(centres))
        corrections: list[tuple[IntArray, FloatArray]] = []
        for index, (block, source) in enumerate(zip(self._blocks, sources, strict=True)):
            outside = block.fill(source, panel, int(self._columns[index]), self._seen[index])
            if outside is not None:
                rows = outside.row[:, None] + np.arange(dim)
                additions = self._additions(index, outside)[:, :dim]
                corrections.append((rows.reshape(-1), additions.reshape(rows.size, -1)))
        wanted = device.upload(targets[centres].reshape(-1) / self.part.target_scale)
        square = float(wanted @ wanted)
        self._reduce(local, wanted, corrections)
        # only now: until here a panel that did not fit has left no trace
        self._square[self.part.part] += square
        self._outside += sum(rows.size for rows, _ in corrections) // dim

    def _reduce(
        self, local: DeviceArray, wanted: DeviceArray, corrections: Sequence[tuple[IntArray, FloatArray]]
    ) -> None:
        """Reduce the rows of a panel, local columns (m, n_local) and targets (m,): whole, or not at all."""
        if self._sums is not None:
            self._sums.absorb(local, wanted, corrections)
            return
        if self._lift is None:
            panel = local
            panel[:, -1] = wanted
        else:
            panel = local.astype(self._lift.dtype, copy=False) @ self._lift
            predicted = panel[:, -1] if panel.dtype == wanted.dtype else local @ self._prediction
            self._correct(panel, predicted, corrections)
            panel[:, -1] = wanted - predicted
        panel, unusual = self._without_rare(panel)
        self._accumulator.absorb(panel)
        if self._rare is not None and unusual is not None:
            self._rare.absorb(unusual)

    def _correct(
        self, panel: DeviceArray, predicted: DeviceArray, corrections: Sequence[tuple[IntArray, FloatArray]]
    ) -> None:
        """Add what edges outside the tables contribute to rows and predictions, several to one row in their order."""
        for rows, additions in corrections:
            own, place = np.unique(rows, return_inverse=True)
            sums = np.zeros((own.size, additions.shape[1]))
            np.add.at(sums, place, additions)
            whitening = self.part.whitening
            assert whitening is not None
            where = self._device.upload(own)
            panel[where, : sums.shape[1]] += self._device.upload(sums)
            predicted[where] += self._device.upload(sums @ whitening.preliminary)

    def _without_rare(self, panel: DeviceArray) -> tuple[DeviceArray, FloatArray | None]:
        """The rows like those of the sample, and the others on the host."""
        if self._rare is None:
            return panel, None
        columns = panel[:, :-1]
        long = row_squares(self._device, panel, columns.shape[1]) > RARE_LENGTH**2 * columns.shape[1]
        if not bool(long.any()):
            return panel, None
        return panel[~long], self._device.download(panel[long])

    @property
    def notes(self) -> tuple[str, ...]:
        """See ``AbstractPartStream.notes``."""
        return self._plan.notes

    def _main_state(self) -> Triangle:
        with self._working("the sums over the rows"):
            return (self._sums or self._accumulator).state()
