"""Each compiled kernel beside a plain NumPy version of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.frames import Frame
from hamfit.graphs.lattice import Lattice
from hamfit.kernels.bonds import bonded_edges, bonds_of_particles
from hamfit.kernels.cells import (
    enlarge_floats,
    enlarge_ints,
    enlarge_vectors,
    gather_candidates,
    list_runs,
    sort_into_cells,
    squared_distances,
)
from hamfit.kernels.wrapping import wrap

seeds = st.integers(0, 10**6)


@given(seeds)
def test_wrap_moves_positions_into_the_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lattice = np.eye(3) * 2.3 + rng.uniform(-0.4, 0.4, (3, 3))
    inverse, periodic = np.linalg.inv(lattice).astype(np.float64), rng.integers(0, 2, 3)
    q = rng.normal(0, 5, (17, 3))
    x, s, low, high = wrap(q, lattice, inverse, periodic)
    boxes = np.floor(q @ inverse) * periodic
    np.testing.assert_allclose(x, q - boxes @ lattice, atol=1e-13)
    np.testing.assert_allclose(s, q @ inverse - boxes, atol=1e-13)
    np.testing.assert_array_equal(low, s.min(axis=0))
    np.testing.assert_array_equal(high, s.max(axis=0))


@given(seeds)
def test_sort_into_cells_is_a_stable_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 6, 3)
    s = rng.uniform(0, 1, (53, 3))
    s[0], s[1] = 1.0, 0.0
    order, rank, cell, start = sort_into_cells(s, np.zeros(3), shape.astype(float), shape)
    numbers = np.minimum((s * shape).astype(int), shape - 1) @ [shape[1] * shape[2], shape[2], 1]
    np.testing.assert_array_equal(order, np.argsort(numbers, kind="stable"))
    np.testing.assert_array_equal(rank[order], np.arange(53))
    np.testing.assert_array_equal(cell, numbers[order])
    np.testing.assert_array_equal(start, np.searchsorted(numbers[order], np.arange(np.prod(shape) + 1)))


@given(seeds)
def test_runs_cover_each_cell_in_reach_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, reach, periodic = rng.integers(1, 5, 3), rng.integers(0, 4, 3), rng.integers(0, 2, 3)
    start = np.concatenate([[0], np.cumsum(rng.integers(0, 3, np.prod(shape)))])
    cell = int(rng.integers(np.prod(shape)))
    here = np.array(np.unravel_index(cell, shape))
    expected = []
    for offset in np.ndindex(*(2 * reach + 1)):
        boxes, there = np.divmod(here + offset - reach, shape)
        if not (boxes * (1 - periodic)).any():
            number = np.ravel_multi_index(tuple(there), tuple(shape))
            expected += [(p, *boxes.tolist()) for p in range(start[number], start[number + 1])]
    n_runs, total = list_runs(cell, start, shape, reach, periodic, np.empty((0, 5), np.int64))
    runs = np.empty((n_runs, 5), np.int64)
    assert list_runs(cell, start, shape, reach, periodic, runs) == (n_runs, total)
    found = [(p, *boxes) for begin, end, *boxes in runs.tolist() for p in range(begin, end)]
    assert len(found) == total
    assert sorted(found) == sorted(expected)


@given(seeds)
def test_candidates_are_those_near_the_bounding_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, lattice = rng.uniform(0, 3, (3, 40)), np.eye(3) * 3 + rng.uniform(-0.5, 0.5, (3, 3))
    runs = np.array([[0, 9, 0, 0, 0], [12, 30, -1, 0, 1], [12, 40, 0, 2, 0]])
    place, near = np.empty(60, np.int64), np.empty((6, 60))
    m = gather_candidates(runs, 3, 6, x, lattice, 2.0, place, near)
    low, high = x[:, 3:6].min(axis=1), x[:, 3:6].max(axis=1)
    expected = []
    for begin, end, *boxes in runs:
        shift = np.array(boxes) @ lattice
        for p in range(begin, end):
            gap = np.maximum(0, np.maximum(low - x[:, p] - shift, x[:, p] + shift - high))
            if gap @ gap <= 2.0:
                expected.append([p, *x[:, p], *shift])
    found = np.column_stack([place[:m], near[:, :m].T])
    np.testing.assert_allclose(found, np.array(expected).reshape(-1, 7), atol=1e-13)


@pytest.mark.parametrize("n", [0, 1, 7, 64, 131])
def test_squared_distances_find_what_is_within_the_limit(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y, t = rng.normal(size=3), rng.normal(size=(3, n)), rng.normal(size=(3, n))
    r2, hits = np.empty(n), np.empty(n + 1, np.int64)
    found = squared_distances(x[0], x[1], x[2], y[0], y[1], y[2], t[0], t[1], t[2], 6.0, r2, hits)
    expected = (((x[:, None] - y) - t) ** 2).sum(axis=0)
    np.testing.assert_allclose(r2, expected, rtol=1e-14)
    np.testing.assert_array_equal(hits[:found], np.flatnonzero(expected < 6.0))


def test_enlarged_buffers_keep_what_was_set() -> None:
    floats = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_array_equal(enlarge_vectors(floats, 4, 9)[:4], floats[:4])
    np.testing.assert_array_equal(enlarge_floats(floats[:, 0].copy(), 4, 9)[:4], floats[:4, 0])
    np.testing.assert_array_equal(enlarge_ints(np.arange(5), 4, 9)[:4], np.arange(4))
    assert enlarge_vectors(floats, 4, 9).shape == (9, 3)


@given(seeds)
def test_bonds_are_listed_under_both_particles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = np.array([(i, j) for i in range(7) for j in range(i)])
    bonds = rng.permutation(pairs)[: rng.integers(0, len(pairs) + 1)]
    offsets, half, twice = bonds_of_particles(bonds, 7)
    assert twice == -1
    for i in range(7):
        expected = [2 * e + side for e, bond in enumerate(bonds) for side in (0, 1) if bond[side] == i]
        np.testing.assert_array_equal(half[offsets[i] : offsets[i + 1]], expected)
    types, vectors = rng.integers(0, 3, len(bonds)), rng.normal(size=(len(bonds), 3))
    lengths = rng.uniform(1, 2, len(bonds))
    centres = rng.integers(0, 7, 5)
    edges = bonded_edges(centres, offsets, half, bonds, types, vectors, lengths)
    chosen = np.concatenate([half[offsets[i] : offsets[i + 1]] for i in centres])
    e, side = chosen // 2, chosen % 2
    np.testing.assert_array_equal(edges[0], np.cumsum([0, *np.diff(offsets)[centres]]))
    np.testing.assert_array_equal(edges[1], bonds[e, 1 - side])
    np.testing.assert_array_equal(edges[2], vectors[e] * (1 - 2 * side)[:, None])
    np.testing.assert_array_equal(edges[3], lengths[e])
    np.testing.assert_array_equal(edges[4], types[e])


@pytest.mark.parametrize("periodic", [(True, False, True), (False, False, False), (False, True, True)])
def test_a_lattice_is_completed_at_right_angles(periodic: tuple[bool, ...]) -> None:
    box = np.array([[3.0, 0.2, 0.4], [0.3, 2.0, 0.7], [0.0, 0.9, 4.0]])
    frame = Frame(np.zeros((1, 3)), np.zeros(1, np.int64), ("A",), np.ones(1), box, periodic)
    lattice = Lattice.of(frame)
    which = np.array(periodic)
    np.testing.assert_array_equal(lattice.vectors[which], box[which])
    added = lattice.vectors[~which]
    np.testing.assert_allclose(added @ added.T, np.eye(len(added)), atol=1e-14)
    np.testing.assert_allclose(added @ box[which].T, 0, atol=1e-14)
    np.testing.assert_allclose(lattice.vectors @ lattice.inverse, np.eye(3), atol=1e-14)
    volume = abs(np.linalg.det(lattice.vectors))
    for k in range(3):
        face = np.cross(*np.delete(lattice.vectors, k, axis=0))
        assert lattice.heights[k] == pytest.approx(volume / np.linalg.norm(face))


def test_an_open_lattice_keeps_the_axes() -> None:
    frame = Frame(np.zeros((1, 2)), np.zeros(1, np.int64), ("A",), np.ones(1))
    np.testing.assert_array_equal(Lattice.of(frame).vectors, np.eye(3))
