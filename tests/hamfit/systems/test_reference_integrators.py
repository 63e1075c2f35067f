from __future__ import annotations

import numpy as np
import pytest

from hamfit.systems.reference import KAHAN_LI_8, advance, verlet
from hamfit.types import FloatArray

ONE = np.ones((1, 1))


def pendulum(q: FloatArray) -> FloatArray:
    return -np.sin(q)


def start() -> tuple[FloatArray, FloatArray]:
    return np.array([[1.3]]), np.array([[0.4]])


def order_8(n: int) -> tuple[FloatArray, FloatArray]:
    return advance(*start(), ONE, pendulum, 4.0 / n, n)


def order_2(n: int) -> tuple[FloatArray, FloatArray]:
    q, p = start()
    return verlet(q, p, pendulum(q), ONE, pendulum, 4.0 / n, n)[:2]


@pytest.mark.parametrize(("method", "order", "steps"), [(order_8, 8, 10), (order_2, 2, 100)], ids=["8", "2"])
def test_halving_the_step_divides_the_error_by_two_to_the_order(method, order, steps) -> None:
    exact = np.stack(order_8(400))
    errors = [np.abs(np.stack(method(n)) - exact).max() for n in (steps, 2 * steps)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_the_coefficients_fulfil_the_conditions_of_a_symmetric_composition() -> None:
    gamma = np.array(KAHAN_LI_8)
    assert np.array_equal(gamma, gamma[::-1])
    # Triple-jump conditions (Hairer, Lubich, Wanner, theorem V.3.1 and example V.3.15): odd powers up to
    # order 8.
    assert gamma.sum() == pytest.approx(1.0, abs=1e-15)
    for power in (3, 5, 7):
        assert abs((gamma**power).sum()) < 1e-15


@pytest.mark.parametrize("n", [1, 3, 17])
def test_many_steps_are_the_same_as_one_step_many_times(n: int) -> None:
    q, p = start()
    for _ in range(n):
        q, p = advance(q, p, ONE, pendulum, 0.1, 1)
    together = advance(*start(), ONE, pendulum, 0.1, n)
    assert np.allclose(np.stack(together), np.stack([q, p]), rtol=0, atol=1e-14)


def test_going_back_leads_to_the_start() -> None:
    q, p = advance(*start(), ONE, pendulum, 0.1, 50)
    back = advance(q, -p, ONE, pendulum, 0.1, 50)
    assert np.allclose(np.stack([back[0], -back[1]]), np.stack(start()), rtol=0, atol=1e-13)


def test_no_steps_and_the_callers_arrays_stay_untouched() -> None:
    q, p = start()
    assert np.array_equal(advance(q, p, ONE, pendulum, 0.1, 0)[0], q)
    advance(q, p, ONE, pendulum, 0.1, 3)
    verlet(q, p, pendulum(q), ONE, pendulum, 0.1, 3)
    assert np.array_equal(q, start()[0])
    assert np.array_equal(p, start()[1])
