from __future__ import annotations

import numpy as np
import pytest

from hamfit.errors import FitError
from hamfit.reductions import Triangle, Tsqr, whiten
from hamfit.types import FloatArray


def tanh_rows(m: int, n: int, seed: int) -> FloatArray:
    """Rows [Z | u] of random tanh features of one scalar: numerically rank deficient, as in a fit."""
    weights = np.random.default_rng(0)
    w, b = weights.normal(0.0, 4.0, n), weights.normal(0.0, 2.0, n)
    scale = 10.0 ** weights.uniform(-4.0, 4.0, n)
    x = np.random.default_rng(seed).uniform(size=m)
    return np.column_stack([np.tanh(np.outer(x, w) + b) * scale, np.sin(5.0 * x)])


def state_of(rows: FloatArray) -> Triangle:
    accumulator = Tsqr(rows.shape[1] - 1).accumulator()
    accumulator.absorb(rows)
    return accumulator.state()


def test_whitened_columns_of_fresh_rows_are_well_conditioned() -> None:
    whitening = whiten(state_of(tanh_rows(400, 64, 1)), 1e-12)
    fresh = tanh_rows(20_000, 64, 2)[:, :-1]
    assert np.linalg.cond(fresh / np.linalg.norm(fresh, axis=0)) > 1e12
    assert 10 < whitening.rank < 64
    assert np.linalg.cond(fresh @ whitening.projection) < 30.0
    # and of unit size
    white = fresh @ whitening.projection
    assert np.abs(white.T @ white / 20_000 - np.eye(whitening.rank)).max() < 1.5


def test_whitened_columns_of_the_sample_itself_are_orthonormal() -> None:
    rows = tanh_rows(400, 12, 1)
    whitening = whiten(state_of(rows), 1e-6)
    white = rows[:, :-1] @ whitening.projection
    np.testing.assert_allclose(white.T @ white / 400, np.eye(whitening.rank), atol=1e-8)


def test_the_preliminary_solution_is_the_least_squares_solution_of_the_sample() -> None:
    rows = tanh_rows(400, 12, 1)
    whitening = whiten(state_of(rows), 1e-8)
    white = rows[:, :-1] @ whitening.projection
    expected = np.linalg.lstsq(white, rows[:, -1], rcond=None)[0]
    np.testing.assert_allclose(whitening.preliminary, expected, rtol=1e-6, atol=1e-7)


def test_scales_of_the_columns_do_not_matter() -> None:
    rows = tanh_rows(400, 12, 1)
    factors = np.append(10.0 ** np.arange(-6.0, 6.0), 1.0)
    plain, scaled = whiten(state_of(rows), 1e-8), whiten(state_of(rows * factors), 1e-8)
    assert plain.rank == scaled.rank
    np.testing.assert_allclose(plain.spectrum, scaled.spectrum, rtol=1e-6)


def test_a_lower_cutoff_keeps_more_columns() -> None:
    state = state_of(tanh_rows(400, 64, 1))
    ranks = [whiten(state, cutoff).rank for cutoff in (1e-3, 1e-8, None)]
    assert ranks == sorted(ranks)
    assert ranks[0] < ranks[2] < 64


def test_a_feature_that_never_varies_is_not_scaled_up_from_nothing() -> None:
    rows = tanh_rows(400, 5, 1)
    rows[:, 2] = 0.0
    whitening = whiten(state_of(rows))
    assert whitening.rank == 4
    assert whitening.condition > 1e15
    assert not np.abs(whitening.projection[2]).max() > 1e-12 * np.abs(whitening.projection).max()


def test_a_feature_that_is_all_rounding_errors_is_not_scaled_up_to_a_column() -> None:
    rows = tanh_rows(400, 5, 1)
    rows[:, 2] = 1e-16 * np.abs(rows[:, :5]).max() * np.random.default_rng(2).choice([-1.0, 0.0, 1.0], size=400)
    whitening = whiten(state_of(rows))
    assert whitening.rank == 4
    assert not whitening.projection[2].any()


def test_a_sample_of_nothing_is_refused() -> None:
    with pytest.raises(FitError, match="the cutoff may be too short"):
        whiten(Tsqr(3).zero())
    with pytest.raises(FitError, match="all zero"):
        whiten(state_of(np.column_stack([np.zeros((9, 3)), np.ones(9)])))
