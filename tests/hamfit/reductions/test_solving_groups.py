from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.errors import FitError
from hamfit.reductions import AbstractProblem, FurtherRows, Penalty, Triangle, solve_groups, solver_named
from hamfit.reductions.factors import factor_of_gram
from hamfit.reductions.normal import GramOutcome, GramProblem
from hamfit.reductions.ridge import RIDGES
from hamfit.reductions.sketched import WhiteFactorProblem, WhiteOutcome
from hamfit.reductions.tsqr import FactorProblem, SvdOutcome
from hamfit.solver_choice import SOLVERS
from hamfit.types import FloatArray

Kind = type[AbstractProblem]
#: Every problem that a registered solver makes.
KINDS = {
    problem.__name__: problem
    for name in SOLVERS
    for problem in (solver_named(name).problem, getattr(solver_named(name), "problem_of_factors", None))
    if problem is not None
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def states(kind: Kind, groups: Sequence[FloatArray]) -> list[Triangle]:
    out = []
    for rows in groups:
        accumulator = kind.takes(rows.shape[1] - 1).accumulator()
        accumulator.absorb(np.ascontiguousarray(rows))
        out.append(accumulator.state())
    return out


def no_centre(k: int, spectrum: FloatArray | None = None) -> Penalty:
    return Penalty(np.ones(k) if spectrum is None else spectrum, np.zeros(k))


def noisy_groups(seed: int, k: int = 5, sizes: Sequence[int] = (31, 37, 41), noise: float = 0.3) -> list[FloatArray]:
    """Rows [Z | u] of three groups with a known law and noise."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=k)
    out = []
    for m in sizes:
        z = rng.normal(size=(m, k)) @ (np.eye(k) + 0.3 * rng.normal(size=(k, k)))
        out.append(np.column_stack([z, z @ truth + noise * rng.normal(size=m)]))
    return out


def textbook_ridge(groups: Sequence[FloatArray], ridge: float, penalty: Penalty) -> FloatArray:
    """Augmented least squares: sqrt(ridge N) / spectrum under Z, and the centre's own residual under u."""
    rows = np.vstack(groups)
    strength = np.sqrt(ridge * rows.shape[0]) / penalty.spectrum
    z = np.vstack([rows[:, :-1], np.diag(strength)])
    u = np.concatenate([rows[:, -1], -strength * penalty.centre])
    return np.linalg.lstsq(z, u, rcond=None)[0] + penalty.centre


@each_kind
@pytest.mark.parametrize("ridge", [0.0, 1e-6, 0.03, 2.0])
def test_ridge_equals_augmented_least_squares(kind: Kind, ridge: float) -> None:
    groups = noisy_groups(1)
    penalty = no_centre(5, np.array([1.0, 0.5, 0.2, 0.1, 0.05]))
    solution = solve_groups(kind, states(kind, groups), penalty, ridge=ridge)
    expected = textbook_ridge(groups, ridge, penalty)
    np.testing.assert_allclose(solution.coefficients, expected, rtol=1e-9, atol=1e-11)
    assert solution.ridge == ridge
    residual = np.vstack(groups) @ np.append(expected, -1.0)
    assert solution.residual_square == pytest.approx(float(residual @ residual), rel=1e-9)


@pytest.mark.parametrize("kind", [GramProblem, WhiteFactorProblem])
def test_ridge_pulls_towards_zero_even_when_targets_are_residuals_of_a_centre(kind: Kind) -> None:
    groups = noisy_groups(2)
    centre = np.array([0.3, -1.1, 0.7, 2.0, -0.4])
    penalty = Penalty(np.array([1.0, 0.5, 0.2, 0.1, 0.05]), centre)
    shifted = [np.column_stack([g[:, :-1], g[:, -1] - g[:, :-1] @ centre]) for g in groups]
    for ridge in (0.0, 0.03, 2.0):
        got = solve_groups(kind, states(kind, shifted), penalty, ridge=ridge).coefficients
        plain = textbook_ridge(groups, ridge, no_centre(5, penalty.spectrum))
        np.testing.assert_allclose(got, plain, rtol=1e-9, atol=1e-11)
    huge = solve_groups(kind, states(kind, shifted), penalty, ridge=1e12).coefficients
    assert np.abs(huge).max() < 1e-8


@each_kind
@given(seed=st.integers(0, 2**31))
def test_leaving_a_group_out_equals_refitting_without_it(kind: Kind, seed: int) -> None:
    groups = noisy_groups(seed)
    penalty = no_centre(5, np.array([1.0, 0.5, 0.2, 0.1, 0.05]))
    solution = solve_groups(kind, states(kind, groups), penalty)
    assert [ridge for ridge, _ in solution.trials] == list(RIDGES)
    for ridge, held_out in solution.trials[::5]:
        expected = 0.0
        for g, group in enumerate(groups):
            refitted = textbook_ridge([other for o, other in enumerate(groups) if o != g], ridge, penalty)
            residual = group @ np.append(refitted, -1.0)
            expected += float(residual @ residual)
        assert held_out == pytest.approx(expected, rel=1e-8)
    assert solution.held_out_square == min(error for _, error in solution.trials)
    assert (solution.ridge, solution.held_out_square) in solution.trials


@each_kind
def test_noise_asks_for_a_ridge_and_exact_data_for_next_to_none(kind: Kind) -> None:
    penalty = no_centre(30)
    noisy = solve_groups(kind, states(kind, noisy_groups(3, k=30, sizes=(16, 16, 16), noise=2.0)), penalty)
    exact = solve_groups(kind, states(kind, noisy_groups(3, k=30, sizes=(50, 50, 50), noise=0.0)), penalty)
    assert noisy.ridge >= 1e-4
    # a Gram matrix knows squares of errors only to eps times squared targets, and errors grow as the ridge does
    ridge, error = (1e-8, 1e-5) if kind is GramProblem else (1e-12, 1e-6)
    assert exact.ridge <= ridge
    assert np.sqrt(exact.held_out_square) < error


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6, 1e9, 1e12, 1e14])
def test_known_answers_are_found_whatever_the_condition_number(condition: float) -> None:
    rng = np.random.default_rng(7)
    k, m = 12, 300
    left, right = np.linalg.qr(rng.normal(size=(m, k)))[0], np.linalg.qr(rng.normal(size=(k, k)))[0]
    z = left * np.geomspace(1.0, 1.0 / condition, k) @ right
    truth = rng.normal(size=k)
    rows = np.column_stack([z, z @ truth])
    size = float(np.linalg.norm(rows[:, -1]))
    eps = np.finfo(np.float64).eps
    orthogonal = solve_groups(FactorProblem, states(FactorProblem, [rows]), no_centre(k), ridge=0.0)
    assert np.linalg.norm(z @ orthogonal.coefficients - rows[:, -1]) < 100.0 * eps * size * k
    assert np.linalg.norm(orthogonal.coefficients - truth) < 100.0 * eps * condition * np.linalg.norm(truth) * k
    if condition <= 1e12:
        assert orthogonal.condition == pytest.approx(condition, rel=1e-2)
    gram = solve_groups(GramProblem, states(GramProblem, [rows]), no_centre(k), ridge=0.0)
    # half the digits are lost to forming the Gram matrix
    bound = 100.0 * k * max(eps * condition**2, eps) if condition <= 1e6 else 1.0
    assert np.linalg.norm(z @ gram.coefficients - rows[:, -1]) < max(bound, 1e-6) * size
    assert gram.condition > 10.0 or condition == 1.0


@each_kind
def test_rank_counts_independent_columns(kind: Kind) -> None:
    groups = noisy_groups(1)
    doubled = [np.column_stack([g[:, :-1], g[:, :3] * 2.0, g[:, -1]]) for g in groups]
    solution = solve_groups(kind, states(kind, doubled), no_centre(8), ridge=1e-13)
    assert solution.rank == 5
    assert solution.condition > 1e7
    single = solve_groups(kind, states(kind, groups), no_centre(5), ridge=1e-13)
    fitted = np.vstack(doubled)[:, :-1] @ solution.coefficients
    expected = np.vstack(groups)[:, :-1] @ single.coefficients
    assert np.linalg.norm(fitted - expected) < 1e-5 * np.linalg.norm(expected)


@each_kind
def test_the_factor_stands_for_the_regularised_problem(kind: Kind) -> None:
    groups = noisy_groups(4)
    penalty = no_centre(5, np.array([1.0, 0.5, 0.2, 0.1, 0.05]))
    solution = solve_groups(kind, states(kind, groups), penalty, ridge=0.03)
    z = np.vstack(groups)[:, :-1]
    expected = z.T @ z + 0.03 * z.shape[0] * np.diag(1.0 / penalty.spectrum**2)
    np.testing.assert_allclose(solution.factor.T @ solution.factor, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(solution.factor, np.triu(solution.factor))


@each_kind
def test_further_rows_of_any_number_of_kinds_count_with_their_weights_but_not_in_the_held_out_error(kind: Kind) -> None:
    groups = noisy_groups(5)
    kinds = [(noisy_groups(6, sizes=(3, 2, 4)), 7.0), (noisy_groups(7, sizes=(5, 1, 2)), 0.3)]
    further = [FurtherRows(states(kind, rows), weight) for rows, weight in kinds]
    solution = solve_groups(kind, states(kind, groups), no_centre(5), further=further, ridge=0.0)
    of_group = [
        np.vstack([group, *(np.sqrt(weight) * rows[g] for rows, weight in kinds)]) for g, group in enumerate(groups)
    ]
    everything = np.vstack(of_group)
    expected = np.linalg.lstsq(everything[:, :-1], everything[:, -1], rcond=None)[0]
    np.testing.assert_allclose(solution.coefficients, expected, rtol=1e-9)
    held_out = 0.0
    for g, group in enumerate(groups):
        rows = np.vstack([rest for other, rest in enumerate(of_group) if other != g])
        refitted = np.linalg.lstsq(rows[:, :-1], rows[:, -1], rcond=None)[0]
        held_out += float(np.sum((group @ np.append(refitted, -1.0)) ** 2))
    assert solution.held_out_square == pytest.approx(held_out, rel=1e-8)


@each_kind
def test_further_rows_of_no_weight_change_nothing(kind: Kind) -> None:
    groups, more = noisy_groups(5), noisy_groups(6, sizes=(3, 2, 4))
    plain = solve_groups(kind, states(kind, groups), no_centre(5))
    same = solve_groups(kind, states(kind, groups), no_centre(5), further=[FurtherRows(states(kind, more), 0.0)])
    assert plain.coefficients.tobytes() == same.coefficients.tobytes()


@each_kind
def test_every_solve_says_how_it_came_about(kind: Kind) -> None:
    solution = solve_groups(kind, states(kind, noisy_groups(5)), no_centre(5))
    # each ridge without each group, and the coefficients themselves
    assert sum(solution.solves.values()) == len(RIDGES) * 3 + 1
    assert solution.solves[solution.outcome] >= 1
    # words of a sentence on a part that "was solved ..."
    assert all(outcome.value.startswith("by ") for outcome in type(solution.outcome))


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (GramProblem, GramOutcome.EIGENVECTORS),
        (FactorProblem, SvdOutcome.TRUNCATED_SVD),
        (WhiteFactorProblem, WhiteOutcome.LEAST_NORM),
    ],
)
def test_columns_that_depend_on_each_other_are_said_to_be_solved_in_another_way(kind: Kind, outcome: object) -> None:
    full = noisy_groups(5)
    doubled = [np.column_stack([g[:, :2], -3.0 * g[:, :1], g[:, 2:]]) for g in full]
    usual = solve_groups(kind, states(kind, full), no_centre(5), ridge=0.0)
    other = solve_groups(kind, states(kind, doubled), no_centre(6), ridge=0.0)
    assert outcome not in usual.solves
    assert other.outcome is outcome
    assert 1 <= other.solves[other.outcome] <= 4


@each_kind
def test_groups_without_rows_do_not_take_part(kind: Kind) -> None:
    groups = noisy_groups(8)
    empty = kind.takes(5).zero()
    with_empty = solve_groups(kind, [*states(kind, groups), empty], no_centre(5))
    plain = solve_groups(kind, states(kind, groups), no_centre(5))
    np.testing.assert_allclose(with_empty.coefficients, plain.coefficients, rtol=1e-12)
    assert with_empty.held_out_square == pytest.approx(plain.held_out_square, rel=1e-12)


@each_kind
def test_a_single_group_has_no_held_out_error(kind: Kind) -> None:
    solution = solve_groups(kind, states(kind, noisy_groups(1)[:1]), no_centre(5))
    assert np.isnan(solution.held_out_square)
    assert np.all(np.isfinite(solution.coefficients))


@each_kind
def test_no_rows_are_refused(kind: Kind) -> None:
    for groups in ([], [kind.takes(5).zero()]):
        with pytest.raises(FitError, match="no rows reached the solver"):
            solve_groups(kind, groups, no_centre(5))


def test_rare_rows_of_any_size_do_no_harm_to_a_factor_of_white_columns() -> None:
    rng = np.random.default_rng(5)
    spectrum = np.geomspace(1.0, 1e-9, 8)
    z = rng.normal(size=(300, 8))
    # a few rows, far outside the sample that whitened, are huge where the spectrum is small
    z[7] *= 1e-2 / spectrum
    z[191] *= 1e-1 / spectrum
    truth = rng.normal(size=8) * spectrum
    rows = [np.column_stack([part, part @ truth]) for part in np.array_split(z, 4)]
    penalty = Penalty(spectrum, np.zeros(8))
    for ridge in (0.0, 1e-26):
        solution = solve_groups(WhiteFactorProblem, states(WhiteFactorProblem, rows), penalty, ridge=ridge)
        usual = np.delete(z, [7, 191], axis=0)
        error = np.linalg.norm(usual @ (solution.coefficients - truth)) / np.linalg.norm(usual @ truth)
        assert error < 1e-9


@pytest.mark.parametrize("m", [60, 3])
def test_the_factor_of_a_gram_matrix_stands_for_the_same_rows(m: int) -> None:
    rows = np.random.default_rng(m).normal(size=(m, 6)) * np.array([1.0, 1e-3, 1e3, 1.0, 1e-6, 1e-9])
    gram = states(GramProblem, [rows])[0]
    factor = factor_of_gram(gram)
    assert factor.n_rows == m
    upper = factor.unpack()
    expected = rows.T @ rows
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs((upper.T @ upper - expected) / scale).max() < 1e-13
