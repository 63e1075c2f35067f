from __future__ import annotations

import math

import numpy as np
import pytest

from hamfit.comparison.metrics import geometric_mean, momentum_error, relative_distance


def test_distances_are_those_of_closed_forms() -> None:
    q = np.random.default_rng(1).normal(size=(7, 3))
    assert relative_distance(q, 1.02 * q) == pytest.approx(0.02 / 2.02, rel=1e-12)
    assert relative_distance(q, -q) == pytest.approx(1.0, rel=1e-12)
    assert relative_distance(-3.0, 5.0) == pytest.approx(1.0)
    assert relative_distance(3.0, 5.0) == pytest.approx(0.25)
    assert relative_distance(np.zeros(4), np.zeros(4)) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300], ids=str)
def test_what_is_not_finite_is_as_far_as_can_be(bad: float) -> None:
    q = np.ones((2, 2))
    assert relative_distance(q, np.array([[1.0, bad], [1.0, 1.0]])) == 1.0


def test_the_momentum_error_is_that_of_the_squares_of_the_sums() -> None:
    v, v_hat = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[0.5, 0.0], [0.5, 3.0]])
    assert momentum_error(v, v_hat) == pytest.approx(abs((16 + 1) - (1 + 9)))
    assert momentum_error(v, np.full((2, 2), np.nan)) == math.inf


def test_geometric_means_leave_out_zeros_and_what_is_not_there() -> None:
    values = np.array([[0.0, 1e-4, 1e-2], [0.0, 1e-6, np.nan], [0.0, 0.0, np.inf]])
    curve = geometric_mean(values, axis=0)
    assert curve == pytest.approx([0.0, 1e-5, 1e-2], rel=1e-12)
    assert float(geometric_mean(values)) == pytest.approx(10 ** (-(4 + 2 + 6) / 3), rel=1e-12)
    assert np.isnan(geometric_mean(np.full(3, np.nan)))
    # far below what a product of plain numbers could hold
    assert float(geometric_mean(np.full(1000, 1e-300))) == pytest.approx(1e-300, rel=1e-9)
