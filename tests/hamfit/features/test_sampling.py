from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from swimnetworks import Dense

from hamfit.errors import FeatureError
from hamfit.features.sampling import (
    ELM_CENTRES,
    ELM_SCALE,
    SWIM_MIN_DISTANCE,
    sample_elm,
    sample_swim,
    swim_from_pairs,
)
from hamfit.types import FloatArray


def points_of(dim: int, m: int = 200, seed: int = 3) -> FloatArray:
    return np.random.default_rng(seed).uniform(size=(m, dim))


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_swim_gives_the_weights_of_the_reference_package_for_the_same_pairs(dim: int) -> None:
    points = points_of(dim)
    target = np.sin(7.0 * points).sum(axis=1, keepdims=True)
    reference = Dense(layer_width=64, activation="tanh", parameter_sampler="tanh", random_seed=11)
    reference.fit(points, target)
    weights, biases = swim_from_pairs(points[reference.idx_from], points[reference.idx_to])
    # the package multiplies directions by distances, whose rounding differs
    np.testing.assert_allclose(weights, reference.weights.T, rtol=1e-11)
    np.testing.assert_allclose(biases, reference.biases[0], rtol=1e-11, atol=1e-11)


@given(seed=st.integers(0, 2**31), dim=st.integers(1, 4))
def test_swim_features_are_minus_and_plus_one_half_at_their_pair(seed: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(size=(2, 7, dim))
    weights, biases = swim_from_pairs(first, second)
    at_first = np.tanh(np.einsum("kd,kd->k", weights, first) + biases)
    at_second = np.tanh(np.einsum("kd,kd->k", weights, second) + biases)
    scale = 1e-12 * np.maximum(1.0, np.abs(weights).sum(axis=1))
    assert np.all(np.abs(at_first + 0.5) < scale)
    assert np.all(np.abs(at_second - 0.5) < scale)


def test_elm_weights_are_normal_and_its_centres_reach_a_little_beyond_the_cube() -> None:
    weights, biases = sample_elm(4000, 1, np.random.default_rng(5))
    assert np.std(weights) == pytest.approx(ELM_SCALE, rel=0.05)
    assert abs(np.mean(weights)) < 0.05 * ELM_SCALE
    # uniform: the ends of the data need features that are steep beyond them
    centres = -biases / weights[:, 0]
    low, high = ELM_CENTRES
    width = high - low
    assert low <= centres.min() < low + 0.01 * width
    assert high - 0.01 * width < centres.max() <= high
    assert np.mean(centres) == pytest.approx(0.5 * (low + high), abs=0.02 * width)
    assert low < 0.0 < 1.0 < high
    assert sample_elm(3, 2, np.random.default_rng(5))[0].shape == (3, 2)


def steepness(points: FloatArray) -> FloatArray:
    """A step at 0.7 of the first coordinate."""
    return np.tanh(60.0 * (points[:, 0] - 0.7))


def middles(weights: FloatArray, biases: FloatArray) -> FloatArray:
    return -biases / weights[:, 0]


def test_gradient_weights_put_features_where_the_target_is_steep() -> None:
    points = points_of(1, m=2000)
    plain = middles(*sample_swim(points, 500, np.random.default_rng(7)))
    weighted = middles(*sample_swim(points, 500, np.random.default_rng(7), steepness))
    share = [float(np.mean(np.abs(m - 0.7) < 0.1)) for m in (plain, weighted)]
    assert share[1] > 2.0 * share[0]
    # the uniform share keeps flat regions covered
    assert np.count_nonzero(weighted < 0.4) > 5


def test_swim_uses_no_pair_closer_than_the_limit() -> None:
    weights, _ = sample_swim(points_of(1, m=3000), 400, np.random.default_rng(9))
    assert np.abs(weights).max() <= np.log(3.0) / SWIM_MIN_DISTANCE * (1.0 + 1e-12)


@pytest.mark.parametrize("target", [None, steepness])
def test_the_same_seed_gives_the_same_bits(target: Callable[[FloatArray], FloatArray] | None) -> None:
    draws = [sample_swim(points_of(2), 31, np.random.default_rng(13), target) for _ in range(2)]
    assert draws[0][0].tobytes() == draws[1][0].tobytes()
    assert draws[0][1].tobytes() == draws[1][1].tobytes()
    assert draws[0][0].shape == (31, 2)


def test_a_flat_target_falls_back_to_uniform_pairs() -> None:
    weights, biases = sample_swim(points_of(1), 50, np.random.default_rng(1), lambda x: np.zeros(x.shape[0]))
    assert np.all(np.isfinite(weights))
    assert np.all(np.isfinite(biases))


@pytest.mark.parametrize(("points", "reason"), [(np.zeros((1, 1)), "at least two"), (np.ones((9, 2)), "are alike")])
def test_points_that_give_no_pairs_are_refused(points: FloatArray, reason: str) -> None:
    with pytest.raises(FeatureError, match=reason):
        sample_swim(points, 4, np.random.default_rng(0))
