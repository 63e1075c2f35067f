"""Streaming a shard: frames in, panels of rows through the reduction, one partial state out.

The one place where numbers flow. A panel of a few hundred rows is filled block by block, lifted to whitened columns
by one matrix product, and absorbed; nothing larger than a panel, a frame and the state of the reduction is ever in
memory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import psutil

from hamfit.data import Dataset
from hamfit.errors import DataError, StoreError, located
from hamfit.features.pooled import AbstractRadialBlock, EdgeSource
from hamfit.fitting.basis import Basis, PartBasis
from hamfit.fitting.partial import PartialState
from hamfit.fitting.shards import Shard
from hamfit.frames import Frame
from hamfit.graphs import Edges
from hamfit.kernels.cpu import widen_extent
from hamfit.reductions import AbstractReduction, Accumulator, Gram, Triangle, Tsqr
from hamfit.types import FloatArray, IntArray

#: Rows of a panel: with a few hundred columns it stays in the second-level cache.
PANEL_ROWS = 768
#: A whitened row longer than this many times the usual sqrt(k) is rare: the sample held nothing like it, and squaring
#: it into the Gram matrix would drown the digits of all others. Rare rows go to an R factor of their own.
RARE_LENGTH = 6.0
#: Up to this many whitened columns rare rows are kept apart; beyond, an R factor costs more than it saves.
MOST_RARE_COLUMNS = 400


def reduction_of(basis: Basis, part: PartBasis) -> AbstractReduction:
    """The reduction of one part's rows."""
    return Tsqr(part.n_columns) if basis.reduction == "tsqr" else Gram(part.n_columns)


def reductions_of(basis: Basis) -> dict[str, AbstractReduction]:
    """The reduction of every kind of row."""
    out: dict[str, AbstractReduction] = {}
    for part in basis.parts:
        out[part.part] = reduction_of(basis, part)
        if keeps_rare_rows(part):
            out[rare(part)] = Tsqr(part.n_columns)
        if part.n_constants:
            out["energy"] = reduction_of(basis, part)
    return out


def keeps_rare_rows(part: PartBasis) -> bool:
    """Whether rows unlike the sample are reduced apart."""
    return part.whitening is not None and part.n_columns <= MOST_RARE_COLUMNS


def rare(part: PartBasis) -> str:
    """Name of the state of a part's rare rows."""
    return f"{part.part}-rare"


@lru_cache(maxsize=8)
def _open(path: str, digest: str) -> Dataset:
    dataset = Dataset.open(path)
    if dataset.digest != digest:
        raise StoreError(f"{path} was replaced while it was being fitted: start the fit again")
    return dataset


def frames_of(shard: Shard) -> Iterator[tuple[tuple[str, str, int], Frame]]:
    """The frames of a shard and where each lies (dataset, trajectory, index), a few megabytes at a time."""
    for piece in shard.pieces:
        trajectory = _open(piece.dataset, piece.digest).trajectories[piece.trajectory]
        step = max(1, 50_000 // max(1, trajectory.n_particles))
        for start in range(piece.start, piece.stop, step):
            for index, frame in enumerate(trajectory.frames(start, min(start + step, piece.stop)), start):
                yield (piece.dataset, trajectory.name, index), frame


def reduce_shard(shard: Shard, basis: Basis) -> PartialState:
    """Compute all rows of a shard and reduce them to one state."""
    began = time.perf_counter()
    streams = [PartStream(basis, part) for part in basis.parts]
    for position, (where, frame) in enumerate(frames_of(shard)):
        with located(*where):
            known = frame.relabel(basis.labels, basis.bond_labels)
            for stream in streams:
                stream.absorb(known, shard, position)
    states = [stream.finish() for stream in streams]
    return PartialState(
        triangles={name: triangle for state in states for name, triangle in state.triangles.items()},
        squares={name: value for state in states for name, value in state.squares.items()},
        extents={name: extent for state in states for name, extent in state.extents.items()},
        outside={name: count for state in states for name, count in state.outside.items()},
        seconds=time.perf_counter() - began,
        peak_bytes=peak_bytes(),
    )


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    From /proc, because getrusage counts what the parent held when it forked; elsewhere the memory held now.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            line = next(line for line in status if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return int(psutil.Process().memory_info().rss)


class PartStream:
    """Rows of one part, panel by panel, into one accumulator."""

    def __init__(self, basis: Basis, part: PartBasis) -> None:
        self.part = part
        self.reduction = reduction_of(basis, part)
        self.accumulator: Accumulator = self.reduction.accumulator()
        self.energies: Accumulator | None = reduction_of(basis, part).accumulator() if part.n_constants else None
        self.rare: Accumulator | None = Tsqr(part.n_columns).accumulator() if keeps_rare_rows(part) else None
        self.lift = part.lift()
        width = sum(part.local_widths) if self.lift is not None else part.n_columns + 1
        self.local = np.zeros((PANEL_ROWS, width))
        self.columns = np.concatenate([[0], np.cumsum(part.local_widths)])
        self.targets = np.zeros(PANEL_ROWS)
        self.filled = 0
        self.corrections: list[tuple[int, FloatArray]] = []
        self.square: dict[str, float] = {part.part: 0.0, **({"energy": 0.0} if part.n_constants else {})}
        self.outside = 0
        self.extents = {
            block.kind: np.tile([np.inf, -np.inf], (block.radial.n_channels, 1))
            for block in part.blocks
            if isinstance(block, AbstractRadialBlock)
        }

    def absorb(self, frame: Frame, shard: Shard, position: int) -> None:
        """Take the rows of one frame, or of the shard's particles of it."""
        targets = targets_of(frame, self.part.part)
        sources = [
            block.prepare(frame) if isinstance(block, AbstractRadialBlock) else None for block in self.part.blocks
        ]
        order = self._order(frame, sources)[shard.first : shard.last]
        if shard.sampled:
            rng = np.random.default_rng([shard.seed, shard.index, position])
            order = np.sort(rng.permutation(order)[: shard.sampled])
        elif self.energies is not None and shard.first == 0:
            self._absorb_energy(frame)
        step = max(1, PANEL_ROWS // frame.dim)
        taken = 0
        while taken < order.size:
            room = (PANEL_ROWS - self.filled) // frame.dim
            if room == 0:
                self._flush()
                continue
            centres = order[taken : taken + min(step, room)]
            self._fill(frame, sources, centres, targets)
            taken += centres.size

    def _order(self, frame: Frame, sources: Sequence[EdgeSource | None]) -> IntArray:
        for source in sources:
            if source is not None:
                return source.order
        return self.part.blocks[0].order(frame)

    def _fill(self, frame: Frame, sources: Sequence[EdgeSource | None], centres: IntArray, targets: FloatArray) -> None:
        rows = slice(self.filled, self.filled + centres.size * frame.dim)
        out = self.local[rows]
        for index, (block, source) in enumerate(zip(self.part.blocks, sources, strict=True)):
            first, last = int(self.columns[index]), int(self.columns[index + 1])
            table = self.part.table(index)
            if source is None or not isinstance(block, AbstractRadialBlock):
                out[:, first:last] = block.rows(frame, centres)
                continue
            edges = source.edges(centres)
            extent = self.extents[block.kind]
            if table is None:
                out[:, first:last] = block.rows_of_edges(edges, frame.dim)
                widen_extent(edges.distance, edges.channel, extent)
            else:
                out[:, first:last] = 0.0
                outside = table.fill(edges, frame.dim, first, out, extent)
                if outside.size:
                    self._correct(index, block, edges, outside, frame.dim)
        self.targets[rows] = targets[centres].reshape(-1) / self.part.target_scale
        self.filled = rows.stop

    def _correct(self, index: int, block: AbstractRadialBlock, edges: Edges, outside: IntArray, dim: int) -> None:
        """Note what the few edges outside the table add to their rows, evaluated feature by feature."""
        projection = self.part.projection(index)
        assert projection is not None
        owners = np.searchsorted(edges.offsets, outside, side="right") - 1
        slopes = block.slopes(edges.channel[outside], edges.distance[outside])
        for e, owner, slope in zip(outside, owners, slopes, strict=True):
            whitened = slope @ projection[block.radial.columns(int(edges.channel[e]))]
            for axis in range(dim):
                row = self.filled + int(owner) * dim + axis
                self.corrections.append((row, whitened * edges.vector[e, axis]))
        self.outside += int(outside.size)

    def _absorb_energy(self, frame: Frame) -> None:
        if frame.potential_energy is None or self.energies is None:
            return
        n = frame.n_particles
        row = np.zeros(self.part.n_columns + 1)
        raw = np.concatenate([block.features(frame) for block in self.part.blocks])
        whitening = self.part.whitening
        columns = raw if whitening is None else raw @ whitening.projection
        row[: columns.size] = columns
        row[columns.size : -1] = np.bincount(frame.species, minlength=self.part.n_constants)
        row[-1] = frame.potential_energy / self.part.target_scale
        if whitening is not None:
            row[-1] -= columns @ whitening.preliminary
        scale = self.part.target_scale / (self.part.energy_scale * n)
        self.energies.absorb((row * scale)[None])
        self.square["energy"] += (frame.potential_energy / (self.part.energy_scale * n)) ** 2

    def _flush(self) -> None:
        if self.filled == 0:
            return
        targets = self.targets[: self.filled]
        if self.lift is None:
            panel = self.local[: self.filled]
            panel[:, -1] = targets
        else:
            panel = self.local[: self.filled] @ self.lift
            whitening = self.part.whitening
            assert whitening is not None
            for row, addition in self.corrections:
                panel[row, : addition.size] += addition
                panel[row, -1] += addition @ whitening.preliminary
            np.subtract(targets, panel[:, -1], out=panel[:, -1])
        self.square[self.part.part] += float(targets @ targets)
        self.accumulator.absorb(self._without_rare(panel))
        self.corrections = []
        self.filled = 0

    def _without_rare(self, panel: FloatArray) -> FloatArray:
        """The rows like those of the sample; the others go where nothing is squared."""
        if self.rare is None:
            return panel
        columns = panel[:, :-1]
        long = np.einsum("ij,ij->i", columns, columns) > RARE_LENGTH**2 * columns.shape[1]
        if not long.any():
            return panel
        self.rare.absorb(panel[long])
        return np.asarray(panel[~long])

    def finish(self) -> PartialState:
        """Everything absorbed."""
        self._flush()
        triangles: dict[str, Triangle] = {self.part.part: self.reduction.check(self.accumulator.state())}
        if self.rare is not None:
            triangles[rare(self.part)] = self.rare.state()
        if self.energies is not None:
            triangles["energy"] = self.energies.state()
        return PartialState(triangles, self.square, self.extents, {self.part.part: self.outside})


def targets_of(frame: Frame, part: str) -> FloatArray:
    """dH/dq = -pdot or dH/dp = qdot of every particle, (N, d); DataError where the frame lacks them."""
    if part == "force":
        if frame.pdot is None:
            raise DataError("a frame has no forces: give them, or let ingest estimate them from a time series")
        return -frame.pdot
    if frame.qdot is None or frame.p is None:
        raise DataError("a frame has no velocities, which the kinetic block needs: give them, or leave it out")
    return frame.qdot
