"""Rows on the processor: panels small enough for the cache, filled across frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hamfit.features.block import Outside, Panel
from hamfit.features.source import Source
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.frame_rows import Pooled
from hamfit.fitting.part_stream import RARE_LENGTH, AbstractPartStream, Lift
from hamfit.fitting.residuals import ResidualSums
from hamfit.frames import Frame
from hamfit.graphs import FrameGraphs
from hamfit.reductions import AbstractReduction, Triangle
from hamfit.types import FloatArray, IntArray

#: Rows of a panel: with a few hundred columns it stays in the second-level cache.
PANEL_ROWS = 768


class HostPartStream(AbstractPartStream[Source]):
    """Rows of one part, panel by panel, into one accumulator."""

    def __init__(self, part: PartBasis, reduction: AbstractReduction) -> None:
        super().__init__(part, reduction)
        self._accumulator = reduction.accumulator()
        self._sums = ResidualSums(part) if reduction.of_residuals else None
        self._lift = Lift.of(part, reduction)
        width = sum(part.local_widths) if self._lift is not None else part.n_columns + 1
        self._local = np.zeros((PANEL_ROWS, width))
        self._targets = np.zeros(PANEL_ROWS)
        self._filled = 0
        self._corrections: list[tuple[int, FloatArray]] = []

    def _prepare(self, frame: Frame, graphs: FrameGraphs) -> list[Source]:
        return [block.prepare(frame, graphs) for block in self.part.blocks]

    def _pooled(self, frame: Frame, sources: Sequence[Source]) -> Pooled:
        asked = list(zip(self.part.blocks, sources, strict=True))
        return Pooled(
            lambda: np.concatenate([block.features(source) for block, source in asked]),
            lambda: np.concatenate([block.virials(source) for block, source in asked]),
        )

    def _take(self, frame: Frame, sources: Sequence[Source], order: IntArray, targets: FloatArray) -> None:
        step = max(1, PANEL_ROWS // frame.dim)
        taken = 0
        while taken < order.size:
            room = (PANEL_ROWS - self._filled) // frame.dim
            if room == 0:
                self._flush()
                continue
            centres = order[taken : taken + min(step, room)]
            self._fill(frame, sources, centres, targets)
            taken += centres.size

    def _fill(self, frame: Frame, sources: Sequence[Source], centres: IntArray, targets: FloatArray) -> None:
        rows = slice(self._filled, self._filled + centres.size * frame.dim)
        panel = Panel(centres, self._local[rows])
        for index, (block, source) in enumerate(zip(self.part.blocks, sources, strict=True)):
            column, table = int(self._columns[index]), self.part.table(index)
            outside = block.fill(source, panel, column, self._seen[index], table)
            if outside is not None:
                self._correct(index, outside, frame.dim)
        self._targets[rows] = targets[centres].reshape(-1) / self.part.target_scale
        self._filled = rows.stop

    def _correct(self, index: int, outside: Outside, dim: int) -> None:
        """Note what the few edges outside the table add to their rows."""
        self._outside += int(outside.row.size)
        for row, addition in zip(outside.row, self._additions(index, outside), strict=True):
            for axis in range(dim):
                self._corrections.append((self._filled + int(row) + axis, addition[axis]))

    def _flush(self) -> None:
        if self._filled == 0:
            return
        targets = self._targets[: self._filled]
        self._reduce(self._local[: self._filled], targets)
        self._square[self.part.part] += float(targets @ targets)
        self._corrections = []
        self._filled = 0

    def _reduce(self, local: FloatArray, targets: FloatArray) -> None:
        """Reduce the rows of a panel: local columns (m, n_local) and targets (m,)."""
        if self._sums is not None:
            self._sums.absorb(local, targets, self._corrections)
            return
        if self._lift is None:
            panel = local
            panel[:, -1] = targets
        else:
            matrix = self._lift.matrix
            panel = local.astype(matrix.dtype, copy=False) @ matrix
            whitening = self.part.whitening
            assert whitening is not None
            predicted = panel[:, -1] if matrix.dtype == np.float64 else local @ self._lift.prediction
            for row, addition in self._corrections:
                panel[row, : addition.size] += addition
                predicted[row] += addition @ whitening.preliminary
            np.subtract(targets, predicted, out=panel[:, -1])
        self._accumulator.absorb(self._without_rare(panel))

    def _without_rare(self, panel: FloatArray) -> FloatArray:
        """The rows like those of the sample; the others go where nothing is squared."""
        if self._rare is None:
            return panel
        columns = panel[:, :-1]
        long = np.einsum("ij,ij->i", columns, columns) > RARE_LENGTH**2 * columns.shape[1]
        if not long.any():
            return panel
        self._rare.absorb(panel[long])
        return np.asarray(panel[~long])

    def _main_state(self) -> Triangle:
        self._flush()
        return (self._sums or self._accumulator).state()
