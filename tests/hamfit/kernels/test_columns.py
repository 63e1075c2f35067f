"""Columns and runs against every pair and every image, one by one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamfit.frames import Frame
from hamfit.graphs.lattice import Lattice
from hamfit.inference.sorting import Columns, Sorter
from hamfit.kernels.bodies import Reach
from hamfit.kernels.columns import sort_into_columns
from hamfit.kernels.lanes import RUN_BEGIN, RUN_END, RUN_SHIFT
from hamfit.kernels.wrapping import wrap
from hamfit.types import FloatArray, IntArray

#: Particle i, particle j and the box that j's image is in; each pair has two such names.
Pair = tuple[int, int, tuple[int, ...]]


@dataclass(frozen=True)
class System:
    """Particles, with the reach of every pair of species."""

    frame: Frame
    reach: FloatArray

    @property
    def lattice(self) -> Lattice:
        return Lattice.of(self.frame)


@dataclass(frozen=True)
class Arranged:
    """A system as sorted by the code under test."""

    x: FloatArray
    """Wrapped positions in the order of the system."""
    order: IntArray
    grid: Columns
    reach: Reach


def one_after_the_other(task: Callable[[int], None], n: int) -> None:
    for k in range(n):
        task(k)


def arrange(system: System, sorter: Sorter | None = None) -> Arranged:
    frame, lattice = system.frame, system.lattice
    q = np.zeros((frame.n_particles, 3))
    q[:, : frame.dim] = frame.q
    x, s, low, high = wrap(q, lattice.vectors, lattice.inverse, lattice.periodic)
    grid = Columns.of(lattice, low, high, len(q), system.reach)
    s = np.ascontiguousarray(s[:, grid.axes])
    order, columns = grid.sort(s, frame.species)
    reach = (sorter or Sorter()).reach(grid, s[order], columns, one_after_the_other)
    return Arranged(x, order, grid, reach)


def canonical(i: int, j: int, box: tuple[int, ...]) -> Pair:
    return min((i, j, box), (j, i, tuple(-b for b in box)))


def pairs_of_runs(system: System, arranged: Arranged) -> Counter[Pair]:
    """Every pair that the runs name, and how often."""
    reach, order, species = arranged.reach, arranged.order, system.frame.species
    boxes = np.rint(reach.shifts @ system.lattice.inverse).astype(int)
    np.testing.assert_allclose(boxes @ system.lattice.vectors, reach.shifts, atol=1e-9)
    found: Counter[Pair] = Counter()
    for i in range(len(order)):
        assert reach.ends[i, 0] == 0
        for b in range(system.reach.shape[0]):
            for k in range(reach.ends[i, b], reach.ends[i, b + 1]):
                box = tuple(boxes[reach.runs[i, k, RUN_SHIFT]].tolist())
                for j in range(reach.runs[i, k, RUN_BEGIN], reach.runs[i, k, RUN_END]):
                    assert species[order[j]] == b
                    found[canonical(int(order[i]), int(order[j]), box)] += 1
    return found


def pairs_within(system: System, x: FloatArray) -> set[Pair]:
    """Every pair within reach, over all images that could be."""
    lattice, species = system.lattice, system.frame.species
    count = np.ceil(system.reach.max() / lattice.heights).astype(int) + 1
    ranges = [range(-c, c + 1) if repeats else (0,) for c, repeats in zip(count, lattice.periodic, strict=True)]
    boxes = np.array(list(itertools.product(*ranges)))
    found = set()
    for i, j in itertools.product(range(len(x)), repeat=2):
        r = np.linalg.norm(x[i] - x[j] - boxes @ lattice.vectors, axis=1)
        near = r < system.reach[species[i], species[j]]
        if i == j:
            near &= boxes.any(axis=1)
        found |= {canonical(i, j, tuple(box)) for box in boxes[near].tolist()}
    return found


def check(system: System, arranged: Arranged) -> None:
    """All that sorting promises."""
    n = system.frame.n_particles
    found = pairs_of_runs(system, arranged)
    assert all(i != j or any(box) for i, j, box in found)
    assert max(found.values(), default=1) == 1
    assert pairs_within(system, arranged.x) <= set(found)
    reach = arranged.reach
    assert sorted(arranged.order.tolist()) == list(range(n))
    assert reach.chunks[0] == 0
    assert reach.chunks[-1] == n
    assert (np.diff(reach.chunks) >= 0).all()
    assert len(reach.window) == len(reach.chunks) - 1
    place = 0
    for (origin, length, begin, width), first, last in zip(
        reach.window.tolist(), reach.chunks[:-1].tolist(), reach.chunks[1:].tolist(), strict=True
    ):
        # windows do not overlap, and have room for a vector of eight beyond their end
        assert begin >= place
        assert width >= length + 8
        place = begin + 3 * width
        for i in range(first, last):
            assert 0 <= i - origin < length
            for begin_j, end_j, target, _ in reach.runs[i, : reach.ends[i, -1]].tolist():
                assert begin_j < end_j <= n
                assert target >= 0
                assert target + end_j - begin_j <= length
                assert (origin + target) % n == begin_j % n
    assert reach.forces.size >= place


def any_system(seed: int) -> System:
    rng = np.random.default_rng(seed)
    dim, n_species = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    n = int(rng.choice([1, 2, 3, 7, 19, 45]))
    edges = rng.uniform(0.6, 1.6, dim) * n ** (1.0 / dim)
    if rng.random() < 0.3:
        # slabs and needles
        edges[rng.integers(dim)] *= rng.choice([0.15, 6.0])
    box = np.diag(edges)
    if rng.random() < 0.5:
        box += np.tril(rng.uniform(-0.6, 0.6, (dim, dim)) * edges, -1)
    if rng.random() < 0.3:
        box = box @ np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    periodic = tuple(bool(x) for x in rng.random(dim) < rng.choice([0.0, 0.5, 1.0]))
    # beyond the box on every side, and now and then many in one heap
    s = rng.uniform(-2.0, 3.0, (n, dim)) if rng.random() < 0.7 else 0.05 * rng.random((n, dim))
    if rng.random() < 0.3:
        s = np.round(4.0 * s) / 4.0
    reach = rng.uniform(0.4, 1.5, (n_species, n_species)) * rng.choice([0.5, 1.0, 1.7])
    reach = np.triu(reach) + np.triu(reach, 1).T
    if n_species > 1 and rng.random() < 0.4:
        reach[0, 1] = reach[1, 0] = 0.0
    frame = Frame(
        q=s @ box,
        species=rng.integers(0, n_species, n),
        labels=("A", "B", "C")[:n_species],
        masses=np.ones(n),
        box=box,
        periodic=periodic,
    )
    return System(frame, reach)


@settings(max_examples=200)
@given(st.integers(0, 10**6))
def test_runs_hold_every_pair_within_reach_exactly_once(seed: int) -> None:
    system = any_system(seed)
    check(system, arrange(system))


def grid_of(q: FloatArray, edges: FloatArray, periodic: tuple[bool, ...], reach: float) -> System:
    n = len(q)
    frame = Frame(
        q=q,
        species=np.zeros(n, dtype=np.int64),
        labels=("A",),
        masses=np.ones(n),
        box=np.diag(edges),
        periodic=periodic,
    )
    return System(frame, np.array([[reach]]))


def test_coordinates_on_boundaries_are_placed_like_any_other() -> None:
    edges = np.array([2.0, 3.0, 4.0])
    marks = [-1e-17, 0.0, 0.25, 0.5, 1.0 - 2**-53, 1.0, 1.0 + 2**-52, -2**-60]
    rng = np.random.default_rng(3)
    s = rng.choice(marks, (40, 3)) + 1e-3 * (rng.random((40, 1)) < 0.3)
    system = grid_of(s * edges, edges, (True, True, True), 0.7)
    arranged = arrange(system)
    assert (arranged.x @ system.lattice.inverse).max() == 1.0
    check(system, arranged)


@pytest.mark.parametrize("thickness", [0.0, 1e-320, 1e-300, 1e-18, 1e-12, 1e-9, 1e-6])
def test_open_systems_as_good_as_flat_are_cut_like_flat_ones(thickness: float) -> None:
    rng = np.random.default_rng(4)
    q = rng.uniform(0.0, 5.0, (30, 3))
    q[:, 2] = thickness * rng.random(30)
    system = grid_of(q, np.ones(3), (False,) * 3, 1.4)
    check(system, arrange(system))
    # nor does it matter which way it lies
    system = grid_of(np.roll(q, 1, axis=1), np.ones(3), (False,) * 3, 1.4)
    check(system, arrange(system))


def test_all_particles_in_one_column_find_each_other() -> None:
    q = np.column_stack([np.full(25, 1.0), np.full(25, 1.0), np.linspace(0.0, 2.0, 25)])
    system = grid_of(q, np.array([9.0, 9.0, 9.0]), (True, True, True), 1.2)
    check(system, arrange(system))


def test_a_particle_alone_meets_its_images_only() -> None:
    system = grid_of(np.array([[0.3, 0.4, 0.9]]), np.array([1.0, 1.0, 1.0]), (True, True, True), 1.3)
    arranged = arrange(system)
    check(system, arranged)
    # six neighbours at 1 are three pairs, twelve at sqrt(2) are out of reach
    assert len(pairs_within(system, arranged.x)) == 3
    alone = grid_of(np.array([[0.3, 0.4, 0.9]]), np.ones(3), (False,) * 3, 1.3)
    assert not pairs_of_runs(alone, arrange(alone))


def test_runs_that_need_more_room_get_it_and_buffers_can_be_used_again() -> None:
    sorter = Sorter()
    for seed in (11, 12, 13):
        rng = np.random.default_rng(seed)
        system = grid_of(rng.random((6, 3)), np.full(3, 0.8), (True, True, True), 1.9)
        arranged = arrange(system, sorter)
        assert arranged.reach.runs.shape[1] > 24
        check(system, arranged)


def test_a_far_flyer_costs_no_memory() -> None:
    rng = np.random.default_rng(6)
    q = rng.uniform(0.0, 4.0, (60, 3))
    near = arrange(grid_of(q, np.ones(3), (False,) * 3, 1.0)).reach
    q[7] = 1e9, -1e9, 1e11
    system = grid_of(q, np.ones(3), (False,) * 3, 1.0)
    arranged = arrange(system)
    check(system, arranged)
    assert arranged.reach.runs.size <= near.runs.size
    assert arranged.grid.shape[0] * arranged.grid.shape[1] <= 60


def test_particles_are_sorted_by_row_species_column_and_layer_then_by_number() -> None:
    rng = np.random.default_rng(7)
    s, species = rng.random((200, 3)), rng.integers(0, 3, 200)
    shape = np.array([3, 4, 5])
    order, start = sort_into_columns(s, np.zeros(3), np.ones(3), species, shape, 3)
    row, column, layer = np.floor(s * shape).astype(int).T
    expected = np.lexsort((np.arange(200), layer, column, species, row))
    np.testing.assert_array_equal(order, expected)
    number = ((row * 3 + species) * 4 + column) * 5 + layer
    np.testing.assert_array_equal(np.diff(start), np.bincount(number, minlength=3 * 3 * 4 * 5))
    assert start[0] == 0
