from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from hamfit.reductions import Tsqr
from hamfit.reductions.factors import triangular_factor
from hamfit.types import FloatArray


def with_condition(m: int, n: int, condition: float, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.normal(size=(m, n)))[0]
    right = np.linalg.qr(rng.normal(size=(n, n)))[0]
    return left * np.geomspace(1.0, 1.0 / condition, n) @ right


def streamed(rows: FloatArray, pieces: int) -> FloatArray:
    """R by many panels in two shards that are merged."""
    reduction = Tsqr(rows.shape[1] - 1)
    states = []
    for half in np.array_split(rows, 2):
        accumulator = reduction.accumulator()
        for panel in np.array_split(half, pieces):
            accumulator.absorb(panel)
        states.append(accumulator.state())
    return reduction.merge(*states).unpack()


@given(m=st.integers(1, 40), n=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_the_factor_is_upper_with_non_negative_diagonal_and_the_right_gram_matrix(m: int, n: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(m, n))
    upper = triangular_factor(rows)
    assert upper.shape == (n, n)
    np.testing.assert_array_equal(upper, np.triu(upper))
    assert np.all(np.diag(upper) >= 0.0)
    np.testing.assert_allclose(upper.T @ upper, rows.T @ rows, atol=1e-12 * m)


@pytest.mark.parametrize("shape", [(50, 7), (7, 7), (4, 7)])
def test_the_factor_is_scipys_up_to_signs(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(3).normal(size=shape)
    expected = scipy.linalg.qr(rows, mode="r")[0][: min(shape)]
    got = triangular_factor(rows)
    np.testing.assert_allclose(np.abs(got[: min(shape)]), np.abs(expected), atol=1e-13)


@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8, 1e12, 1e14])
def test_streaming_keeps_small_singular_values_that_a_gram_matrix_loses(condition: float) -> None:
    rows = with_condition(5000, 9, condition, 5)
    expected = scipy.linalg.svdvals(rows)
    got = scipy.linalg.svdvals(streamed(rows, 3))
    # backward stable: every singular value to rounding of the largest
    assert np.abs(got - expected).max() < 1e-14 * expected[0]
    if condition >= 1e12:
        gram = np.linalg.eigvalsh(rows.T @ rows)
        assert abs(np.sqrt(abs(gram[0])) - expected[-1]) > 0.5 * expected[-1]


def test_rows_are_not_changed_by_factorising_them() -> None:
    rows = np.asfortranarray(np.random.default_rng(1).normal(size=(20, 5)))
    kept = rows.copy()
    triangular_factor(rows)
    np.testing.assert_array_equal(rows, kept)
