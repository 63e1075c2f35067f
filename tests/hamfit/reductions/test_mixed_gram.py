"""A Gram matrix of single precision, and the factor that belongs to it once residuals are known in double."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import solve_triangular

from hamfit.reductions import Gram, MixedGram, Triangle, Tsqr
from hamfit.reductions.mixed import refined_factor
from hamfit.types import FloatArray

K = 13
M = 9_001


def rows_of(seed: int, m: int = M) -> FloatArray:
    """Rows [Z | u] of columns like whitened ones, with targets that they explain in part."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(m, K)) * rng.uniform(0.5, 2.0, size=K)
    return np.column_stack([columns, columns @ rng.normal(size=K) + 0.1 * rng.normal(size=m)])


def reduced(reduction: Gram | Tsqr, rows: FloatArray) -> Triangle:
    accumulator = reduction.accumulator()
    accumulator.absorb(rows)
    return accumulator.state()


def products_of(rows: FloatArray) -> Triangle:
    """What the pass over residuals gives: the last column of the Gram matrix, and nothing else."""
    upper = np.zeros((K + 1, K + 1))
    upper[:, -1] = rows.T @ rows[:, -1]
    return Triangle.pack(upper, rows.shape[0])


def test_single_precision_costs_nine_digits_and_keeps_six() -> None:
    rows = rows_of(1)
    exact, single = reduced(Gram(K), rows), reduced(MixedGram(K), rows)
    norms = np.linalg.norm(rows, axis=0)
    error = np.abs((single.unpack() - exact.unpack()) / np.outer(norms, norms)).max()
    assert 1e-10 < error < 1e-6
    assert single.n_rows == exact.n_rows
    assert single.packed.tobytes() == reduced(MixedGram(K), rows.astype(np.float32)).packed.tobytes()


def test_states_of_both_precisions_merge() -> None:
    rows = rows_of(2)
    merged = MixedGram(K).merge(reduced(MixedGram(K), rows[:4_000]), reduced(Gram(K), rows[4_000:]))
    assert merged.n_rows == M
    np.testing.assert_allclose(merged.unpack(), np.triu(rows.T @ rows), atol=1e-6 * float((rows**2).sum()))
    assert MixedGram(K).precise().name == "normal"
    assert Tsqr(K).precise().name == "tsqr"


def cut(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    return rows, rows[:0]


def with_rare_rows(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    rare = rows[:7] * 1e5
    return rows, rare


def fewer_than_columns(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    return rows[:5], rows[:0]


def with_an_empty_column(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    rows[:, 4] = 0.0
    return rows, rows[:0]


def with_columns_of_rare_rows_alone(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    rare = rows[:1] * 1e3
    rows[:, [2, 5, 6]] = 0.0
    return rows, rare


def without_rows(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    return rows[:0], rows[:0]


@pytest.mark.parametrize("single", [True, False], ids=["single", "double"])
@pytest.mark.parametrize(
    "divide",
    [
        cut,
        with_rare_rows,
        fewer_than_columns,
        with_an_empty_column,
        with_columns_of_rare_rows_alone,
        without_rows,
    ],
)
def test_a_refined_factor_keeps_every_digit_of_the_residuals(
    divide: Callable[[FloatArray], tuple[FloatArray, FloatArray]], *, single: bool
) -> None:
    ordinary, rare = divide(rows_of(3).copy())
    rows = np.vstack([ordinary, rare])
    gram = reduced(MixedGram(K) if single else Gram(K), ordinary)
    state = refined_factor(gram, reduced(Tsqr(K), rare), products_of(rows))
    assert state.n_rows == rows.shape[0]
    factor = state.unpack()
    found, exact = factor.T @ factor, rows.T @ rows
    norms = np.linalg.norm(rows, axis=0)
    scale = np.outer(norms, norms) + 1e-300
    errors = np.abs(found - exact) / (scale + 1.0)
    # columns to single precision, products with the residuals to double
    assert errors[:K, :K].max() < 1e-5
    assert errors[:K, -1].max() < 1e-13
    assert errors[-1, -1] < 1e-7


def test_each_step_of_refinement_gains_the_digits_of_the_gram_matrix() -> None:
    rows = rows_of(4)
    columns, targets = rows[:, :-1], rows[:, -1]
    exact = np.linalg.lstsq(columns, targets, rcond=None)[0]
    gram = reduced(MixedGram(K), rows)
    solution, errors = np.zeros(K), []
    for _ in range(3):
        left = np.column_stack([columns, targets - columns @ solution])
        factor = refined_factor(gram, Tsqr(K).zero(), products_of(left)).unpack()
        solution = solution + solve_triangular(factor[:-1, :-1], factor[:-1, -1])
        errors.append(float(np.linalg.norm(solution - exact) / np.linalg.norm(exact)))
    assert errors[0] < 1e-5
    assert errors[1] < 1e-4 * errors[0]
    assert errors[2] < 1e-14
