from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from hamfit.errors import ModelError, SpecError
from hamfit.integrators import INTEGRATORS
from hamfit.rollouts.stepsize import STEP_FRACTIONS, propose_dt, stiffest_ahead, stiffest_frequency
from hamfit.types import FloatArray


def chain(n: int, stiffness: float) -> Callable[[FloatArray], FloatArray]:
    """Forces of an open chain of linear springs along each axis."""

    def forces(q: FloatArray) -> FloatArray:
        pull = stiffness * np.diff(q, axis=0)
        out = np.zeros_like(q)
        out[:-1] += pull
        out[1:] -= pull
        return out

    return forces


def lennard_jones(q: FloatArray) -> FloatArray:
    """Forces of an open cluster."""
    vectors = q[:, None] - q[None]
    r2 = np.sum(vectors**2, axis=-1) + np.eye(len(q))
    push = 24.0 * (2.0 * r2**-6 - r2**-3) / r2
    np.fill_diagonal(push, 0.0)
    return np.asarray(np.sum(push[..., None] * vectors, axis=1))


def lennard_jones_hessian(q: FloatArray) -> FloatArray:
    """d2V/dq dq of the cluster, (3N, 3N), from V'(r) and V''(r) of each pair."""
    n, d = q.shape
    out = np.zeros((n, d, n, d))
    for i, j in itertools.permutations(range(n), 2):
        vector = q[i] - q[j]
        r = float(np.linalg.norm(vector))
        slope = -24.0 * (2.0 * r**-13 - r**-7)
        bend = 24.0 * (26.0 * r**-14 - 7.0 * r**-8)
        along = np.outer(vector, vector) / r**2
        block = bend * along + slope / r * (np.eye(d) - along)
        out[i, :, i, :] += block
        out[i, :, j, :] -= block
    return out.reshape(n * d, n * d)


def cluster(n: int, seed: int) -> FloatArray:
    """Particles no nearer than 0.95 to each other."""
    rng = np.random.default_rng(seed)
    chosen: list[FloatArray] = []
    while len(chosen) < n:
        point = rng.uniform(0.0, 1.15 * n ** (1 / 3), size=3)
        if all(np.linalg.norm(point - other) > 0.95 for other in chosen):
            chosen.append(point)
    return np.array(chosen)


def crystal() -> FloatArray:
    """27 particles of a cubic crystal near its equilibrium."""
    return 1.1 * np.array(list(itertools.product(range(3), repeat=3)), dtype=float)


@pytest.mark.parametrize("n", [2, 7, 61])
@pytest.mark.parametrize("dim", [1, 3])
def test_a_chain_of_equal_masses_has_its_textbook_frequency(n: int, dim: int) -> None:
    q = np.zeros((n, dim))
    q[:, 0] = 1.3 * np.arange(n)
    exact = 2.0 * np.sqrt(3.0 / 2.0) * np.cos(np.pi / (2 * n))
    found = stiffest_frequency(chain(n, 3.0), q, np.full(n, 0.5), seed=0)
    assert found == pytest.approx(exact, rel=6e-3)


def test_a_chain_of_unequal_masses_has_the_frequency_of_its_dense_matrix() -> None:
    n = 41
    inverse_mass = 1.0 / np.array([1.7, 2.9, 5.3])[np.arange(n) % 3]
    stiffness = 3.0 * (np.diag(np.r_[1.0, np.full(n - 2, 2.0), 1.0]) - np.eye(n, k=1) - np.eye(n, k=-1))
    root = np.sqrt(inverse_mass)
    exact = np.sqrt(np.linalg.eigvalsh(root[:, None] * stiffness * root).max())
    q = np.arange(n, dtype=float)[:, None]
    assert stiffest_frequency(chain(n, 3.0), q, inverse_mass, seed=0) == pytest.approx(exact, rel=6e-3)


@pytest.mark.parametrize("n", [2, 9, 38])
def test_a_cluster_has_the_frequency_of_its_analytic_hessian(n: int) -> None:
    q, inverse_mass = cluster(n, seed=n), 1.0 / (1.0 + np.arange(n) % 3)
    root = np.repeat(np.sqrt(inverse_mass), 3)
    eigenvalues = np.linalg.eigvalsh(root[:, None] * lennard_jones_hessian(q) * root)
    exact = np.sqrt(np.abs(eigenvalues).max())
    assert stiffest_frequency(lennard_jones, q, inverse_mass, seed=0) == pytest.approx(exact, rel=6e-3)


def test_the_place_of_the_system_does_not_matter() -> None:
    q = cluster(20, seed=3)
    here, there = (stiffest_frequency(lennard_jones, q + shift, np.ones(20), seed=0) for shift in (0.0, 1e4))
    assert here == pytest.approx(there, rel=1e-3)


def test_an_unstable_direction_counts_by_its_rate() -> None:
    # Two attracting bodies at distance r: lambda = -4 G m / r^3 along the line, +2 G m / r^3 across it.
    def gravity(q: FloatArray) -> FloatArray:
        vector = q[0] - q[1]
        pull = -vector / np.linalg.norm(vector) ** 3
        return np.array([pull, -pull])

    q = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    assert stiffest_frequency(gravity, q, np.ones(2), seed=0) == pytest.approx(np.sqrt(4.0 / 8.0), rel=1e-4)


def test_one_particle_in_a_trap_has_a_frequency() -> None:
    assert stiffest_frequency(lambda q: -7.0 * q, np.ones((1, 2)), np.array([0.5]), seed=0) == pytest.approx(
        np.sqrt(3.5), rel=1e-6
    )


@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize("pull", [0.0, 9.81])
def test_particles_whose_forces_are_constant_have_no_frequency_and_no_step(n: int, pull: float) -> None:
    q = np.random.default_rng(0).normal(size=(n, 3))
    frequency = stiffest_frequency(lambda q: np.full_like(q, -pull), q, np.ones(n), seed=0)
    assert frequency == 0.0
    with pytest.raises(SpecError, match="no step size follows: give dt"):
        propose_dt(frequency, 2)


def test_a_force_that_jumps_at_its_cutoff_does_not_pass_for_a_wall() -> None:
    # Pairs at 2.5, the cutoff, where the force jumps by 0.039: a small difference would take it for stiffness.
    def cut(q: FloatArray) -> FloatArray:
        vectors = q[:, None] - q[None]
        r2 = np.sum(vectors**2, axis=-1) + np.eye(len(q))
        push = np.where(r2 < 6.25, 24.0 * (2.0 * r2**-6 - r2**-3) / r2, 0.0)
        np.fill_diagonal(push, 0.0)
        return np.asarray(np.sum(push[..., None] * vectors, axis=1))

    q = 1.25 * np.array(list(itertools.product(range(4), repeat=3)), dtype=float)
    q[:, 0] *= 1.1 / 1.25
    whole = stiffest_frequency(lennard_jones, q, np.ones(64), seed=0)
    assert stiffest_frequency(cut, q, np.ones(64), seed=0) == pytest.approx(whole, rel=0.2)


def test_equal_seeds_give_equal_bits() -> None:
    q = cluster(30, seed=1)
    p = np.random.default_rng(1).normal(size=q.shape)
    first, again, other = (stiffest_frequency(lennard_jones, q, np.ones(30), seed=s) for s in (4, 4, 5))
    assert first == again
    assert first == pytest.approx(other, rel=6e-3)
    ahead = [stiffest_ahead(lennard_jones, q, p, np.ones(30), seed=4) for _ in range(2)]
    assert ahead[0] == ahead[1]


def test_states_whose_forces_are_not_finite_are_refused() -> None:
    with pytest.raises(ModelError, match="forces around the initial state are not finite"):
        stiffest_frequency(lambda q: np.full_like(q, np.nan), np.ones((3, 2)), np.ones(3), seed=0)


@pytest.mark.parametrize("temperature", [0.5, 8.0])
def test_a_hot_crystal_is_as_stiff_as_the_walls_its_particles_will_climb(temperature: float) -> None:
    q = crystal()
    p = np.sqrt(temperature) * np.random.default_rng(7).normal(size=q.shape)
    start = stiffest_frequency(lennard_jones, q, np.ones(27), seed=0)
    ahead = stiffest_ahead(lennard_jones, q, p, np.ones(27), seed=0)
    seen = []
    for _ in range(60):
        q, p = INTEGRATORS["verlet"].advance(q, p, 0.0005, 20, Newtonian())
        seen.append(stiffest_frequency(lennard_jones, q, np.ones(27), seed=0))
    assert ahead > 1.2 * start
    assert max(seen) < 1.35 * ahead


def test_a_particle_that_flies_at_a_wall_is_seen_to_meet_it() -> None:
    # V = x^-12: at the turning point x^-12 = p^2 / 2, and lambda = 156 x^-14.
    p = np.array([[-1.5]])
    turning = (p[0, 0] ** 2 / 2) ** (-1 / 12)
    ahead = stiffest_ahead(lambda q: 12.0 * q**-13, np.array([[2.2]]), p, np.ones(1), seed=0)
    assert ahead == pytest.approx(np.sqrt(156.0 * turning**-14), rel=0.1)


def test_particles_at_rest_without_forces_need_no_exploration() -> None:
    assert stiffest_ahead(np.zeros_like, np.ones((2, 3)), np.zeros((2, 3)), np.ones(2), seed=0) == 0.0


def test_an_exploration_ends_where_the_forces_do() -> None:
    def walled(q: FloatArray) -> FloatArray:
        return np.where(q > 0.5, -3.0 * q, np.nan)

    ahead = stiffest_ahead(walled, np.array([[1.0]]), np.array([[-2.0]]), np.ones(1), seed=0)
    assert ahead == pytest.approx(np.sqrt(3.0), rel=1e-6)


class Newtonian:
    def force(self, q: FloatArray) -> FloatArray:
        return lennard_jones(q)

    def velocity(self, p: FloatArray) -> FloatArray:
        return p


def total_energy(q: FloatArray, p: FloatArray) -> float:
    r2 = np.sum((q[:, None] - q[None]) ** 2, axis=-1)[np.triu_indices(len(q), 1)]
    return float(0.5 * np.sum(p**2) + np.sum(4.0 * (r2**-6 - r2**-3)))


@pytest.mark.parametrize(
    ("name", "bound"),
    [("verlet", 1e-3), ("yoshida4", 2e-5), ("kahanli6", 2e-5), ("kahanli8", 2e-5), ("midpoint", 1e-3)],
)
def test_the_proposed_step_keeps_the_energy_of_a_hot_crystal(name: str, bound: float) -> None:
    method = INTEGRATORS[name]
    q = crystal()
    p = np.random.default_rng(11).normal(size=q.shape)
    start, kinetic = total_energy(q, p), 0.5 * float(np.sum(p**2))
    dt = propose_dt(stiffest_ahead(lennard_jones, q, p, np.ones(27), seed=0), method.order)
    errors = []
    for _ in range(60):
        q, p = method.advance(q, p, dt, max(1, round(0.05 / dt)), Newtonian())
        errors.append(total_energy(q, p) - start)
    assert np.abs(errors).max() / kinetic < bound


@pytest.mark.parametrize("order", STEP_FRACTIONS)
def test_the_step_is_the_orders_fraction_of_the_fastest_rate(order: int) -> None:
    assert propose_dt(50.0, order) == STEP_FRACTIONS[order] / 50.0


@pytest.mark.parametrize("frequency", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_gives_no_step(frequency: float) -> None:
    with pytest.raises(SpecError, match="give dt"):
        propose_dt(frequency, 4)
