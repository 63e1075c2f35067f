from __future__ import annotations

import inspect
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.fitting.shards import BLOCKS_PER_GROUP, FrameTable, Shard, plan_sample, plan_shards


def table_of(sizes: list[list[int]], particles: list[list[int]]) -> FrameTable:
    """Frames and particles of every trajectory of every dataset."""
    rows = [
        (d, t, f, particles[d][t])
        for d, trajectories in enumerate(sizes)
        for t, count in enumerate(trajectories)
        for f in range(count)
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 4)
    paths = tuple(f"/data/{d}.zarr" for d in range(len(sizes)))
    return FrameTable(paths, paths, table[:, 0], table[:, 1], table[:, 2], table[:, 3])


@st.composite
def tables(draw: st.DrawFn) -> FrameTable:
    sizes = draw(st.lists(st.lists(st.integers(0, 13), min_size=1, max_size=3), min_size=1, max_size=3))
    particles = [[draw(st.integers(1, 50)) for _ in trajectories] for trajectories in sizes]
    return table_of(sizes, particles)


def rows_covered(table: FrameTable, shards: tuple[Shard, ...]) -> dict[tuple[str, int, int, int], int]:
    """How often every (dataset, trajectory, frame, particle) is taken."""
    size = {
        (table.paths[d], int(t), int(f)): int(n)
        for d, t, f, n in zip(table.dataset, table.trajectory, table.frame, table.particles, strict=True)
    }
    seen: dict[tuple[str, int, int, int], int] = {}
    for shard in shards:
        for piece in shard.pieces:
            for frame in range(piece.start, piece.stop):
                n = size[piece.dataset, piece.trajectory, frame]
                for particle in range(n)[shard.first : shard.last]:
                    key = (piece.dataset, piece.trajectory, frame, particle)
                    seen[key] = seen.get(key, 0) + 1
    return seen


@given(table=tables(), groups=st.integers(2, 6), most=st.integers(1, 200))
def test_every_row_is_in_exactly_one_shard(table: FrameTable, groups: int, most: int) -> None:
    shards = plan_shards(table, groups, most)
    seen = rows_covered(table, shards)
    assert len(seen) == table.n_particles
    assert set(seen.values()) <= {1}
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(0 <= shard.group < groups for shard in shards)


@given(table=tables(), groups=st.integers(2, 6), most=st.integers(1, 200))
def test_shards_are_about_as_large_as_allowed_at_most(table: FrameTable, groups: int, most: int) -> None:
    largest = int(table.particles.max()) if table.n_frames else 0
    for shard in plan_shards(table, groups, most):
        rows = len(rows_covered(table, (shard,)))
        # whole frames are not cut to make the last one fit
        assert rows <= 2 * most + largest


@given(frames=st.integers(40, 300), groups=st.integers(2, 7), n=st.integers(1, 20))
def test_groups_hold_about_equally_many_frames(frames: int, groups: int, n: int) -> None:
    table = table_of([[frames]], [[n]])
    shards = plan_shards(table, groups, 10**6)
    per_group = np.zeros(groups, dtype=np.int64)
    for shard in shards:
        per_group[shard.group] += shard.n_frames
    assert per_group.sum() == frames
    # each of a group's blocks is at most one frame off
    assert np.ptp(per_group) <= BLOCKS_PER_GROUP


@given(frames=st.integers(1, 3), more=st.integers(1, 3), n=st.integers(100, 400))
def test_a_few_large_frames_are_shared_among_all_groups(frames: int, more: int, n: int) -> None:
    groups = frames + more
    shards = plan_shards(table_of([[frames]], [[n]]), groups, 10**6)
    per_group = np.zeros(groups, dtype=np.int64)
    for shard in shards:
        assert shard.last is not None
        per_group[shard.group] += shard.last - shard.first
    assert per_group.min() > 0
    assert np.ptp(per_group) <= 0.2 * per_group.max()


def test_groups_are_stretches_of_time_that_return_throughout_the_data() -> None:
    shards = plan_shards(table_of([[200]], [[10]]), 5, 10**6)
    starts = [piece.start for shard in shards if shard.group == 0 for piece in shard.pieces]
    assert len(starts) == BLOCKS_PER_GROUP
    assert np.all(np.diff(starts) >= 40)


def test_the_plan_knows_nothing_of_workers() -> None:
    assert list(inspect.signature(plan_shards).parameters) == ["table", "groups", "most_particles"]
    table = table_of([[37, 11], [5]], [[20, 30], [40]])
    assert plan_shards(table, 5, 100) == plan_shards(table, 5, 100)


def test_no_frames_make_no_shards() -> None:
    assert plan_shards(table_of([[0]], [[5]]), 5, 100) == ()


def test_pieces_are_runs_of_consecutive_frames_of_one_trajectory() -> None:
    table = table_of([[3, 2], [2]], [[4, 4], [4]])
    pieces = table.pieces([0, 1, 2, 3, 4, 5, 6])
    assert [(p.dataset, p.trajectory, p.start, p.stop) for p in pieces] == [
        ("/data/0.zarr", 0, 0, 3),
        ("/data/0.zarr", 1, 0, 2),
        ("/data/1.zarr", 0, 0, 2),
    ]
    assert [(p.start, p.stop) for p in table.pieces([0, 2])] == [(0, 1), (2, 3)]


@given(table=tables(), centres=st.integers(1, 2000), tasks=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_sample_draws_about_as_many_particles_as_asked(
    table: FrameTable, centres: int, tasks: int, seed: int
) -> None:
    if table.n_frames == 0:
        return
    shards = plan_sample(table, centres, tasks, seed)
    assert len(shards) <= tasks
    frames = sum(shard.n_frames for shard in shards)
    assert frames <= table.n_frames
    assert all(shard.sampled * frames >= centres for shard in shards)
    assert (
        len({(p.dataset, p.trajectory, f) for s in shards for p in s.pieces for f in range(p.start, p.stop)}) == frames
    )
    assert shards == plan_sample(table, centres, tasks, seed)


def test_a_shard_carries_names_and_ranges_only() -> None:
    shards = plan_shards(table_of([[200]], [[1000]]), 5, 5000)
    assert max(len(pickle.dumps(shard)) for shard in shards) < 1000


@pytest.mark.parametrize("particles", [1, 2, 7])
def test_a_single_tiny_frame_is_cut_no_finer_than_its_particles(particles: int) -> None:
    shards = plan_shards(table_of([[1]], [[particles]]), 5, 100)
    assert len(shards) == particles
    assert all(shard.last == shard.first + 1 for shard in shards)


@given(frames=st.integers(5, 60), groups=st.integers(2, 5))
def test_every_group_has_rows_when_there_are_as_many_frames(frames: int, groups: int) -> None:
    shards = plan_shards(table_of([[frames]], [[30]]), groups, 10**6)
    per_group = np.zeros(groups, dtype=np.int64)
    for shard in shards:
        # whole frames: their graphs are made once
        assert (shard.first, shard.last) == (0, None)
        per_group[shard.group] += shard.n_frames
    assert per_group.min() >= frames // groups - BLOCKS_PER_GROUP
    assert per_group.min() > 0


def test_cheap_blocks_of_a_group_share_a_shard_and_dear_ones_do_not() -> None:
    cheap = plan_shards(table_of([[200]], [[10]]), 5, 200)
    dear = plan_shards(table_of([[200]], [[10]]), 5, 199)
    assert [len(shard.pieces) for shard in cheap] == [2] * 10
    assert [len(shard.pieces) for shard in dear] == [1] * 20
