"""Rows on a device: panels of as many particles as its memory holds, from edges to the reduction without a way back.

A frame's positions and targets go to the device, and one triangle comes back for a whole shard. What is rare stays with
the processor: edges outside a table are evaluated feature by feature, and rows unlike the sample go to an R factor
there. Blocks without kernels of their own are evaluated on the processor and uploaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray, DeviceMemoryFull
from hamfit.devices.planner import PanelPlan
from hamfit.errors import DeviceError
from hamfit.features.block import AbstractBlock
from hamfit.features.device_radial import upload_radial, upload_table
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.manybody_device import DeviceManyBody
from hamfit.features.pair import PairBlock
from hamfit.features.pooled import AbstractRadialBlock
from hamfit.features.tables import spline_slopes
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.part_stream import RARE_LENGTH, AbstractPartStream, Lift
from hamfit.fitting.residuals import ResidualSums
from hamfit.fitting.shards import Shard
from hamfit.frames import Frame
from hamfit.graphs.device_cells import AbstractDevicePrepared, HostEdgeSource, prepare_on_device
from hamfit.kernels.gpu import (
    DeviceEdges,
    DeviceRadial,
    DeviceTable,
    radial_rows,
    radial_sums,
    row_squares,
    spline_rows,
    widen_extent,
)
from hamfit.reductions import AbstractReduction, Triangle
from hamfit.types import FloatArray, IntArray

#: Bytes of one edge in a panel: neighbour, vector, distance, channel, two flags, and what finding it takes.
_EDGE_BYTES = 8 * 8


@dataclass(frozen=True, slots=True)
class _Uploaded:
    """What a block's kernels need, made once for all frames."""

    table: DeviceTable | None = None
    radial: DeviceRadial | None = None
    manybody: DeviceManyBody | None = None


class DevicePartStream(AbstractPartStream[AbstractDevicePrepared]):
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
            self._slope_basis = device.upload(spline_slopes())
            self._uploaded = [self._upload(index, block) for index, block in enumerate(part.blocks)]
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

    def _upload(self, index: int, block: AbstractBlock) -> _Uploaded:
        table = self.part.table(index)
        if isinstance(block, ManyBodyBlock):
            return _Uploaded(manybody=DeviceManyBody(self._device, block))
        if not isinstance(block, AbstractRadialBlock):
            return _Uploaded()
        return _Uploaded(
            table=None if table is None else upload_table(self._device, table),
            radial=upload_radial(self._device, block.radial),
        )

    def absorb(self, frame: Frame, shard: Shard, position: int) -> None:
        """See ``AbstractPartStream.absorb``; other threads read their frames meanwhile, and wait with theirs."""
        with self._working(f"a frame of {frame.n_particles} particles"):
            super().absorb(frame, shard, position)

    def _prepare(self, block: AbstractBlock, frame: Frame) -> AbstractDevicePrepared | None:
        if isinstance(block, PairBlock | ManyBodyBlock):
            return prepare_on_device(self._device, block.graph, frame)
        if isinstance(block, AbstractRadialBlock):
            return HostEdgeSource(self._device, block.prepare(frame))
        return None

    def _take(
        self, frame: Frame, sources: Sequence[AbstractDevicePrepared | None], order: IntArray, targets: FloatArray
    ) -> None:
        self._plan.measure(self._centre_bytes(frame.dim, sources))
        self._by_panels(order, lambda centres: self._absorb_panel(frame, sources, centres, targets))

    def _by_panels(self, order: IntArray, work: Callable[[IntArray], None]) -> None:
        """Do ``work`` for all particles in order, panel by panel; what does not fit must have counted nothing yet."""
        taken = 0
        while taken < order.size:
            centres = order[taken : taken + self._plan.centres]
            if self._fits(work, centres):
                taken += centres.size
            else:
                # only here has the exception let go of the arrays of the panel
                self._plan.halve(centres.size)

    def _fits(self, work: Callable[[IntArray], None], centres: IntArray) -> bool:
        try:
            with self._device.guarded():
                work(centres)
        except DeviceMemoryFull:
            return False
        return True

    def _centre_bytes(self, dim: int, sources: Sequence[AbstractDevicePrepared | None]) -> float:
        """Memory that one centre takes in a panel: its rows, lifted ones, a copy without rare ones, and its edges."""
        edges = sum(source.edges_per_centre for source in sources if source is not None)
        columns = int(self._columns[-1]) + 3 * (self.part.n_columns + 1)
        return 8.0 * dim * columns + _EDGE_BYTES * edges

    def _absorb_panel(
        self,
        frame: Frame,
        sources: Sequence[AbstractDevicePrepared | None],
        centres: IntArray,
        targets: FloatArray,
    ) -> None:
        device, dim = self._device, frame.dim
        width = int(self._columns[-1]) if self._lift is not None else self.part.n_columns + 1
        local = device.xp.empty((centres.size * dim, width))
        # blocks write all of their columns; those of constants are zero in rows of forces
        local[:, int(self._columns[-1]) :] = 0.0
        on_device = device.upload(centres)
        corrections: list[tuple[IntArray, FloatArray]] = []
        for index, (block, source) in enumerate(zip(self.part.blocks, sources, strict=True)):
            column = int(self._columns[index])
            made = self._uploaded[index]
            if made.manybody is not None and source is not None:
                made.manybody.fill_rows(source, frame.species, centres, local, column)
            elif made.radial is not None and source is not None and isinstance(block, AbstractRadialBlock):
                corrections += self._fill_radial(index, block, source.edges(on_device), local, dim)
            else:
                local[:, column : int(self._columns[index + 1])] = device.upload(block.rows(frame, centres))
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

    def _fill_radial(
        self, index: int, block: AbstractRadialBlock, edges: DeviceEdges, local: DeviceArray, dim: int
    ) -> list[tuple[IntArray, FloatArray]]:
        """Write the rows of a radial block; what edges outside the table add, as rows and whitened additions."""
        device, made, column = self._device, self._uploaded[index], int(self._columns[index])
        assert made.radial is not None
        widen_extent(device, edges.distance, edges.channel, self._extents[block.kind])
        if made.table is None:
            radial_rows(device, edges, made.radial, dim, column, local)
            return []
        width = self.part.local_widths[index]
        outside = spline_rows(device, edges, made.table, self._slope_basis, dim, column, width, local)
        if not outside.size:
            return []
        owners = device.download(device.xp.searchsorted(edges.offsets, outside, side="right") - 1)
        additions = self._whitened_outside(
            index,
            block,
            device.download(edges.channel[outside]),
            device.download(edges.distance[outside]),
            device.download(edges.vector[outside]),
        )
        rows = owners[:, None] * dim + np.arange(dim)
        return [(rows.reshape(-1), additions[:, :dim].reshape(rows.size, -1))]

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

    def _pooled(self, frame: Frame, sources: Sequence[AbstractDevicePrepared | None]) -> FloatArray:
        return np.concatenate(
            [
                self._pooled_radial(block, source, made.radial)
                if made.radial is not None and source is not None and isinstance(block, AbstractRadialBlock)
                else block.features(frame)
                for block, source, made in zip(self.part.blocks, sources, self._uploaded, strict=True)
            ]
        )

    def _pooled_radial(
        self, block: AbstractRadialBlock, source: AbstractDevicePrepared, radial: DeviceRadial
    ) -> FloatArray:
        """Pooled features of one radial block, panel by panel in the order of the frame."""
        device, total = self._device, np.zeros(block.n_columns)

        def add(centres: IntArray) -> None:
            nonlocal total
            edges = source.edges(device.upload(centres))
            total = total + device.download(radial_sums(device, edges.distance, edges.channel, radial))

        self._plan.measure(_EDGE_BYTES * source.edges_per_centre)
        self._by_panels(source.order, add)
        return np.asarray(block.pooling * total)

    @property
    def notes(self) -> tuple[str, ...]:
        """See ``AbstractPartStream.notes``."""
        return self._plan.notes

    def _main_state(self) -> Triangle:
        with self._working("the sums over the rows"):
            return (self._sums or self._accumulator).state()
