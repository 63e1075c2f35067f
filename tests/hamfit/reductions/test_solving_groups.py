from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.errors import FitError
from hamfit.reductions import Gram, Penalty, Triangle, Tsqr, solve_groups
from hamfit.reductions.problems import factor_of_gram
from hamfit.reductions.ridge import RIDGES, Form
from hamfit.types import FloatArray

KINDS: dict[Form, type[Gram] | type[Tsqr]] = {"gram": Gram, "factor": Tsqr, "white-factor": Tsqr}
each_kind = pytest.mark.parametrize("kind", KINDS)


def states(kind: Form, groups: Sequence[FloatArray]) -> list[Triangle]:
    out = []
    for rows in groups:
        accumulator = KINDS[kind](rows.shape[1] - 1).accumulator()
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
def test_ridge_equals_augmented_least_squares(kind: Form, ridge: float) -> None:
    groups = noisy_groups(1)
    penalty = no_centre(5, np.array([1.0, 0.5, 0.2, 0.1, 0.05]))
    solution = solve_groups(kind, states(kind, groups), penalty, ridge=ridge)
    expected = textbook_ridge(groups, ridge, penalty)
    np.testing.assert_allclose(solution.coefficients, expected, rtol=1e-9, atol=1e-11)
    assert solution.ridge == ridge
    residual = np.vstack(groups) @ np.append(expected, -1.0)
    assert solution.residual_square == pytest.approx(float(residual @ residual), rel=1e-9)


@pytest.mark.parametrize("kind", ["gram", "white-factor"])
def test_ridge_pulls_towards_zero_even_when_targets_are_residuals_of_a_centre(kind: Form) -> None:
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
def test_leaving_a_group_out_equals_refitting_without_it(kind: Form, seed: int) -> None:
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
def test_noise_asks_for_a_ridge_and_exact_data_for_next_to_none(kind: Form) -> None:
    penalty = no_centre(30)
    noisy = solve_groups(kind, states(kind, noisy_groups(3, k=30, sizes=(16, 16, 16), noise=2.0)), penalty)
    exact = solve_groups(kind, states(kind, noisy_groups(3, k=30, sizes=(50, 50, 50), noise=0.0)), penalty)
    assert noisy.ridge >= 1e-4
    # a Gram matrix knows squares of errors only to eps times squared targets, and errors grow as the ridge does
    ridge, error = (1e-8, 1e-5) if kind == "gram" else (1e-12, 1e-6)
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
    orthogonal = solve_groups("factor", states("factor", [rows]), no_centre(k), ridge=0.0)
    assert np.linalg.norm(z @ orthogonal.coefficients - rows[:, -1]) < 100.0 * eps * size * k
    assert np.linalg.norm(orthogonal.coefficients - truth) < 100.0 * eps * condition * np.linalg.norm(truth) * k
    if condition <= 1e12:
        assert orthogonal.condition == pytest.approx(condition, rel=1e-2)
    gram = solve_groups("gram", states("gram", [rows]), no_centre(k), ridge=0.0)
    # half the digits are lost to forming the Gram matrix
    bound = 100.0 * k * max(eps * condition**2, eps) if condition <= 1e6 else 1.0
    assert np.linalg.norm(z @ gram.coefficients - rows[:, -1]) < max(bound, 1e-6) * size
    assert gram.condition > 10.0 or condition == 1.0


@each_kind
def test_rank_counts_independent_columns(kind: Form) -> None:
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
def test_the_factor_stands_for_the_regularised_problem(kind: Form) -> None:
    groups = noisy_groups(4)
    penalty = no_centre(5, np.array([1.0, 0.5, 0.2, 0.1, 0.05]))
    solution = solve_groups(kind, states(kind, groups), penalty, ridge=0.03)
    z = np.vstack(groups)[:, :-1]
    expected = z.T @ z + 0.03 * z.shape[0] * np.diag(1.0 / penalty.spectrum**2)
    np.testing.assert_allclose(solution.factor.T @ solution.factor, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(solution.factor, np.triu(solution.factor))


@each_kind
def test_extra_rows_count_with_their_weight_but_not_in_the_held_out_error(kind: Form) -> None:
    groups, extra = noisy_groups(5), noisy_groups(6, sizes=(3, 2, 4))
    solution = solve_groups(
        kind, states(kind, groups), no_centre(5), extra=states(kind, extra), extra_weight=7.0, ridge=0.0
    )
    weighted = [*groups, *(np.sqrt(7.0) * e for e in extra)]
    expected = np.linalg.lstsq(np.vstack(weighted)[:, :-1], np.vstack(weighted)[:, -1], rcond=None)[0]
    np.testing.assert_allclose(solution.coefficients, expected, rtol=1e-9)
    held_out = 0.0
    for g, group in enumerate(groups):
        rows = np.vstack([weighted[m] for m in range(6) if m % 3 != g])
        refitted = np.linalg.lstsq(rows[:, :-1], rows[:, -1], rcond=None)[0]
        held_out += float(np.sum((group @ np.append(refitted, -1.0)) ** 2))
    assert solution.held_out_square == pytest.approx(held_out, rel=1e-8)


@each_kind
def test_extra_rows_of_no_weight_change_nothing(kind: Form) -> None:
    groups, extra = noisy_groups(5), noisy_groups(6, sizes=(3, 2, 4))
    plain = solve_groups(kind, states(kind, groups), no_centre(5))
    same = solve_groups(kind, states(kind, groups), no_centre(5), extra=states(kind, extra), extra_weight=0.0)
    assert plain.coefficients.tobytes() == same.coefficients.tobytes()


@each_kind
def test_groups_without_rows_do_not_take_part(kind: Form) -> None:
    groups = noisy_groups(8)
    empty = KINDS[kind](5).zero()
    with_empty = solve_groups(kind, [*states(kind, groups), empty], no_centre(5))
    plain = solve_groups(kind, states(kind, groups), no_centre(5))
    np.testing.assert_allclose(with_empty.coefficients, plain.coefficients, rtol=1e-12)
    assert with_empty.held_out_square == pytest.approx(plain.held_out_square, rel=1e-12)


@each_kind
def test_a_single_group_has_no_held_out_error(kind: Form) -> None:
    solution = solve_groups(kind, states(kind, noisy_groups(1)[:1]), no_centre(5))
    assert np.isnan(solution.held_out_square)
    assert np.all(np.isfinite(solution.coefficients))


@each_kind
def test_no_rows_are_refused(kind: Form) -> None:
    for groups in ([], [KINDS[kind](5).zero()]):
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
        solution = solve_groups("white-factor", states("white-factor", rows), penalty, ridge=ridge)
        usual = np.delete(z, [7, 191], axis=0)
        error = np.linalg.norm(usual @ (solution.coefficients - truth)) / np.linalg.norm(usual @ truth)
        assert error < 1e-9


@pytest.mark.parametrize("m", [60, 3])
def test_the_factor_of_a_gram_matrix_stands_for_the_same_rows(m: int) -> None:
    rows = np.random.default_rng(m).normal(size=(m, 6)) * np.array([1.0, 1e-3, 1e3, 1.0, 1e-6, 1e-9])
    gram = states("gram", [rows])[0]
    factor = factor_of_gram(gram)
    assert factor.n_rows == m
    upper = factor.unpack()
    expected = rows.T @ rows
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs((upper.T @ upper - expected) / scale).max() < 1e-13
