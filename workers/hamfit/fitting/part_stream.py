"""What streams of rows have in common, wherever they are computed: which particles, which targets, which kind of row.

A stream takes the frames of a shard one after the other. Rows unlike the sample that the basis was whitened with, and
rows that belong to whole frames, go to accumulators of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from hamfit.features.block import Outside, targets_of
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.frame_rows import KINDS, FrameRows, Pooled
from hamfit.fitting.partial import PartialState
from hamfit.fitting.shards import Shard
from hamfit.frames import Frame
from hamfit.graphs import FrameGraphs
from hamfit.reductions import AbstractAccumulator, AbstractReduction, Triangle, Tsqr
from hamfit.types import FloatArray, IntArray

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


@dataclass(frozen=True, slots=True, eq=False)
class Lift:
    """From local columns to whitened ones, and to what the preliminary solution predicts."""

    matrix: FloatArray
    """(n_local, n_columns + 1), in float32 where the reduction and the columns allow it."""
    prediction: FloatArray
    """Its last column in float64: residuals are small differences of predictions and targets."""

    @classmethod
    def of(cls, part: PartBasis, reduction: AbstractReduction) -> Lift | None:
        """The lift of a part; None for raw columns.

        Splines of a table are well scaled, and may be lifted in float32. Raw features are not: whitened columns are
        small differences of large multiples of them, of which float32 would leave nothing.
        """
        matrix = part.lift()
        if matrix is None:
            return None
        tabulated = all(part.table(position) is not None for position in range(len(part.blocks)))
        single = tabulated and reduction.single
        prediction = np.ascontiguousarray(matrix[:, -1])
        return cls(matrix.astype(np.float32) if single else matrix, prediction)


class Ordered(Protocol):
    """A frame made ready for one block."""

    @property
    def order(self) -> IntArray:
        """All particles, near ones close together, (N,)."""
        ...

    @property
    def has_order(self) -> bool:
        """Whether that is more than the order of their numbers."""
        ...


Asked = TypeVar("Asked", bound=Ordered)


class AbstractPartStream(ABC, Generic[Asked]):
    """Rows of one part into one partial state."""

    def __init__(self, part: PartBasis, reduction: AbstractReduction) -> None:
        self.part = part
        self.reduction = reduction
        self._of_frames = {rows.name: reduction.precise().accumulator() for rows in part.frame_rows}
        # in sums without squares long rows do no harm
        apart = keeps_rare_rows(part) and not reduction.of_residuals
        self._rare: AbstractAccumulator | None = Tsqr(part.n_columns).accumulator() if apart else None
        self._columns = np.concatenate([[0], np.cumsum(part.local_widths)])
        self._square: dict[str, float] = {part.part: 0.0, **dict.fromkeys(self._of_frames, 0.0)}
        self._outside = 0
        self._seen = [np.tile([np.inf, -np.inf], (block.n_extents, 1)) for block in part.blocks]

    def absorb(self, frame: Frame, shard: Shard, position: int, graphs: FrameGraphs) -> None:
        """Take the rows of one frame, or of the shard's particles of it; ``graphs`` knows what others prepared."""
        targets = targets_of(frame, self.part.part)
        sources = self._prepare(frame, graphs)
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
    def _prepare(self, frame: Frame, graphs: FrameGraphs) -> list[Asked]:
        """The frame made ready for every block."""

    @abstractmethod
    def _take(self, frame: Frame, sources: Sequence[Asked], order: IntArray, targets: FloatArray) -> None:
        """Compute and reduce the rows of the particles ``order``; targets (N, d) are those of the whole frame."""

    @abstractmethod
    def _main_state(self) -> Triangle:
        """Reduce what still waits; the state of the ordinary rows."""

    @abstractmethod
    def _pooled(self, frame: Frame, sources: Sequence[Asked]) -> Pooled:
        """What all blocks say of a whole frame, once it is asked for."""

    def _absorb_frame(self, rows: FrameRows, frame: Frame, pooled: Pooled) -> None:
        """Take the rows of one kind that belong to the frame, where it states them."""
        kind, part = KINDS[rows.name], self.part
        targets = kind.targets(frame)
        if targets is None:
            return
        raw, own, whitening = kind.rows(pooled), kind.own(frame, rows.columns), part.whitening
        first = part.first_own(rows)
        scale = part.target_scale / (rows.scale * frame.n_particles)
        for target, features in zip(targets, raw, strict=True):
            row = np.zeros(part.n_columns + 1)
            columns = features if whitening is None else features @ whitening.projection
            row[: columns.size] = columns
            row[first : first + rows.columns] = own
            row[-1] = target / part.target_scale
            if whitening is not None:
                row[-1] -= columns @ whitening.preliminary
            self._of_frames[rows.name].absorb((row * scale)[None])
            self._square[rows.name] += float(target / (rows.scale * frame.n_particles)) ** 2

    def _additions(self, index: int, outside: Outside) -> FloatArray:
        """What edges outside the table of a block add to the whitened rows of their centres, (E, 3, k)."""
        projection = self.part.projection(index)
        assert projection is not None
        return self.part.blocks[index].beyond_table(outside, projection)

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
