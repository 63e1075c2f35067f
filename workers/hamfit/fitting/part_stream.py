"""What streams of rows have in common, wherever they are computed: which particles, which targets, which kind of row.

A stream takes the frames of a shard one after the other. Rows unlike the sample that the basis was whitened with, and
rows that belong to whole frames, go to accumulators of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.features.block import AbstractBlock, Outside, Panel, targets_of
from hamfit.features.source import Source
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.frame_rows import KINDS, FrameRows, Pooled
from hamfit.fitting.partial import PartialState
from hamfit.fitting.residuals import ResidualSums, fetched, placed
from hamfit.fitting.shards import Shard
from hamfit.frames import Frame
from hamfit.graphs import FrameGraphs
from hamfit.reductions import AbstractAccumulator, AbstractReduction, Triangle, Tsqr
from hamfit.types import FloatArray, IntArray

if TYPE_CHECKING:
    from hamfit.features.device_block import AbstractDeviceBlock

#: A whitened row longer than this many times the usual sqrt(k) is rare: the sample held nothing like it, and squaring
#: it into the Gram matrix would drown the digits of all others. Rare rows go to an R factor of their own.
RARE_LENGTH = 6.0
#: Up to this many whitened columns rare rows are kept apart; beyond, an R factor costs more than it saves.
MOST_RARE_COLUMNS = 400


def keeps_rare_rows(part: PartBasis) -> bool:
    """Whether rows unlike the sample are reduced apart."""
    return part.whitening is not None and part.n_columns <= MOST_RARE_COLUMNS


def rare(part: PartBasis) -> str:
    """Name of the state of a part's rare rows."""
    return f"{part.part}-rare"


Corrections = list[tuple[IntArray, FloatArray]]
"""Rows of a panel (n,) and what edges outside tables add to their whitened columns (n, k), on the host; a row may be
named more than once."""


class AbstractPartStream(ABC):
    """Rows of one part into one partial state, on the processor (device None) or on a device."""

    _blocks: Sequence[AbstractBlock | AbstractDeviceBlock]
    """What the rows are asked of."""

    def __init__(self, part: PartBasis, reduction: AbstractReduction, device: AbstractDevice | None = None) -> None:
        self.part, self.reduction, self._device = part, reduction, device
        self._of_frames = {rows.name: reduction.precise().accumulator() for rows in part.frame_rows}
        # in sums without squares long rows do no harm
        apart = keeps_rare_rows(part) and not reduction.of_residuals
        self._rare: AbstractAccumulator | None = Tsqr(part.n_columns).accumulator() if apart else None
        self._columns = np.concatenate([[0], np.cumsum(part.local_widths)])
        self._square: dict[str, float] = {part.part: 0.0, **dict.fromkeys(self._of_frames, 0.0)}
        self._outside, self._dim = 0, 1
        self._seen = [np.tile([np.inf, -np.inf], (block.n_extents, 1)) for block in part.blocks]
        self._accumulator = reduction.accumulator(device)
        self._sums = ResidualSums(part, device) if reduction.of_residuals else None
        self._lift, self._prediction = self._lifts()

    def _lifts(self) -> tuple[DeviceArray, DeviceArray]:
        """Local columns to whitened ones and predictions, (n_local, n_columns + 1); its last column in float64.

        Both None for raw columns. Splines of a table are well scaled, and may be lifted in float32. Raw features are
        not: whitened columns are small differences of large multiples of them, of which float32 would leave nothing.
        Nor are residuals, small differences of predictions and targets.
        """
        matrix = self.part.lift()
        if matrix is None:
            return None, None
        tabulated = all(self.part.table(position) is not None for position in range(len(self.part.blocks)))
        prediction = np.ascontiguousarray(matrix[:, -1])
        single = tabulated and self.reduction.single
        return placed(matrix.astype(np.float32) if single else matrix, self._device), placed(prediction, self._device)

    def absorb(self, frame: Frame, shard: Shard, position: int, graphs: FrameGraphs) -> None:
        """Take the rows of one frame, or of the shard's particles of it; ``graphs`` knows what others prepared."""
        targets, self._dim = targets_of(frame, self.part.part), frame.dim
        sources = [block.prepare(frame, graphs) for block in self._blocks]
        # blocks without a graph take particles in any order
        order = next((source.order for source in sources if source.has_order), sources[0].order)
        order = order[shard.first : shard.last]
        if shard.sampled:
            rng = np.random.default_rng([shard.seed, shard.index, position])
            order = np.sort(rng.permutation(order)[: shard.sampled])
        elif shard.first == 0:
            pooled = self._pooled(frame, sources)
            for rows in self.part.frame_rows:
                self._absorb_frame(rows, frame, pooled)
        self._take(frame, sources, order, targets)

    @abstractmethod
    def _take(self, frame: Frame, sources: Sequence[Source], order: IntArray, targets: FloatArray) -> None:
        """Compute and reduce the rows of the particles ``order``; targets (N, d) are those of the whole frame."""

    def _main_state(self) -> Triangle:
        """The state of the ordinary rows."""
        return (self._sums or self._accumulator).state()

    @abstractmethod
    def _pooled(self, frame: Frame, sources: Sequence[Source]) -> Pooled:
        """What all blocks say of a whole frame, once it is asked for."""

    def _absorb_frame(self, rows: FrameRows, frame: Frame, pooled: Pooled) -> None:
        """Take the rows of one kind that belong to the frame, where it states them."""
        kind, part = KINDS[rows.name], self.part
        targets = kind.targets(frame)
        if targets is None:
            return
        raw, whitening = kind.rows(pooled), part.whitening
        own = np.broadcast_to(kind.own(frame, rows.columns), (len(raw), rows.columns))
        first = part.first_own(rows)
        scale = part.target_scale / (rows.scale * frame.n_particles)
        for target, features, beside in zip(targets, raw, own, strict=True):
            row = np.zeros(part.n_columns + 1)
            columns = features if whitening is None else features @ whitening.projection
            row[: columns.size] = columns
            row[first : first + rows.columns] = beside
            row[-1] = target / part.target_scale
            if whitening is not None:
                row[-1] -= columns @ whitening.preliminary
            self._of_frames[rows.name].absorb((row * scale)[None])
            self._square[rows.name] += float(target / (rows.scale * frame.n_particles)) ** 2

    @abstractmethod
    def _fill_block(self, position: int, source: Source, panel: Panel) -> Outside | None:
        """See ``AbstractBlock.fill``, of one block."""

    def _fill(self, sources: Sequence[Source], panel: Panel, first: int = 0) -> Corrections:
        """Write the local columns of a panel whose first row is row ``first`` of all; what is to be added then."""
        corrections: Corrections = []
        for position, source in enumerate(sources):
            outside = self._fill_block(position, source, panel)
            if outside is not None:
                projection = self.part.projection(position)
                assert projection is not None
                additions = self.part.blocks[position].beyond_table(outside, projection)[:, : self._dim]
                rows = (first + outside.row[:, None] + np.arange(self._dim)).reshape(-1)
                corrections.append((rows, additions.reshape(rows.size, -1)))
        return corrections

    def _reduce(self, local: DeviceArray, targets: DeviceArray, corrections: Corrections) -> None:
        """Reduce the rows of a panel, local columns (m, n_local) and targets (m,): whole, or not at all."""
        square = float(targets @ targets)
        if self._sums is not None:
            self._sums.absorb(local, targets, corrections)
        else:
            self._absorb_rows(local, targets, corrections)
        # only now: until here a panel that did not fit has left no trace
        self._square[self.part.part] += square
        self._outside += sum(rows.size for rows, _ in corrections) // self._dim

    def _absorb_rows(self, local: DeviceArray, targets: DeviceArray, corrections: Corrections) -> None:
        panel, unusual = local, None
        if self._lift is None:
            panel[:, -1] = targets
        else:
            panel = local.astype(self._lift.dtype, copy=False) @ self._lift
            predicted = panel[:, -1] if panel.dtype == targets.dtype else local @ self._prediction
            whitening = self.part.whitening
            assert whitening is not None
            self._correct(panel, predicted, corrections, whitening.preliminary)
            panel[:, -1] = targets - predicted
        if self._rare is not None:
            # rows unlike those of the sample go where nothing is squared
            width = panel.shape[1] - 1
            long = self._squares(panel) > RARE_LENGTH**2 * width
            if bool(long.any()):
                panel, unusual = panel[~long], fetched(panel[long], self._device)
        self._accumulator.absorb(panel)
        if self._rare is not None and unusual is not None:
            self._rare.absorb(unusual)

    @abstractmethod
    def _correct(
        self, panel: DeviceArray, predicted: DeviceArray, corrections: Corrections, preliminary: FloatArray
    ) -> None:
        """Add to rows and predictions what edges outside the tables contribute, several to one row in their order."""

    @abstractmethod
    def _squares(self, panel: DeviceArray) -> DeviceArray:
        """Squared lengths of the rows without their targets, (m,)."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the rows were computed."""
        return ()

    def finish(self) -> PartialState:
        """Everything absorbed."""
        triangles: dict[str, Triangle] = {self.part.part: self.reduction.check(self._main_state())}
        if self._rare is not None:
            triangles[rare(self.part)] = self._rare.state()
        triangles |= {name: accumulator.state() for name, accumulator in self._of_frames.items()}
        seen = zip(self.part.blocks, self._seen, strict=True)
        extents = {block.kind: extent for block, extent in seen if block.n_extents}
        return PartialState(triangles, self._square, extents, {self.part.part: self._outside})
