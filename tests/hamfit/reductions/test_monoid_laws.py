"""Both reductions under the same laws: identity, associativity, order of panels, chunked equals whole."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.errors import FitError
from hamfit.reductions import AbstractReduction, Gram, Triangle, Tsqr
from hamfit.types import FloatArray

Make = Callable[[int], AbstractReduction]
MAKERS: dict[str, Make] = {"normal": Gram, "tsqr": Tsqr}
each_reduction = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def rows_of(seed: int, m: int, k: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, k + 1)) * 10.0 ** rng.uniform(-3.0, 3.0, size=k + 1)


def reduced(reduction: AbstractReduction, *panels: FloatArray) -> Triangle:
    accumulator = reduction.accumulator()
    for panel in panels:
        accumulator.absorb(panel)
    return accumulator.state()


def gram_of(reduction: AbstractReduction, state: Triangle) -> FloatArray:
    """What both states stand for: the Gram matrix of the rows."""
    upper = state.unpack()
    if isinstance(reduction, Tsqr):
        return upper.T @ upper
    return upper + np.triu(upper, 1).T


def assert_stands_for(reduction: AbstractReduction, state: Triangle, rows: FloatArray) -> None:
    expected = rows.T @ rows
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected))) + 1e-300
    assert np.abs((gram_of(reduction, state) - expected) / scale).max(initial=0.0) < 1e-13
    assert state.n_rows == rows.shape[0]


@st.composite
def partitions(draw: st.DrawFn) -> tuple[FloatArray, list[FloatArray], list[int]]:
    """Rows, a cut of them into panels, and a division of the panels among shards."""
    k = draw(st.integers(1, 7))
    m = draw(st.integers(1, 60))
    rows = rows_of(draw(st.integers(0, 2**31)), m, k)
    cuts = sorted(draw(st.lists(st.integers(0, m), max_size=6)))
    panels = [np.ascontiguousarray(p) for p in np.split(rows, cuts)]
    owners = [draw(st.integers(0, 2)) for _ in panels]
    return rows, panels, owners


@each_reduction
@given(cut=partitions())
def test_any_partition_into_panels_and_shards_stands_for_the_same_rows(
    make: Make, cut: tuple[FloatArray, list[FloatArray], list[int]]
) -> None:
    rows, panels, owners = cut
    reduction = make(rows.shape[1] - 1)
    shards = [reduced(reduction, *(p for p, o in zip(panels, owners, strict=True) if o == shard)) for shard in range(3)]
    left = reduction.merge(reduction.merge(shards[0], shards[1]), shards[2])
    right = reduction.merge(shards[0], reduction.merge(shards[1], shards[2]))
    swapped = reduction.merge(shards[2], reduction.merge(shards[1], shards[0]))
    for state in (left, right, swapped, reduced(reduction, rows)):
        assert_stands_for(reduction, state, rows)


@each_reduction
def test_no_rows_are_the_identity_of_merging(make: Make) -> None:
    reduction = make(5)
    rows = rows_of(3, 40, 5)
    state = reduced(reduction, rows)
    for merged in (reduction.merge(reduction.zero(), state), reduction.merge(state, reduction.zero())):
        np.testing.assert_allclose(merged.packed, state.packed, rtol=1e-14, atol=1e-14)
        assert merged.n_rows == 40
    empty = reduced(reduction)
    assert not empty.packed.any()
    assert empty.n_rows == 0


@each_reduction
def test_merging_changes_neither_argument(make: Make) -> None:
    reduction = make(4)
    first, second = reduced(reduction, rows_of(1, 9, 4)), reduced(reduction, rows_of(2, 9, 4))
    kept = first.packed.copy(), second.packed.copy()
    merged = reduction.merge(first, second)
    np.testing.assert_array_equal(first.packed, kept[0])
    np.testing.assert_array_equal(second.packed, kept[1])
    assert not np.shares_memory(merged.packed, first.packed)


@each_reduction
def test_a_state_is_a_snapshot_that_later_panels_leave_alone(make: Make) -> None:
    reduction = make(4)
    accumulator = reduction.accumulator()
    panel = rows_of(1, 30, 4)
    accumulator.absorb(panel)
    early = accumulator.state()
    kept = early.packed.copy()
    panel[:] = np.nan  # the panel is the caller's to reuse
    accumulator.absorb(rows_of(2, 30, 4))
    np.testing.assert_array_equal(early.packed, kept)
    assert_stands_for(reduction, accumulator.state(), np.vstack([rows_of(1, 30, 4), rows_of(2, 30, 4)]))


@each_reduction
def test_more_rows_than_the_buffer_holds_are_reduced_alike(make: Make) -> None:
    reduction = make(6)
    rows = rows_of(5, 4001, 6)
    assert_stands_for(reduction, reduced(reduction, *np.array_split(rows, 7)), rows)


@each_reduction
def test_the_same_panels_give_the_same_bits(make: Make) -> None:
    reduction = make(6)
    panels = np.array_split(rows_of(7, 500, 6), 5)
    first, second = reduced(reduction, *panels), reduced(reduction, *panels)
    assert first.packed.tobytes() == second.packed.tobytes()


@each_reduction
def test_states_and_reductions_survive_pickling(make: Make) -> None:
    reduction = make(3)
    state = reduced(reduction, rows_of(1, 9, 3))
    again: Triangle = pickle.loads(pickle.dumps(state))
    assert (again.packed.tobytes(), again.n_rows) == (state.packed.tobytes(), 9)
    assert pickle.loads(pickle.dumps(reduction)).n_columns == 3


@each_reduction
def test_a_state_takes_the_bytes_promised(make: Make) -> None:
    reduction = make(11)
    assert reduced(reduction, rows_of(1, 30, 11)).packed.nbytes == reduction.state_bytes
    assert reduction.working_bytes >= reduction.state_bytes


@each_reduction
def test_a_state_that_does_not_belong_or_is_not_finite_is_refused(make: Make) -> None:
    reduction = make(4)
    state = reduced(reduction, rows_of(1, 9, 4))
    assert reduction.check(state) is state
    with pytest.raises(FitError, match="a state of 3 columns cannot be merged into one of 4"):
        reduction.check(make(3).zero())
    broken = Triangle(np.full_like(state.packed, np.nan), 9)
    with pytest.raises(FitError, match="not finite"):
        reduction.check(broken)


@given(size=st.integers(1, 40))
def test_packing_an_upper_triangle_loses_nothing(size: int) -> None:
    upper = np.triu(np.random.default_rng(size).normal(size=(size, size)))
    packed = Triangle.pack(upper, 3)
    assert packed.size == size
    np.testing.assert_array_equal(packed.unpack(), upper)
