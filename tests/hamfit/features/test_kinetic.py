from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import radial_oracle as oracle
from asking import energy_of, features_of, gradient_of, rows_of
from hamfit.errors import DataError
from hamfit.features.kinetic import KineticBlock
from worlds import CASES, Case, everyone, moved

each_case = pytest.mark.parametrize("case", CASES[:4], ids=lambda c: c.name)


def block_of(case: Case) -> KineticBlock:
    radial = oracle.random_radial(np.full(case.n_species, np.inf), maps=("r2",), taper="shift")
    return KineticBlock(radial, ("A", "B")[: case.n_species])


@each_case
def test_features_equal_the_loop_over_particles(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    np.testing.assert_allclose(features_of(block, frame), oracle.pooled_momenta(block.radial, frame), rtol=1e-12)


@each_case
def test_rows_are_derivatives_with_respect_to_the_momenta(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    rows = rows_of(block, frame).reshape(case.n, case.dim, -1)
    h = 1e-3
    for i in range(case.n):
        for axis in range(case.dim):
            f = {m: oracle.pooled_momenta(block.radial, moved(frame, i, axis, m * h, "p")) for m in (-2, -1, 1, 2)}
            expected = (f[-2] - 8.0 * f[-1] + 8.0 * f[1] - f[2]) / (12.0 * h)
            np.testing.assert_allclose(rows[i, axis], expected, atol=1e-8 * np.abs(rows).max())


@each_case
def test_gradient_and_energy_are_rows_and_features_times_theta(case: Case) -> None:
    frame = case.frame()
    block = block_of(case)
    theta = np.random.default_rng(3).normal(size=block.n_columns)
    gradient = gradient_of(block, frame, theta).reshape(-1)
    np.testing.assert_allclose(gradient, rows_of(block, frame) @ theta, rtol=1e-11, atol=1e-12)
    assert energy_of(block, frame, theta) == pytest.approx(float(features_of(block, frame) @ theta), rel=1e-12)


def test_the_first_direct_link_alone_is_the_kinetic_energy_of_free_particles() -> None:
    frame = CASES[2].frame()
    assert frame.p is not None
    assert frame.qdot is not None
    block = block_of(CASES[2])
    theta = np.zeros(block.n_columns)
    for species, mass in enumerate((1.7, 2.9)):
        span = block.radial.high[species] - block.radial.low[species]
        theta[block.radial.columns(species).stop - 2] = 0.5 / mass * span
    np.testing.assert_allclose(gradient_of(block, frame, theta), frame.qdot, rtol=1e-14)


def test_a_particle_at_rest_has_velocity_zero() -> None:
    frame = CASES[2].frame()
    resting = replace(frame, p=np.zeros_like(frame.q))
    block = block_of(CASES[2])
    assert not rows_of(block, resting, everyone(frame)).any()
    assert np.all(np.isfinite(features_of(block, resting)))


def test_missing_momenta_are_refused() -> None:
    frame = replace(CASES[0].frame(), p=None)
    block = block_of(CASES[0])
    with pytest.raises(DataError, match="no momenta"):
        features_of(block, frame)
    with pytest.raises(DataError, match="give velocities, or leave it out"):
        block.prepare(frame)


def test_the_store_gives_the_same_block_bit_for_bit() -> None:
    frame = CASES[1].frame()
    block = block_of(CASES[1])
    attrs, arrays = block.to_store()
    again = KineticBlock.from_store(json.loads(json.dumps(attrs)), arrays)
    assert again.graph.channel_labels == block.graph.channel_labels
    assert rows_of(again, frame).tobytes() == rows_of(block, frame).tobytes()
