from __future__ import annotations

import json
import math

import numpy as np
import pytest

from asking import energy_of, features_of, gradient_of, rows_of
from hamfit.errors import DataError
from hamfit.features.field import FieldBlock
from hamfit.frames import Frame
from hamfit.types import FloatArray
from worlds import CASES, Case, moved

OPEN = CASES[:3]
each_case = pytest.mark.parametrize("case", OPEN, ids=lambda c: c.name)


def block_of(case: Case, sampler: str = "elm") -> FieldBlock:
    frames = [case.frame(seed) for seed in (1, 2)]
    return FieldBlock.sample(frames, n_features=5, sampler=sampler, rng=np.random.default_rng(3))


def slow_features(block: FieldBlock, frame: Frame) -> FloatArray:
    out = np.zeros((block.n_species, block.per_species))
    n = block.weights.shape[0]
    for i in range(frame.n_particles):
        x = [(frame.q[i, a] - block.low[a]) / (block.high[a] - block.low[a]) for a in range(frame.dim)]
        for k in range(n):
            argument = block.biases[k] + sum(block.weights[k, a] * x[a] for a in range(frame.dim))
            out[frame.species[i], k] += math.tanh(float(argument))
        products = [x[a] * x[b] for a in range(frame.dim) for b in range(a, frame.dim)]
        out[frame.species[i], n:] += x + products
    return out.reshape(-1)


@each_case
@pytest.mark.parametrize("sampler", ["elm", "swim"])
def test_features_equal_the_loop_over_particles(case: Case, sampler: str) -> None:
    frame = case.frame()
    block = block_of(case, sampler)
    np.testing.assert_allclose(features_of(block, frame), slow_features(block, frame), rtol=1e-12, atol=1e-12)


@each_case
def test_rows_are_the_derivatives_of_the_features(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    rows = rows_of(block, frame).reshape(case.n, case.dim, -1)
    h = 1e-3
    for i in range(case.n):
        for axis in range(case.dim):
            f = {m: slow_features(block, moved(frame, i, axis, m * h)) for m in (-2, -1, 1, 2)}
            expected = (f[-2] - 8.0 * f[-1] + 8.0 * f[1] - f[2]) / (12.0 * h)
            np.testing.assert_allclose(rows[i, axis], expected, atol=1e-7 * np.abs(rows).max())


@each_case
def test_gradient_and_energy_are_rows_and_features_times_theta(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    theta = np.random.default_rng(3).normal(size=block.n_columns)
    gradient = gradient_of(block, frame, theta).reshape(-1)
    np.testing.assert_allclose(gradient, rows_of(block, frame) @ theta, rtol=1e-11, atol=1e-12)
    assert energy_of(block, frame, theta) == pytest.approx(float(slow_features(block, frame) @ theta), rel=1e-12)


def test_rows_of_a_panel_are_those_of_the_whole_frame() -> None:
    case = OPEN[2]
    frame = case.frame()
    block = block_of(case)
    whole = rows_of(block, frame).reshape(case.n, -1)
    centres = np.array([4, 1], dtype=np.int64)
    np.testing.assert_array_equal(rows_of(block, frame, centres).reshape(2, -1), whole[centres])


def test_a_periodic_frame_is_refused_everywhere() -> None:
    case = CASES[5]
    frame = case.frame()
    block = block_of(OPEN[2])
    theta = np.ones(block.n_columns)
    for ask in (
        lambda: rows_of(block, frame),
        lambda: features_of(block, frame),
        lambda: gradient_of(block, frame, theta),
        lambda: energy_of(block, frame, theta),
        lambda: FieldBlock.sample([frame], n_features=3, sampler="elm", rng=np.random.default_rng(0)),
    ):
        with pytest.raises(DataError, match="absolute positions"):
            ask()


def test_particles_that_never_leave_a_plane_still_give_finite_features() -> None:
    frame = OPEN[1].frame()
    flat = moved(frame, 0, 0, 0.0)
    flat.q[:, 1] = 0.25
    block = FieldBlock.sample([flat], n_features=3, sampler="elm", rng=np.random.default_rng(0))
    assert np.all(np.isfinite(rows_of(block, flat)))


def test_the_store_gives_the_same_block_bit_for_bit() -> None:
    frame = OPEN[2].frame()
    block = block_of(OPEN[2])
    attrs, arrays = block.to_store()
    again = FieldBlock.from_store(json.loads(json.dumps(attrs)), arrays)
    assert rows_of(again, frame).tobytes() == rows_of(block, frame).tobytes()
