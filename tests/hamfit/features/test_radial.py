from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import radial_oracle as oracle
from hamfit.errors import FeatureError
from hamfit.features.radial import InputMap, RadialFeatures, Taper, map_slope_over_r, map_value

INFINITE = np.full(3, np.inf)
FINITE = np.array([1.9, 1.6, 1.3])
DISTANCES = np.array([0.41, 0.83, 0.97, 1.11, 1.29])

CASES = {
    "no cutoff": oracle.random_radial(INFINITE, taper="shift"),
    "no cutoff, no links": oracle.random_radial(INFINITE, taper="shift", links=False),
    "smooth cutoff": oracle.random_radial(FINITE),
    "hard cutoff": oracle.random_radial(FINITE, taper="shift"),
    "hard cutoff, no links": oracle.random_radial(FINITE, taper="shift", links=False),
    "one feature": oracle.random_radial(FINITE, n=1),
}
each_case = pytest.mark.parametrize("radial", CASES.values(), ids=CASES.keys())


@each_case
def test_values_equal_the_definition(radial: RadialFeatures) -> None:
    for c in range(3):
        expected = [[oracle.value(radial, c, k, r) for k in range(radial.per_channel)] for r in DISTANCES]
        np.testing.assert_allclose(radial.values(c, DISTANCES), expected, rtol=1e-12, atol=1e-14)


@each_case
def test_slopes_are_derivatives_of_the_values(radial: RadialFeatures) -> None:
    for c in range(3):
        expected = np.array([[oracle.slope(radial, c, k, r) / r for k in range(radial.per_channel)] for r in DISTANCES])
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(radial.slopes_over_r(c, DISTANCES), expected, atol=1e-8 * scale)


@each_case
def test_contraction_equals_values_and_slopes_times_theta(radial: RadialFeatures) -> None:
    rng = np.random.default_rng(3)
    theta = rng.normal(size=radial.n_columns)
    r = rng.uniform(0.4, 1.3, 17)
    channel = rng.integers(0, 3, 17)
    value, slope = radial.contract(r, channel, theta)
    for e in range(17):
        c = int(channel[e])
        part = theta[radial.columns(c)]
        assert value[e] == pytest.approx(float((radial.values(c, r[e : e + 1]) @ part)[0]), rel=1e-13)
        assert slope[e] == pytest.approx(float((radial.slopes_over_r(c, r[e : e + 1]) @ part)[0]), rel=1e-13)


@pytest.mark.parametrize("taper", ["smooth", "shift"])
def test_features_are_zero_at_the_cutoff(taper: Taper) -> None:
    radial = oracle.random_radial(FINITE, taper=taper)
    for c, cutoff in enumerate(FINITE):
        assert np.abs(radial.values(c, np.array([cutoff]))).max() < 1e-15
        slopes = np.abs(radial.slopes_over_r(c, np.array([cutoff])))
        # smooth features end with zero force, shifted ones with whatever force they have
        assert slopes.max() < 1e-15 if taper == "smooth" else slopes.max() > 1e-3


def test_the_links_are_the_scaled_input_and_its_square() -> None:
    radial = oracle.random_radial(INFINITE, taper="shift")
    for c in range(3):
        x = radial.scaled(c, DISTANCES)
        np.testing.assert_array_equal(radial.values(c, DISTANCES)[:, -2:], np.column_stack([x, x * x]))


@given(r=st.floats(0.05, 50.0), input_map=st.sampled_from(("r", "1/r", "r2")))
def test_slope_of_every_map_is_the_derivative_of_its_value(r: float, input_map: InputMap) -> None:
    h = 1e-4 * r
    points = np.array([r - h, r + h])
    down, up = map_value(input_map, points)
    expected = (up - down) / (2.0 * h) / r
    got = map_slope_over_r(input_map, np.array([r]))[0]
    assert got == pytest.approx(expected, rel=1e-6)


def test_squared_distance_has_a_finite_slope_at_zero() -> None:
    radial = oracle.random_radial(INFINITE, maps=("r2",), taper="shift")
    assert np.all(np.isfinite(radial.slopes_over_r(0, np.zeros(1))))


def test_no_distances_give_empty_answers_of_the_right_width() -> None:
    radial = CASES["smooth cutoff"]
    nothing = np.empty(0)
    assert radial.values(0, nothing).shape == (0, radial.per_channel)
    assert radial.slopes_over_r(0, nothing).shape == (0, radial.per_channel)
    value, slope = radial.contract(nothing, np.empty(0, dtype=np.int64), np.ones(radial.n_columns))
    assert value.shape == slope.shape == (0,)


@each_case
def test_the_store_gives_the_same_features_bit_for_bit(radial: RadialFeatures) -> None:
    attrs, arrays = radial.to_store()
    again = RadialFeatures.from_store(json.loads(json.dumps(attrs)), arrays)
    for c in range(3):
        assert again.values(c, DISTANCES).tobytes() == radial.values(c, DISTANCES).tobytes()
        assert again.slopes_over_r(c, DISTANCES).tobytes() == radial.slopes_over_r(c, DISTANCES).tobytes()


def test_weights_of_another_shape_are_refused() -> None:
    radial = CASES["no cutoff"]
    with pytest.raises(FeatureError, match="do not fit 3 channels"):
        replace(radial, weights=radial.weights[:2])
    with pytest.raises(FeatureError, match="do not fit 3 channels"):
        replace(radial, biases=radial.biases[:, :1])


def test_an_empty_range_is_refused() -> None:
    radial = CASES["no cutoff"]
    with pytest.raises(FeatureError, match="too few distinct distances"):
        replace(radial, high=radial.low)
