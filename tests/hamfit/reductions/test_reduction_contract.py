"""The reductions of every registered solver under the same laws, on the processor and on every device: identity,
associativity, order of panels, chunked equals whole."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamfit.devices import AbstractDevice
from hamfit.devices.emulated import EmulatedDevice
from hamfit.errors import FitError
from hamfit.reductions import AbstractReduction, Triangle, reduction_named, solver_named
from hamfit.solver_choice import SOLVERS
from hamfit.types import FloatArray

Make = type[AbstractReduction]
REDUCTIONS: dict[str, Make] = {
    reduction.name: reduction
    for solver in map(solver_named, SOLVERS)
    for reduction in (solver.reduction, *(solver.refinement or ()))
}
each_reduction = pytest.mark.parametrize("make", REDUCTIONS.values(), ids=REDUCTIONS.keys())
in_any_place = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(seed: int, m: int, k: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, k + 1)) * 10.0 ** rng.uniform(-3.0, 3.0, size=k + 1)


def reduced(reduction: AbstractReduction, *panels: FloatArray, place: AbstractDevice | None = None) -> Triangle:
    accumulator = reduction.accumulator(place)
    for panel in panels:
        accumulator.absorb(panel if place is None else place.upload(panel))
    return accumulator.state()


def assert_stands_for(reduction: AbstractReduction, state: Triangle, rows: FloatArray) -> None:
    """All products of columns, relative to their norms, by the squares of sums of two columns."""
    matrix, norms = reduction.matrix(state), np.linalg.norm(rows, axis=0)
    units = np.diag(1.0 / np.where(norms > 0.0, norms, 1.0))
    found = [[(reduction.square(matrix, a + b) - reduction.square(matrix, a - b)) / 4.0 for a in units] for b in units]
    bound = 3e-6 if reduction.single else 1e-13
    assert np.abs(np.array(found) - units @ (rows.T @ rows) @ units).max(initial=0.0) < bound
    np.testing.assert_allclose(reduction.column_squares(matrix), norms**2, rtol=bound, atol=0.0)
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
@in_any_place
@given(cut=partitions())
def test_any_partition_into_panels_and_shards_stands_for_the_same_rows(
    place: AbstractDevice | None, make: Make, cut: tuple[FloatArray, list[FloatArray], list[int]]
) -> None:
    rows, panels, owners = cut
    reduction = make(rows.shape[1] - 1)
    shards = [
        reduced(reduction, *(p for p, o in zip(panels, owners, strict=True) if o == shard), place=place)
        for shard in range(3)
    ]
    left = reduction.merge(reduction.merge(shards[0], shards[1], place), shards[2], place)
    right = reduction.merge(shards[0], reduction.merge(shards[1], shards[2]))
    swapped = reduction.merge(shards[2], reduction.merge(shards[1], shards[0]))
    for state in (left, right, swapped, reduced(reduction, rows, place=place)):
        assert_stands_for(reduction, state, rows)


@each_reduction
def test_no_rows_are_the_identity_of_merging(place: AbstractDevice | None, make: Make) -> None:
    reduction = make(5)
    rows = rows_of(3, 40, 5)
    state = reduced(reduction, rows, place=place)
    for merged in (reduction.merge(reduction.zero(), state, place), reduction.merge(state, reduction.zero(), place)):
        np.testing.assert_allclose(merged.packed, state.packed, rtol=1e-14, atol=1e-14)
        assert merged.n_rows == 40
    empty = reduced(reduction, place=place)
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
@pytest.mark.parametrize("k", [7, 731])
def test_states_merge_on_a_device_as_on_the_processor(device: AbstractDevice, make: Make, k: int) -> None:
    reduction, rows = make(k), rows_of(10, 1_600, k)
    halves = [reduced(reduction, half) for half in np.split(rows, 2)]
    found, expected = reduction.merge(*halves, device), reduction.merge(*halves)
    norms = np.sqrt(reduction.column_squares(reduction.matrix(expected)))
    difference = reduction.factor(found).unpack() - reduction.factor(expected).unpack()
    assert np.abs(difference / norms).max() < 1e-12
    assert found.n_rows == expected.n_rows == 1_600


@each_reduction
def test_a_state_is_a_snapshot_that_later_panels_leave_alone(place: AbstractDevice | None, make: Make) -> None:
    reduction = make(4)
    accumulator = reduction.accumulator(place)
    upload = np.array if place is None else place.upload
    panel = upload(rows_of(1, 30, 4))
    accumulator.absorb(panel)
    early = accumulator.state()
    kept = early.packed.copy()
    panel[:] = np.nan  # the panel is the caller's to reuse
    accumulator.absorb(upload(rows_of(2, 30, 4)))
    np.testing.assert_array_equal(early.packed, kept)
    assert_stands_for(reduction, accumulator.state(), np.vstack([rows_of(1, 30, 4), rows_of(2, 30, 4)]))


@each_reduction
def test_more_rows_than_a_buffer_or_a_sum_in_single_precision_holds_are_reduced_alike(
    place: AbstractDevice | None, make: Make
) -> None:
    reduction, rows = make(31), rows_of(5, 9_973, 31)
    for panels in (np.array_split(rows, 7), [rows[:9_001], rows[9_001:]]):
        assert_stands_for(reduction, reduced(reduction, *panels, place=place), rows)


@each_reduction
def test_the_same_panels_give_the_same_bits(place: AbstractDevice | None, make: Make) -> None:
    reduction, rows = make(17), rows_of(8, 5_003, 17)
    first, second = (reduced(reduction, rows[:4_500], rows[4_500:], place=place) for _ in range(2))
    assert first.packed.tobytes() == second.packed.tobytes()


@pytest.mark.parametrize("make", [make for make in REDUCTIONS.values() if make.single])
def test_a_panel_in_single_precision_is_taken_as_it_is(place: AbstractDevice | None, make: Make) -> None:
    rows = rows_of(9, 4_999, 11)
    found = reduced(make(11), rows.astype(np.float32), place=place)
    assert found.packed.tobytes() == reduced(make(11), rows, place=place).packed.tobytes()


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


@each_reduction
def test_weights_count_squares_and_a_factor_is_that_of_the_rows(make: Make) -> None:
    reduction, parts = make(4), [rows_of(seed, 12, 4) for seed in (1, 2)]
    matrices = [reduction.matrix(reduced(reduction, rows)) for rows in parts]
    joined = reduction.joined([(matrices[0], 1.0), (matrices[1], 7.0)])
    weighted = np.vstack([parts[0], np.sqrt(7.0) * parts[1]])
    shift = np.random.default_rng(3).normal(size=5)
    rtol = 1e-5 if reduction.single else 1e-12
    assert reduction.square(joined, shift) == pytest.approx(float(np.sum((weighted @ shift) ** 2)), rel=rtol)
    factor = reduction.factor(reduced(reduction, parts[0])).unpack()
    norms = np.linalg.norm(parts[0], axis=0)
    assert np.abs((factor.T @ factor - parts[0].T @ parts[0]) / np.outer(norms, norms)).max() < rtol
    assert not np.tril(factor, -1).any()


@each_reduction
def test_a_stored_basis_finds_its_reduction_by_name(make: Make) -> None:
    assert reduction_named(make.name) is make
    assert not make(3).precise().single


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_is_whole(name: str) -> None:
    solver = solver_named(name)
    # its problem takes what its rows are reduced to; whitened columns may also come as R factors
    assert solver.problem.takes.squared == solver.reduction.squared
    assert hasattr(solver, "problem_of_factors") == solver.whitens
    assert not solver.whitens or not solver.problem_of_factors.takes.squared
    if solver.refinement is not None:
        first, second = solver.refinement
        assert solver.whitens
        assert (first.single, second.single, second.of_residuals) == (True, False, True)
    page = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"
    assert any("`--solver`" in line and f"`{name}`" in line for line in page.read_text("utf-8").splitlines())


def test_a_reduction_that_no_solver_brings_is_said_so() -> None:
    with pytest.raises(FitError, match="no solver here knows the reduction 'householder': register"):
        reduction_named("householder")


@given(size=st.integers(1, 40))
def test_packing_an_upper_triangle_loses_nothing(size: int) -> None:
    upper = np.triu(np.random.default_rng(size).normal(size=(size, size)))
    packed = Triangle.pack(upper, 3)
    assert packed.size == size
    np.testing.assert_array_equal(packed.unpack(), upper)


class Tight(np.ndarray):
    """An array of a device whose memory ends after some operations."""

    left = 0

    @classmethod
    def spend(cls) -> None:
        """One operation, which wants memory for its result."""
        if cls.left == 0:
            raise MemoryError("full")
        cls.left -= 1

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **keywords: Any) -> Any:
        Tight.spend()
        plain = [np.asarray(value) if isinstance(value, Tight) else value for value in inputs]
        result = getattr(ufunc, method)(*plain, **keywords)
        # what is changed in place stays what it is
        return result if "out" in keywords or not isinstance(result, np.ndarray) else result.view(Tight)

    def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
        Tight.spend()
        return super().__array_function__(function, types, arguments, keywords)

    def astype(self, *arguments: Any, **keywords: Any) -> Any:
        """A copy in another precision."""
        Tight.spend()
        return super().astype(*arguments, **keywords)


@each_reduction
def test_a_panel_that_does_not_fit_leaves_everything_as_it_was(make: Make) -> None:
    rows, reduction = rows_of(11, 9_001, 4), make(4)
    accumulator = reduction.accumulator(EmulatedDevice())
    accumulator.absorb(rows[:8])
    before = accumulator.state()
    refused = 0
    for operations in range(100):
        Tight.left = operations
        try:
            accumulator.absorb(rows[8:].view(Tight))
        except MemoryError:
            refused += 1
        else:
            break
        after = accumulator.state()
        assert (after.packed.tobytes(), after.n_rows) == (before.packed.tobytes(), before.n_rows)
    assert refused >= 1
    assert_stands_for(reduction, accumulator.state(), rows)
