"""Pairs of a fixed list against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hamfit.features.functions import PairFunctions
from hamfit.features.radial import RadialFeatures
from hamfit.graphs import BondGraph
from hamfit.inference.pair import compile_pair
from hamfit.kernels.lanes import OUT_ENERGY, OUT_VIRIAL, OUT_WORDS, VIRIAL_AXES
from hamfit.kernels.listed import Listed, advance_listed, listed_forces
from hamfit.types import FloatArray
from radial_oracle import random_radial, slope, value

EXTENTS = np.array([[0.4, 2.0], [0.5, 2.5], [0.45, 2.2]])
LATTICE = np.array([[4.0, 0.0, 0.0], [-1.1, 3.8, 0.0], [0.7, -0.9, 4.2]])


def law_of(n_channels: int) -> tuple[RadialFeatures, FloatArray]:
    radial = random_radial(np.full(n_channels, np.inf))
    return radial, np.random.default_rng(5).normal(size=radial.n_columns)


def listed(radial: RadialFeatures, theta: FloatArray, *, bonds: FloatArray | None, periodic: bool = False) -> Listed:
    pair = PairFunctions(radial, BondGraph(("x",) * radial.n_channels))
    tables = compile_pair(pair, theta, EXTENTS[: radial.n_channels], np.zeros(1)).kernel.tables
    lattice = LATTICE if periodic else np.eye(3)
    inverse = np.linalg.inv(lattice)
    rows = np.zeros((0, 2), dtype=np.int64) if bonds is None else np.array(bonds, dtype=np.int64)
    return Listed(
        rows,
        np.arange(len(rows), dtype=np.int64) % radial.n_channels,
        np.array([0, 1, 0, 1, 1, 0, 1], dtype=np.int64),
        np.array([[0, 1], [1, 2]]) if bonds is None else np.zeros((0, 0), dtype=np.int64),
        lattice,
        inverse,
        1.0 / np.sqrt((inverse**2).sum(axis=0)),
        np.full(3, int(periodic), dtype=np.int64),
        EXTENTS[: radial.n_channels].copy(),
        tables,
    )


def pairs(list_: Listed, q: FloatArray) -> list[tuple[int, int, int, FloatArray]]:
    """(i, j, channel, vector) by loops over everything."""
    if list_.channels.size:
        table = {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}
        return [
            (i, j, table[int(list_.species[i]), int(list_.species[j])], q[i] - q[j])
            for i, j in itertools.combinations(range(len(q)), 2)
        ]
    found = []
    shifts = [np.zeros(3)]
    if list_.periodic.any():
        shifts = [np.array(box) @ LATTICE for box in itertools.product(range(-4, 5), repeat=3)]
    for number, (i, j) in enumerate(list_.bonds.tolist()):
        d = min((q[i] - q[j] - shift for shift in shifts), key=lambda v: float(v @ v))
        found.append((i, j, number % len(EXTENTS), d))
    return found


BONDS = np.array([[0, 1], [1, 2], [5, 2], [3, 6], [6, 0], [4, 3]])
KINDS = ("bonds", "periodic bonds", "all pairs")


def system(kind: str) -> tuple[RadialFeatures, FloatArray, Listed, FloatArray]:
    radial, theta = law_of(3)
    q = np.random.default_rng(9).uniform(0.0, 3.0, (7, 3))
    return (
        radial,
        theta,
        listed(radial, theta, bonds=None if kind == "all pairs" else BONDS, periodic=kind == "periodic bonds"),
        q,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_forces_energy_and_virial_are_sums_over_the_list(kind: str) -> None:
    radial, theta, list_, q = system(kind)
    force, out = np.full((7, 3), np.nan), np.full(OUT_WORDS + 2, np.nan)
    listed_forces(q, list_, force, out)
    expected, energy, virial, outside = np.zeros((7, 3)), 0.0, np.zeros((3, 3)), 0
    for i, j, c, d in pairs(list_, q):
        r = float(np.linalg.norm(d))
        part = theta[radial.columns(c)]
        pull = -sum(part[k] * slope(radial, c, k, r) for k in range(radial.per_channel)) / r
        energy += sum(part[k] * value(radial, c, k, r) for k in range(radial.per_channel))
        expected[i] += pull * d
        expected[j] -= pull * d
        virial += pull * np.outer(d, d)
        outside += not EXTENTS[c, 0] <= r <= EXTENTS[c, 1]
    np.testing.assert_allclose(force, expected, rtol=1e-8, atol=1e-9)
    assert out[OUT_ENERGY] == pytest.approx(energy, rel=1e-12, abs=1e-11)
    np.testing.assert_allclose(out[OUT_VIRIAL : OUT_VIRIAL + 6], [virial[a] for a in VIRIAL_AXES], atol=1e-8)
    assert out[OUT_WORDS] == outside
    assert out[OUT_WORDS + 1] == len(pairs(list_, q))


@pytest.mark.parametrize("kind", KINDS)
def test_forces_are_the_derivative_of_the_energy(kind: str) -> None:
    _, _, list_, q = system(kind)
    force, out, h = np.zeros((7, 3)), np.zeros(OUT_WORDS + 2), 1e-4
    listed_forces(q, list_, force, out)
    size = float(np.abs(force).max())

    def energy(moved: FloatArray) -> float:
        listed_forces(moved, list_, np.zeros((7, 3)), out)
        return float(out[OUT_ENERGY])

    for i, axis in itertools.product(range(7), range(3)):
        step = np.zeros((7, 3))
        step[i, axis] = h
        e = {k: energy(q + k * step) for k in (-2, -1, 1, 2)}
        slope_ = (e[-2] - 8.0 * e[-1] + 8.0 * e[1] - e[2]) / (12.0 * h)
        assert abs(force[i, axis] + slope_) < 1e-7 * size


@pytest.mark.parametrize("kind", KINDS)
def test_two_at_one_place_push_each_other_nowhere(kind: str) -> None:
    _, _, list_, q = system(kind)
    q[1] = q[0]
    force, out = np.zeros((7, 3)), np.zeros(OUT_WORDS + 2)
    listed_forces(q, list_, force, out)
    assert np.isfinite(force).all()
    assert np.isfinite(out).all()
    assert out[OUT_WORDS + 1] == len(pairs(list_, q)) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_velocity_verlet(kind: str) -> None:
    _, _, list_, q = system(kind)
    rng, dt = np.random.default_rng(4), 1e-3
    p, rate = rng.normal(size=(7, 3)), rng.uniform(0.5, 1.5, 7)
    force, out = np.zeros((7, 3)), np.zeros(OUT_WORDS + 2)
    listed_forces(q, list_, force, out)
    x, y, f = q.copy(), p.copy(), force.copy()
    halves, whole = np.array([0.5 * dt, 0.5 * dt]), np.array([dt])
    assert advance_listed(q, p, rate, list_, force, halves, whole, 20, np.inf) == 20
    for _ in range(20):
        y += 0.5 * dt * f
        x += dt * rate[:, None] * y
        listed_forces(x, list_, f, out)
        y += 0.5 * dt * f
    np.testing.assert_allclose(q, x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(p, y, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(advance_listed(q, p, rate, list_, force, halves, whole, 0, np.inf), 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strange", [np.nan, np.inf, 1e30])
def test_a_particle_that_is_lost_ends_it_at_once(kind: str, strange: float) -> None:
    _, _, list_, q = system(kind)
    p, rate, force = np.zeros((7, 3)), np.ones(7), np.zeros((7, 3))
    p[3, 1] = strange
    halves, whole = np.array([0.5, 0.5]), np.array([1.0])
    assert advance_listed(q, p, rate, list_, force, halves, whole, 10**6, 1e12) == 0
