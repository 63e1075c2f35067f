"""What streams of rows have in common, wherever they are computed: which particles, which targets, which kind of row.

A stream takes the frames of a shard one after the other. Rows unlike the sample that the basis was whitened with, and
rows of energies, go to accumulators of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from hamfit.errors import DataError
from hamfit.features.block import AbstractBlock
from hamfit.features.pooled import AbstractRadialBlock
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.partial import PartialState
from hamfit.fitting.shards import Shard
from hamfit.frames import Frame
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


Source = TypeVar("Source", bound=Ordered)


class AbstractPartStream(ABC, Generic[Source]):
    """Rows of one part into one partial state."""

    def __init__(self, part: PartBasis, reduction: AbstractReduction) -> None:
        self.part = part
        self.reduction = reduction
        self._energies: AbstractAccumulator | None = reduction.precise().accumulator() if part.n_constants else None
        # in sums without squares long rows do no harm
        apart = keeps_rare_rows(part) and not reduction.of_residuals
        self._rare: AbstractAccumulator | None = Tsqr(part.n_columns).accumulator() if apart else None
        self._columns = np.concatenate([[0], np.cumsum(part.local_widths)])
        self._square: dict[str, float] = {part.part: 0.0, **({"energy": 0.0} if part.n_constants else {})}
        self._outside = 0
        self._extents = {
            block.kind: np.tile([np.inf, -np.inf], (block.radial.n_channels, 1))
            for block in part.blocks
            if isinstance(block, AbstractRadialBlock)
        }

    def absorb(self, frame: Frame, shard: Shard, position: int) -> None:
        """Take the rows of one frame, or of the shard's particles of it."""
        targets = targets_of(frame, self.part.part)
        sources = [self._prepare(block, frame) for block in self.part.blocks]
        order = next((source.order for source in sources if source is not None), None)
        if order is None:
            order = self.part.blocks[0].order(frame)
        order = order[shard.first : shard.last]
        if shard.sampled:
            rng = np.random.default_rng([shard.seed, shard.index, position])
            order = np.sort(rng.permutation(order)[: shard.sampled])
        elif self._energies is not None and shard.first == 0:
            self._absorb_energy(frame, sources)
        self._take(frame, sources, order, targets)

    @abstractmethod
    def _prepare(self, block: AbstractBlock, frame: Frame) -> Source | None:
        """The frame made ready for a block; None where the block needs nothing of the kind."""

    @abstractmethod
    def _take(self, frame: Frame, sources: Sequence[Source | None], order: IntArray, targets: FloatArray) -> None:
        """Compute and reduce the rows of the particles ``order``; targets (N, d) are those of the whole frame."""

    @abstractmethod
    def _main_state(self) -> Triangle:
        """Reduce what still waits; the state of the ordinary rows."""

    def _pooled(self, frame: Frame, sources: Sequence[Source | None]) -> FloatArray:
        """Pooled features of all blocks, (n_raw,)."""
        del sources
        return np.concatenate([block.features(frame) for block in self.part.blocks])

    def _absorb_energy(self, frame: Frame, sources: Sequence[Source | None]) -> None:
        if frame.potential_energy is None or self._energies is None:
            return
        n = frame.n_particles
        row = np.zeros(self.part.n_columns + 1)
        raw = self._pooled(frame, sources)
        whitening = self.part.whitening
        columns = raw if whitening is None else raw @ whitening.projection
        row[: columns.size] = columns
        row[columns.size : -1] = np.bincount(frame.species, minlength=self.part.n_constants)
        row[-1] = frame.potential_energy / self.part.target_scale
        if whitening is not None:
            row[-1] -= columns @ whitening.preliminary
        scale = self.part.target_scale / (self.part.energy_scale * n)
        self._energies.absorb((row * scale)[None])
        self._square["energy"] += (frame.potential_energy / (self.part.energy_scale * n)) ** 2

    def _whitened_outside(
        self, index: int, block: AbstractRadialBlock, channel: IntArray, distance: FloatArray, vector: FloatArray
    ) -> FloatArray:
        """What edges outside the table add to the rows of their centres, feature by feature, (edges, 3, k)."""
        projection = self.part.projection(index)
        assert projection is not None
        slopes = block.slopes(channel, distance)
        whitened = np.stack(
            [slope @ projection[block.radial.columns(int(c))] for c, slope in zip(channel, slopes, strict=True)]
        )
        return np.asarray(vector[:, :, None] * whitened[:, None, :])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the rows were computed."""
        return ()

    def finish(self) -> PartialState:
        """Everything absorbed."""
        triangles: dict[str, Triangle] = {self.part.part: self.reduction.check(self._main_state())}
        if self._rare is not None:
            triangles[rare(self.part)] = self._rare.state()
        if self._energies is not None:
            triangles["energy"] = self._energies.state()
        return PartialState(triangles, self._square, self._extents, {self.part.part: self._outside})


def targets_of(frame: Frame, part: str) -> FloatArray:
    """dH/dq = -pdot or dH/dp = qdot of every particle, (N, d); DataError where the frame lacks them."""
    if part == "force":
        if frame.pdot is None:
            raise DataError("a frame has no forces: give them, or let ingest estimate them from a time series")
        return -frame.pdot
    if frame.qdot is None or frame.p is None:
        raise DataError("a frame has no velocities, which the kinetic block needs: give them, or leave it out")
    return frame.qdot
