"""Planning: which rows make a shard, and which group of frames a shard belongs to.

A pure function of the datasets' metadata, never of the number of workers, so that every run cuts the data alike and
the fixed merge order gives the same bits. A task carries names and ranges only; the worker reads the numbers.

All frames of all trajectories in their order form one line of rows. It is cut into blocks, four for each group (fewer
where frames are few) and as equal as frame boundaries allow, and block b belongs to group b mod groups: so groups are
made of stretches of time (neighbouring frames are alike, and must not stand on both sides of a held-out test) and yet
each group sees all of the data. Cheap blocks share a shard in pairs; blocks that cost too much for one task are cut
into several shards; frames larger than a shard are cut by particles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hamfit.data import Dataset
from hamfit.types import IntArray

#: Blocks of frames for each leave-out group, at most.
BLOCKS_PER_GROUP = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """Some consecutive frames of one trajectory."""

    dataset: str
    """Path of the dataset."""
    digest: str
    """Digest of the dataset, so that a worker notices when the path holds other data by now."""
    trajectory: int
    """Position of the trajectory in the dataset."""
    start: int
    """First frame."""
    stop: int
    """One past the last frame."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The rows of some frames, or of some particles of one frame."""

    index: int
    """Position in the plan."""
    group: int
    """Leave-out group."""
    pieces: tuple[Piece, ...]
    """Frames."""
    first: int = 0
    """First particle, in the order of the frame's graph."""
    last: int | None = None
    """One past the last particle; None for all."""
    sampled: int = 0
    """Draw this many particles of every frame instead of taking all; 0 for all."""
    seed: int = 0
    """Seed of the draw."""

    @property
    def n_frames(self) -> int:
        """Frames the shard touches."""
        return sum(piece.stop - piece.start for piece in self.pieces)


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable:
    """Where every frame of some datasets lies and how many particles it has."""

    paths: tuple[str, ...]
    """Paths of the datasets."""
    digests: tuple[str, ...]
    """Digests of the datasets."""
    dataset: IntArray
    """Dataset of every frame, (F,)."""
    trajectory: IntArray
    """Trajectory of every frame, (F,)."""
    frame: IntArray
    """Index within the trajectory, (F,)."""
    particles: IntArray
    """Number of particles, (F,)."""

    @classmethod
    def of(cls, datasets: Sequence[Dataset]) -> FrameTable:
        """The frames of datasets in their order."""
        columns: list[tuple[int, int, int, int]] = [
            (d, t, f, trajectory.n_particles)
            for d, dataset in enumerate(datasets)
            for t, trajectory in enumerate(dataset.trajectories)
            for f in range(trajectory.n_frames)
        ]
        table = np.array(columns, dtype=np.int64).reshape(-1, 4)
        paths, digests = tuple(str(d.path) for d in datasets), tuple(d.digest for d in datasets)
        return cls(paths, digests, table[:, 0], table[:, 1], table[:, 2], table[:, 3])

    @property
    def n_frames(self) -> int:
        """Number of frames F."""
        return int(self.frame.size)

    @property
    def n_particles(self) -> int:
        """Particles of all frames together."""
        return int(self.particles.sum())

    def pieces(self, frames: Sequence[int] | IntArray) -> tuple[Piece, ...]:
        """The given frames, ascending, as runs of consecutive ones."""
        out: list[Piece] = []
        for k in frames:
            path, digest = self.paths[self.dataset[k]], self.digests[self.dataset[k]]
            trajectory = int(self.trajectory[k])
            index = int(self.frame[k])
            last = out[-1] if out else None
            if last and (last.dataset, last.trajectory, last.stop) == (path, trajectory, index):
                out[-1] = Piece(path, digest, trajectory, last.start, index + 1)
            else:
                out.append(Piece(path, digest, trajectory, index, index + 1))
        return tuple(out)


def plan_shards(table: FrameTable, groups: int, most_particles: int) -> tuple[Shard, ...]:
    """Cut all rows into shards of at most about ``most_particles`` particles (summed over frames) each.

    Every shard lies within one block of its group; the order of the plan is the order of the merge.
    """
    if table.n_frames == 0:
        return ()
    shards: list[Shard] = []
    blocks = groups * min(BLOCKS_PER_GROUP, table.n_frames // groups)
    if blocks:
        stretches = np.array_split(np.arange(table.n_frames), blocks)
        for first in range(0, blocks, 2 * groups):
            for group in range(groups):
                # two blocks of a group make one task where they are cheap
                pair = stretches[first + group : first + 2 * groups : groups]
                if int(table.particles[np.concatenate(pair)].sum()) <= most_particles:
                    pair = [np.concatenate(pair)]
                for frames in pair:
                    count = min(max(1, -(-int(table.particles[frames].sum()) // most_particles)), frames.size)
                    for stretch in np.array_split(frames, count):
                        shards += _shards_of(table, stretch, group, most_particles, len(shards))
        return tuple(shards)
    # fewer frames than groups: every frame is cut by particles into equally many parts for each group
    per_frame = groups * -(-BLOCKS_PER_GROUP // table.n_frames)
    for k in range(table.n_frames):
        n = int(table.particles[k])
        count = max(min(per_frame, n), -(-n // most_particles))
        edges = np.linspace(0, n, count + 1).round().astype(np.int64)
        for part in range(count):
            shards.append(
                Shard(
                    index=len(shards),
                    group=(part * min(per_frame, n) // count) % groups,
                    pieces=table.pieces([k]),
                    first=int(edges[part]),
                    last=int(edges[part + 1]),
                )
            )
    return tuple(shards)


def _shards_of(table: FrameTable, frames: IntArray, group: int, most: int, index: int) -> list[Shard]:
    n = int(table.particles[frames].sum())
    if frames.size > 1 or n <= 2 * most:
        return [Shard(index=index, group=group, pieces=table.pieces(frames))]
    edges = np.linspace(0, n, -(-n // most) + 1).round().astype(np.int64)
    return [
        Shard(index + k, group, table.pieces(frames), int(edges[k]), int(edges[k + 1])) for k in range(edges.size - 1)
    ]


def plan_sample(table: FrameTable, centres: int, tasks: int, seed: int) -> tuple[Shard, ...]:
    """A few shards that together draw about ``centres`` particles from frames spread over all the data."""
    rng = np.random.default_rng([seed, 2])
    mean = max(1.0, table.n_particles / max(1, table.n_frames))
    # four times more frames than needed, each giving a quarter of its particles, when there are that many
    count = int(min(table.n_frames, max(8, np.ceil(4.0 * centres / mean))))
    chosen = np.sort(rng.choice(table.n_frames, size=count, replace=False))
    per_frame = int(np.ceil(centres / count))
    return tuple(
        Shard(index, 0, table.pieces(part), sampled=per_frame, seed=seed)
        for index, part in enumerate(np.array_split(chosen, min(tasks, count)))
    )
