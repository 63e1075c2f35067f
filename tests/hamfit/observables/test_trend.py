from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from hamfit.observables.trend import Trend, combined_trend, linear_trend

TIME = np.linspace(3.0, 8.0, 400)


def test_a_straight_line_has_its_slope_and_no_error() -> None:
    trend = linear_trend(TIME, 2.0 - 0.7 * TIME)
    assert trend is not None
    assert trend.slope == pytest.approx(-0.7, rel=1e-12)
    assert trend.standard_error < 1e-12
    assert trend.is_significant


def test_a_constant_has_no_trend() -> None:
    trend = linear_trend(TIME, np.full(400, 0.1))
    assert trend is not None
    assert (trend.slope, trend.in_errors, trend.p_value) == (0.0, 0.0, 1.0)


def test_oscillations_are_no_trend_and_hide_none() -> None:
    wave = np.sin(40.0 * TIME)
    still = linear_trend(TIME, wave)
    drifting = linear_trend(TIME, wave + 0.2 * TIME)
    assert still is not None
    assert drifting is not None
    assert not still.is_significant
    assert drifting.is_significant
    assert drifting.slope == pytest.approx(0.2, abs=3 * drifting.standard_error)


def test_the_error_is_that_of_the_line_through_the_blocks() -> None:
    series = np.random.default_rng(1).normal(size=400)
    trend = linear_trend(TIME, series)
    assert trend is not None
    x, y = TIME.reshape(20, 20).mean(axis=1), series.reshape(20, 20).mean(axis=1)
    coefficients, covariance = np.polyfit(x, y, 1, cov=True)
    assert trend.slope == pytest.approx(coefficients[0], rel=1e-10)
    assert trend.standard_error == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-10)
    assert (trend.n_blocks, trend.freedom) == (20, 18)
    assert trend.p_value == pytest.approx(2 * student.sf(abs(trend.in_errors), 18), rel=1e-10)


def test_correlated_noise_raises_few_false_alarms() -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(300):
        noise = np.convolve(rng.normal(size=4010), np.ones(11), mode="valid")
        trend = linear_trend(np.arange(4000.0), noise)
        assert trend is not None
        alarms += trend.p_value < 0.1
    # 30 expected, standard deviation 5
    assert 15 <= alarms <= 45


def test_independent_series_are_combined_by_their_scatter() -> None:
    trends = [Trend(slope, 1.0, 9, 7) for slope in (1.0, 2.0, 6.0)]
    both = combined_trend(trends)
    assert both is not None
    assert both.slope == pytest.approx(3.0)
    assert both.standard_error == pytest.approx(np.std([1, 2, 6], ddof=1) / np.sqrt(3))
    assert both.freedom == 2
    assert combined_trend(trends[:2]) is None


def test_too_few_or_infinite_values_have_no_trend() -> None:
    assert linear_trend(TIME[:3], TIME[:3]) is None
    assert linear_trend(TIME, np.where(TIME > 7.0, np.inf, TIME)) is None
