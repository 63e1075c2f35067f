"""Rates: a burst, then a steady flow, each key for itself, in bounded memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit_service.security.rates import RateLimits


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1e6) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_one_at_a_time() -> None:
    clock = Clock()
    rates = RateLimits(2.0, 3, clock)
    assert [rates.allow("ann") for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rates.allow("ann") == pytest.approx(0.5)
    clock.now += 0.5
    assert rates.allow("ann") == 0.0
    assert rates.allow("ann") == pytest.approx(0.5)


def test_who_waits_as_long_as_asked_is_let_in() -> None:
    clock = Clock(now=1_234_567.891)
    rates = RateLimits(7.0, 1, clock)
    for _ in range(50):
        assert rates.allow("ann") == 0.0
        clock.now += rates.allow("ann")


def test_one_key_does_not_use_up_another() -> None:
    rates = RateLimits(1.0, 1, Clock())
    assert rates.allow("ann") == 0.0
    assert rates.allow("ann") > 0.0
    assert rates.allow("bob") == 0.0


def test_a_refused_request_costs_nothing() -> None:
    clock = Clock()
    rates = RateLimits(1.0, 1, clock)
    rates.allow("ann")
    waits = [rates.allow("ann") for _ in range(100)]
    assert max(waits) == pytest.approx(1.0)
    clock.now += 1.0
    assert rates.allow("ann") == 0.0


@given(
    st.floats(0.5, 100.0),
    st.integers(1, 20),
    st.lists(st.floats(0.0, 0.5), min_size=1, max_size=200),
)
def test_no_more_than_the_burst_and_the_rate_is_ever_let_in(per_second: float, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    rates = RateLimits(per_second, burst, clock)
    let_in = 0
    for pause in pauses:
        clock.now += pause
        let_in += rates.allow("ann") == 0.0
    assert let_in <= burst + per_second * sum(pauses) + 1e-3


def test_many_keys_need_bounded_memory() -> None:
    rates = RateLimits(1.0, 1, Clock())
    for number in range(20_000):
        rates.allow(str(number))
    assert len(rates._whole_at) == 10_000
    assert rates.allow("19999") > 0.0


def test_threads_together_get_no_more_than_the_burst() -> None:
    rates = RateLimits(1.0, 50, Clock())
    with ThreadPoolExecutor(8) as pool:
        allowed = list(pool.map(lambda _: rates.allow("ann"), range(400)))
    assert allowed.count(0.0) == 50
