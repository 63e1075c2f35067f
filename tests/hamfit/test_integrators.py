from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np
import pytest

from hamfit.errors import SpecError
from hamfit.integrators import (
    INTEGRATORS,
    KAHAN_LI_6,
    KAHAN_LI_8,
    VERLET,
    YOSHIDA_4,
    Composition,
    Hamiltonian,
    integrator,
)
from hamfit.types import FloatArray

EXPLICIT = [name for name, method in INTEGRATORS.items() if isinstance(method, Composition)]


class HenonHeiles:
    """p^2/2 + q^2/2 + x^2 y - y^3/3 (Hénon and Heiles 1964), the two degrees of freedom in one row."""

    def force(self, q: FloatArray) -> FloatArray:
        x, y = q[0]
        return np.array([[-x - 2 * x * y, -y - x * x + y * y]])

    def velocity(self, p: FloatArray) -> FloatArray:
        return p

    def energy(self, q: FloatArray, p: FloatArray) -> float:
        x, y = q[0]
        return float(0.5 * np.sum(p**2) + 0.5 * (x * x + y * y) + x * x * y - y**3 / 3)


class Ring:
    """Five unequal masses on a closed ring of springs (r^2 - 1)^2 in the plane."""

    masses = np.array([1.0, 2.0, 3.0, 5.0, 7.0])[:, None]

    def force(self, q: FloatArray) -> FloatArray:
        bond = q - np.roll(q, -1, axis=0)
        pull = -4.0 * (np.sum(bond**2, axis=1, keepdims=True) - 1.0) * bond
        return pull - np.roll(pull, 1, axis=0)

    def velocity(self, p: FloatArray) -> FloatArray:
        return p / self.masses

    def energy(self, q: FloatArray, p: FloatArray) -> float:
        r2 = np.sum((q - np.roll(q, -1, axis=0)) ** 2, axis=1)
        return float(np.sum(p**2 / self.masses) / 2 + np.sum((r2 - 1.0) ** 2))


class DoublePendulum:
    """Two rods of length 1 with masses 1 at their ends, g = 10: H = p M(theta)^-1 p / 2 - 20 cos a - 10 cos b."""

    def rates(self, q: FloatArray, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        a, b = q[0]
        c, s = np.cos(a - b), np.sin(a - b)
        velocity = np.linalg.solve([[2.0, c], [c, 1.0]], p[0])
        # dM/da = -dM/db = [[0, -s], [-s, 0]], and d(M^-1) = -M^-1 dM M^-1
        twist = -s * velocity[0] * velocity[1]
        return velocity[None], np.array([[twist - 20.0 * np.sin(a), -twist - 10.0 * np.sin(b)]])

    def energy(self, q: FloatArray, p: FloatArray) -> float:
        a, b = q[0]
        mass = np.array([[2.0, np.cos(a - b)], [np.cos(a - b), 1.0]])
        return float(0.5 * p[0] @ np.linalg.solve(mass, p[0]) - 20.0 * np.cos(a) - 10.0 * np.cos(b))


@dataclass(frozen=True)
class Motion:
    """A Hamiltonian with a start, and steps in which rounding and higher orders stay out of sight."""

    hamiltonian: HenonHeiles | Ring | DoublePendulum
    q: FloatArray
    p: FloatArray
    time: float


def henon_heiles() -> Motion:
    return Motion(HenonHeiles(), np.array([[0.12, -0.3]]), np.array([[0.35, 0.17]]), 6.0)


def ring() -> Motion:
    angle = 2 * np.pi * np.arange(5) / 5
    q = 0.9 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    p = np.random.default_rng(3).normal(size=(5, 2))
    return Motion(Ring(), q, p, 3.0)


def pendulum() -> Motion:
    return Motion(DoublePendulum(), np.array([[0.7, -0.4]]), np.array([[0.3, 0.5]]), 1.0)


def motion_of(name: str) -> Motion:
    return pendulum() if name == "midpoint" else ring()


#: Steps for the coarser of the two runs from which the order is read.
STEPS = {"verlet": 200, "yoshida4": 200, "kahanli6": 60, "kahanli8": 40, "midpoint": 400}
#: A step at which each method is accurate and stable on its motion.
STEP = {"verlet": 0.02, "yoshida4": 0.02, "kahanli6": 0.05, "kahanli8": 0.08, "midpoint": 0.01}
every_method = pytest.mark.parametrize("name", INTEGRATORS)


def run(name: str, motion: Motion, dt: float, n_steps: int) -> FloatArray:
    return np.stack(INTEGRATORS[name].advance(motion.q, motion.p, dt, n_steps, motion.hamiltonian))


def observed_order(name: str, motion: Motion, exact: FloatArray) -> float:
    few = STEPS[name]
    errors = [np.abs(run(name, motion, motion.time / n, n) - exact).max() for n in (few, 2 * few)]
    return float(np.log2(errors[0] / errors[1]))


@pytest.mark.parametrize("make", [henon_heiles, ring])
@pytest.mark.parametrize("name", EXPLICIT)
def test_halving_the_step_shows_the_order(name: str, make) -> None:
    motion = make()
    exact = run("kahanli8", motion, motion.time / 1000, 1000)
    assert observed_order(name, motion, exact) == pytest.approx(INTEGRATORS[name].order, abs=0.15)


def test_the_midpoint_rule_has_order_two_where_q_and_p_do_not_separate() -> None:
    motion = pendulum()
    assert observed_order("midpoint", motion, runge_kutta(motion, 4000)) == pytest.approx(2.0, abs=0.15)


def runge_kutta(motion: Motion, n: int) -> FloatArray:
    """The classical method of order 4, which knows nothing of Hamiltonians."""
    assert isinstance(motion.hamiltonian, DoublePendulum)
    rates = motion.hamiltonian.rates
    z, dt = np.stack([motion.q, motion.p]), motion.time / n
    for _ in range(n):
        k1 = np.stack(rates(*z))
        k2 = np.stack(rates(*(z + 0.5 * dt * k1)))
        k3 = np.stack(rates(*(z + 0.5 * dt * k2)))
        k4 = np.stack(rates(*(z + dt * k3)))
        z = z + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return z


def test_the_rates_of_the_test_pendulum_are_the_derivatives_of_its_energy() -> None:
    motion = pendulum()
    assert isinstance(motion.hamiltonian, DoublePendulum)
    qdot, pdot = motion.hamiltonian.rates(motion.q, motion.p)
    h = 1e-6
    for axis in range(2):
        step = h * np.eye(2)[axis : axis + 1]
        energy = motion.hamiltonian.energy
        by_p = (energy(motion.q, motion.p + step) - energy(motion.q, motion.p - step)) / (2 * h)
        by_q = (energy(motion.q + step, motion.p) - energy(motion.q - step, motion.p)) / (2 * h)
        assert [qdot[0, axis], pdot[0, axis]] == pytest.approx([by_p, -by_q], abs=1e-8)


@every_method
def test_flipping_the_momenta_leads_back_to_the_start(name: str) -> None:
    motion = motion_of(name)
    q, p = run(name, motion, STEP[name], 50)
    back = INTEGRATORS[name].advance(q, -p, STEP[name], 50, motion.hamiltonian)
    assert np.abs(np.stack([back[0], -back[1]]) - np.stack([motion.q, motion.p])).max() < 2e-13


@every_method
def test_a_negative_step_leads_back_to_the_start(name: str) -> None:
    motion = motion_of(name)
    q, p = run(name, motion, STEP[name], 50)
    back = INTEGRATORS[name].advance(q, p, -STEP[name], 50, motion.hamiltonian)
    assert np.abs(np.stack(back) - np.stack([motion.q, motion.p])).max() < 2e-13


@every_method
def test_the_flow_keeps_the_symplectic_form(name: str) -> None:
    motion = pendulum() if name == "midpoint" else henon_heiles()
    start, h = np.stack([motion.q, motion.p]), 1e-3

    def flow(z: FloatArray) -> FloatArray:
        return run(name, Motion(motion.hamiltonian, z[0], z[1], 0.0), STEP[name], 10).ravel()

    columns = []
    for k in range(4):
        # Richardson's extrapolation of central differences: error h^4 and rounding / h, both below 1e-11.
        unit = np.eye(4)[k].reshape(start.shape)
        once, twice = ((flow(start + w * unit) - flow(start - w * unit)) / (2 * w) for w in (h, 2 * h))
        columns.append((4 * once - twice) / 3)
    jacobian = np.stack(columns, axis=1)
    omega = np.block([[np.zeros((2, 2)), np.eye(2)], [-np.eye(2), np.zeros((2, 2))]])
    assert np.abs(jacobian.T @ omega @ jacobian - omega).max() < 1e-9
    assert np.abs(jacobian - np.eye(4)).max() > 0.1


@pytest.mark.parametrize(
    ("name", "dt", "n_blocks", "bound"),
    [
        ("verlet", 0.1, 600, 3e-3),
        ("yoshida4", 0.1, 300, 1e-4),
        ("kahanli6", 0.3, 80, 1e-5),
        ("kahanli8", 0.5, 40, 1e-5),
        ("midpoint", 0.01, 12, 3e-3),
    ],
)
def test_the_energy_fluctuates_without_a_trend(name: str, dt: float, n_blocks: int, bound: float) -> None:
    motion = pendulum() if name == "midpoint" else henon_heiles()
    q, p = motion.q, motion.p
    scale = abs(motion.hamiltonian.energy(q, p))
    errors = []
    for _ in range(n_blocks * 20):
        q, p = INTEGRATORS[name].advance(q, p, dt, 5, motion.hamiltonian)
        errors.append((motion.hamiltonian.energy(q, p) - motion.hamiltonian.energy(motion.q, motion.p)) / scale)
    values = np.array(errors)
    assert np.abs(values).max() < bound
    # Means over a tenth of the run each: the last differs from the first by far less than the fluctuation.
    means = values.reshape(10, -1).mean(axis=1)
    assert abs(means[-1] - means[0]) < 0.3 * values.std()
    assert abs(np.polyfit(np.linspace(0.0, 1.0, values.size), values, 1)[0]) < 0.3 * values.std()


@every_method
def test_total_momentum_is_kept_to_rounding(name: str) -> None:
    motion = ring()
    _, p = run(name, motion, 0.02, 200)
    assert np.abs(p.sum(axis=0) - motion.p.sum(axis=0)).max() < 1e-13
    assert np.abs(p - motion.p).max() > 0.1


def test_the_midpoint_rule_takes_separable_hamiltonians_too() -> None:
    motion = ring()
    exact = run("kahanli8", motion, 0.01, 100)
    coarse, fine = (np.abs(run("midpoint", motion, 1.0 / n, n) - exact).max() for n in (500, 1000))
    assert coarse < 1e-3
    assert coarse / fine == pytest.approx(4.0, abs=0.1)


def test_the_midpoint_rule_keeps_the_energy_of_a_harmonic_oscillator_to_rounding() -> None:
    class Oscillator:
        def rates(self, q: FloatArray, p: FloatArray) -> tuple[FloatArray, FloatArray]:
            return p, -q

    q, p = INTEGRATORS["midpoint"].advance(np.ones((1, 1)), np.zeros((1, 1)), 0.7, 1000, Oscillator())
    assert float(q[0, 0] ** 2 + p[0, 0] ** 2) == pytest.approx(1.0, abs=1e-13)
    # The numerical solution turns by 2 atan(dt / 2) in each step.
    assert float(q[0, 0]) == pytest.approx(np.cos(2000 * np.arctan(0.35)), abs=1e-11)


@pytest.mark.parametrize(
    ("fractions", "order"), [((1.0,), 2), (YOSHIDA_4, 4), (KAHAN_LI_6, 6), (KAHAN_LI_8, 8)], ids=["2", "4", "6", "8"]
)
def test_the_odd_powers_of_the_fractions_vanish_below_the_order(fractions: tuple[float, ...], order: int) -> None:
    gamma = np.array(fractions)
    assert np.array_equal(gamma, gamma[::-1])
    assert gamma.sum() == pytest.approx(1.0, abs=4e-16)
    for power in range(3, order, 2):
        assert abs((gamma**power).sum()) < 1e-14


@pytest.mark.parametrize("name", EXPLICIT)
@pytest.mark.parametrize("first", ["kick", "drift"])
def test_kicks_and_drifts_each_add_up_to_the_step(name: str, first) -> None:
    method = INTEGRATORS[name]
    assert isinstance(method, Composition)
    form = Composition(method.name, method.order, method.fractions, first=first)
    kicks, drifts = form.kicks(0.3), form.drifts(0.3)
    assert kicks.sum() == pytest.approx(0.3, abs=1e-15)
    assert drifts.sum() == pytest.approx(0.3, abs=1e-15)
    assert (len(kicks) - len(drifts)) == (1 if first == "kick" else -1)
    assert min(len(kicks), len(drifts)) == form.stages
    assert np.array_equal(kicks, kicks[::-1])


def test_verlet_is_half_a_kick_a_drift_and_half_a_kick() -> None:
    assert VERLET.kicks(0.3).tolist() == [0.15, 0.15]
    assert VERLET.drifts(0.3).tolist() == [0.3]


@pytest.mark.parametrize("name", EXPLICIT)
def test_a_loop_over_kicks_and_drifts_is_the_integrator(name: str) -> None:
    motion, method = ring(), INTEGRATORS[name]
    assert isinstance(method, Composition)
    assert isinstance(motion.hamiltonian, Ring)
    q, p = motion.q.copy(), motion.p.copy()
    kicks, drifts = method.kicks(0.01), method.drifts(0.01)
    force = motion.hamiltonian.force(q)
    for _ in range(7):
        p += kicks[0] * force
        for k in range(method.stages):
            q += drifts[k] * motion.hamiltonian.velocity(p)
            force = motion.hamiltonian.force(q)
            p += kicks[k + 1] * force
    assert np.array_equal(run(name, motion, 0.01, 7), np.stack([q, p]))


@pytest.mark.parametrize("name", EXPLICIT)
def test_both_forms_converge_to_one_motion(name: str) -> None:
    motion, method = ring(), INTEGRATORS[name]
    assert isinstance(method, Composition)
    other = Composition(method.name, method.order, method.fractions, first="drift")
    n = 4 * STEPS[name]
    drifting = np.stack(other.advance(motion.q, motion.p, motion.time / n, n, motion.hamiltonian))
    kicking = run(name, motion, motion.time / n, n)
    assert 0.0 < np.abs(drifting - kicking).max() < 2e-3


@pytest.mark.parametrize("name", EXPLICIT)
def test_a_step_costs_as_many_forces_as_there_are_stages(name: str) -> None:
    class Counted(Ring):
        calls = 0

        def force(self, q: FloatArray) -> FloatArray:
            Counted.calls += 1
            return super().force(q)

    motion = ring()
    INTEGRATORS[name].advance(motion.q, motion.p, 0.01, 11, Counted())
    assert Counted.calls == 1 + 11 * INTEGRATORS[name].stages


@every_method
def test_many_steps_in_one_call_have_the_bits_of_many_calls(name: str) -> None:
    motion = motion_of(name)
    q, p = motion.q, motion.p
    for n in (1, 2, 5):
        q, p = INTEGRATORS[name].advance(q, p, STEP[name], n, motion.hamiltonian)
    assert np.array_equal(run(name, motion, STEP[name], 8), np.stack([q, p]))


@every_method
def test_the_callers_arrays_stay_untouched(name: str) -> None:
    motion, same = motion_of(name), motion_of(name)
    out = INTEGRATORS[name].advance(motion.q, motion.p, STEP[name], 0, motion.hamiltonian)
    assert np.array_equal(np.stack(out), np.stack([same.q, same.p]))
    out[0][:] = np.nan
    run(name, motion, STEP[name], 3)
    assert np.array_equal(motion.q, same.q)
    assert np.array_equal(motion.p, same.p)


@every_method
def test_integrators_survive_pickling(name: str) -> None:
    method = INTEGRATORS[name]
    assert pickle.loads(pickle.dumps(method)) == method


@every_method
@pytest.mark.parametrize(("dt", "shown"), [(0.0, "0"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_a_step_that_is_none_is_refused(name: str, dt: float, shown: str) -> None:
    motion = motion_of(name)
    with pytest.raises(SpecError, match=f"dt is {shown}, which is no step"):
        run(name, motion, dt, 1)


@every_method
def test_a_negative_number_of_steps_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="n_steps is -2"):
        run(name, motion_of(name), 0.1, -2)


def test_a_midpoint_step_that_is_too_long_is_refused_by_its_dt() -> None:
    with pytest.raises(SpecError, match=r"does not converge with dt 3: take a smaller dt"):
        run("midpoint", pendulum(), 3.0, 1)


def test_a_midpoint_step_from_a_state_without_numbers_is_refused() -> None:
    motion: Hamiltonian = HenonHeiles()
    with pytest.raises(SpecError, match="does not converge"):
        INTEGRATORS["midpoint"].advance(np.full((1, 2), np.nan), np.zeros((1, 2)), 0.1, 1, motion)


@pytest.mark.parametrize("name", EXPLICIT)
def test_an_explicit_method_refuses_what_does_not_separate(name: str) -> None:
    with pytest.raises(SpecError, match=rf"{name} needs a Hamiltonian T\(p\) \+ V\(q\) .* use midpoint"):
        run(name, pendulum(), 0.01, 1)


def test_names_are_found_and_misspelt_ones_are_set_right() -> None:
    assert integrator(" Verlet ").order == 2
    assert [method.order for method in INTEGRATORS.values()] == [2, 4, 6, 8, 2]
    with pytest.raises(SpecError, match="integrator 'yoshida' is unknown: did you mean 'yoshida4'"):
        integrator("yoshida")
    with pytest.raises(SpecError, match="integrator 'euler' is unknown: use one of verlet, yoshida4, kahanli6"):
        integrator("euler")
