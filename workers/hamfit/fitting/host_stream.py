"""Rows on the processor: panels small enough for the cache, filled across frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hamfit.features.block import Outside, Panel
from hamfit.features.source import Source
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.frame_rows import Pooled
from hamfit.fitting.part_stream import AbstractPartStream, Corrections
from hamfit.frames import Frame
from hamfit.reductions import AbstractReduction, Triangle
from hamfit.types import FloatArray, IntArray

#: Rows of a panel: with a few hundred columns it stays in the second-level cache.
PANEL_ROWS = 768


class HostPartStream(AbstractPartStream):
    """Rows of one part, panel by panel, into one accumulator."""

    def __init__(self, part: PartBasis, reduction: AbstractReduction) -> None:
        super().__init__(part, reduction)
        self._blocks = part.blocks
        width = sum(part.local_widths) if self._lift is not None else part.n_columns + 1
        self._local = np.zeros((PANEL_ROWS, width))
        self._targets = np.zeros(PANEL_ROWS)
        self._filled = 0
        self._corrections: Corrections = []

    def _pooled(self, frame: Frame, sources: Sequence[Source]) -> Pooled:
        asked = list(zip(self.part.blocks, sources, strict=True))
        return Pooled(
            lambda: np.concatenate([block.features(source) for block, source in asked]),
            lambda: np.concatenate([block.virials(source) for block, source in asked]),
        )

    def _take(self, frame: Frame, sources: Sequence[Source], order: IntArray, targets: FloatArray) -> None:
        taken = 0
        while taken < order.size:
            room = (PANEL_ROWS - self._filled) // frame.dim
            if room == 0:
                self._flush()
                continue
            centres = order[taken : taken + room]
            rows = slice(self._filled, self._filled + centres.size * frame.dim)
            self._corrections += self._fill(sources, Panel(centres, self._local[rows]), rows.start)
            self._targets[rows] = targets[centres].reshape(-1) / self.part.target_scale
            self._filled = rows.stop
            taken += centres.size

    def _fill_block(self, position: int, source: Source, panel: Panel) -> Outside | None:
        column, table = int(self._columns[position]), self.part.table(position)
        return self.part.blocks[position].fill(source, panel, column, self._seen[position], table)

    def _flush(self) -> None:
        if self._filled == 0:
            return
        self._reduce(self._local[: self._filled], self._targets[: self._filled], self._corrections)
        self._corrections = []
        self._filled = 0

    def _correct(
        self, panel: FloatArray, predicted: FloatArray, corrections: Corrections, preliminary: FloatArray
    ) -> None:
        for rows, additions in corrections:
            for row, addition in zip(rows, additions, strict=True):
                panel[row, : addition.size] += addition
                predicted[row] += addition @ preliminary

    def _squares(self, panel: FloatArray) -> FloatArray:
        columns = panel[:, :-1]
        return np.asarray(np.einsum("ij,ij->i", columns, columns))

    def _main_state(self) -> Triangle:
        self._flush()
        return super()._main_state()
