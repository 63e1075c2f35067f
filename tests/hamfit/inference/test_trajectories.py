"""Paths of engines: against plain NumPy, against themselves, and against the conservation laws."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_cases import WORLDS, World, bond_world, combined, cutoff_world, model_force, plain_path, state_of

from hamfit.features.pair import PairBlock
from hamfit.fitting import FitResult
from hamfit.frames import Frame
from hamfit.inference import AbstractEngine, CompiledModel
from hamfit.inference.columns_engine import AbstractColumnsEngine
from hamfit.integrators import INTEGRATORS, VERLET, Composition
from hamfit.model import Model
from hamfit.types import FloatArray
from worlds import CASES, Case, liquid, rotation

COMPOSITIONS = tuple(m for m in INTEGRATORS.values() if isinstance(m, Composition))
State = tuple[FloatArray, FloatArray]


def path(engine: AbstractEngine, state: State, steps: int) -> State:
    engine.begin(*state)
    engine.advance(steps)
    return engine.state()


def travel(world: World, method: Composition, dt: float, steps: int) -> None:
    """Fifty steps and more as plain NumPy makes them."""
    compiled = CompiledModel(world.model)
    got = path(compiled.engine(world.frame, method, dt), state_of(world.frame), steps)
    inverse_mass = 1.0 / world.frame.masses
    expected = plain_path(model_force(world), inverse_mass, *state_of(world.frame), method, dt, steps)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


# one channel without pairs in training is computed from tables that a model's own curve does not have
SEEN = tuple(w for w in WORLDS if np.isfinite(w.model.extents["pair"]).all())


@pytest.mark.parametrize("world", SEEN, ids=str)
def test_fifty_steps_are_those_of_plain_velocity_verlet(world: World) -> None:
    travel(world, VERLET, 1e-3, 50)


@pytest.mark.parametrize("method", COMPOSITIONS, ids=lambda m: m.name)
@pytest.mark.parametrize("world", [cutoff_world(CASES[5]), bond_world(dim=2, periodic=True)], ids=str)
def test_every_composition_is_stepped_stage_by_stage(world: World, method: Composition) -> None:
    travel(world, method, 2e-3, 10)


@pytest.mark.parametrize("name", ["verlet", "kahanli6"])
def test_blocks_step_as_plain_numpy_does(name: str) -> None:
    method = INTEGRATORS[name]
    assert isinstance(method, Composition)
    travel(combined(), method, 1e-3, 23)


@pytest.mark.parametrize("name", ["CutoffEngine", "ListedEngine", "BlocksEngine"])
def test_no_steps_change_nothing(name: str) -> None:
    world = next(w for w in (*WORLDS, combined()) if w.engine == name)
    engine = CompiledModel(world.model).engine(world.frame, VERLET, 1e-2)
    engine.begin(*state_of(world.frame))
    before = engine.state()
    engine.advance(0)
    for a, b in zip(engine.state(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_composition_that_drifts_first_is_run_as_it_says() -> None:
    world = cutoff_world(CASES[2])
    dt, steps = 1e-3, 30
    method = Composition("leapfrog", 2, (1.0,), first="drift")
    got = path(CompiledModel(world.model).engine(world.frame, method, dt), state_of(world.frame), steps)
    q, p = (x.copy() for x in state_of(world.frame))
    force, mass = model_force(world), world.frame.masses[:, None]
    for _ in range(steps):
        q += 0.5 * dt * p / mass
        p += dt * force(q)
        q += 0.5 * dt * p / mass
    np.testing.assert_allclose(got[0], q, atol=1e-12)
    np.testing.assert_allclose(got[1], p, atol=1e-12)


# the liquid: a fitted binary Lennard-Jones model, hot enough that neighbours change all the time


@pytest.fixture(scope="module")
def compiled(binary_fit: FitResult) -> CompiledModel:
    return CompiledModel(binary_fit.model)


@pytest.fixture(scope="module")
def start() -> Frame:
    return liquid(np.random.default_rng(41), side=6, n_species=2, spacing=1.25, jitter=0.08)


DT = 0.002


def sorted_times(engine: AbstractEngine) -> list[int]:
    """Counts the sortings of an engine from now on."""
    count = [0]
    sort = engine._sort

    def counted() -> None:
        count[0] += 1
        sort()

    engine._sort = counted
    return count


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_any_number_of_threads_gives_the_same_bits(compiled: CompiledModel, start: Frame, threads: int) -> None:
    alone = compiled.engine(start, VERLET, DT)
    sortings = sorted_times(alone)
    expected = path(alone, state_of(start), 600)
    assert sortings[0] > 20
    engine = compiled.engine(start, VERLET, DT, threads=threads)
    got = path(engine, state_of(start), 600)
    engine.close()
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


class NoThreadError(RuntimeError):
    """The system has none to give."""


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_where_no_thread_can_be_had_none_is_left_working(
    at: int, compiled: CompiledModel, start: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever it is: those that were had have ended when the error arrives, and the engine begins again."""
    engine = compiled.engine(start, VERLET, DT, threads=3)
    assert isinstance(engine, AbstractColumnsEngine)
    pool = engine._pool
    assert pool is not None
    submit, calls, given = pool.submit, itertools.count(1), []

    def scarce(*args: Any) -> Any:
        if next(calls) == at:
            raise NoThreadError
        given.append(submit(*args))
        return given[-1]

    monkeypatch.setattr(pool, "submit", scarce)
    with pytest.raises(NoThreadError):
        path(engine, state_of(start), 50)
    assert all(future.done() for future in given)
    got = path(engine, state_of(start), 50)
    engine.close()
    np.testing.assert_array_equal(got, path(compiled.engine(start, VERLET, DT), state_of(start), 50))


@pytest.mark.parametrize("case", [CASES[1], CASES[3], CASES[6], Case("one", 3, 1, periodic=True)], ids=lambda c: c.name)
def test_more_threads_than_work_give_the_same_bits(case: Case) -> None:
    world = cutoff_world(case)
    compiled = CompiledModel(world.model)
    expected = path(compiled.engine(world.frame, VERLET, 1e-3), state_of(world.frame), 40)
    for threads in (2, 5):
        engine = compiled.engine(world.frame, VERLET, 1e-3, threads=threads)
        got = path(engine, state_of(world.frame), 40)
        engine.close()
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])


def test_a_rollout_is_continued_to_the_same_bits(compiled: CompiledModel, start: Frame) -> None:
    one = compiled.engine(start, VERLET, DT)
    state = path(one, state_of(start), 70)
    seen = one.begin(*state)
    one.advance(90)
    other = compiled.engine(start, VERLET, DT, threads=2)
    again = other.begin(*state)
    other.advance(90)
    other.close()
    assert again.energy == seen.energy
    assert again.forces.tobytes() == seen.forces.tobytes()
    for a, b in zip(one.state(), other.state(), strict=True):
        np.testing.assert_array_equal(a, b)
    # and what an engine did before leaves no trace
    other = compiled.engine(start, VERLET, DT)
    path(other, state_of(replace(start, q=start.q + 0.3)), 31)
    for a, b in zip(path(other, state, 90), one.state(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_cutting_a_run_into_calls_changes_rounding_only(compiled: CompiledModel, start: Frame) -> None:
    whole = path(compiled.engine(start, VERLET, DT), state_of(start), 40)
    engine = compiled.engine(start, VERLET, DT)
    engine.begin(*state_of(start))
    for some in (1, 7, 0, 32):
        engine.advance(some)
    for a, b in zip(engine.state(), whole, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


def test_energy_and_momentum_are_conserved(compiled: CompiledModel, start: Frame) -> None:
    engine = compiled.engine(start, INTEGRATORS["yoshida4"], DT)
    before = engine.begin(*state_of(start))
    engine.advance(400)
    q, p = engine.state()
    after = engine.begin(q, p)
    # shifted at the cutoff, energies are continuous but forces jump there
    assert abs(after.energy - before.energy) < 2e-3 * before.kinetic_energy
    drift = np.abs(p.sum(axis=0) - state_of(start)[1].sum(axis=0)).max()
    assert drift < 1e-11 * np.abs(p).sum()
    assert np.abs(after.forces.sum(axis=0)).max() < 1e-12 * np.abs(after.forces).sum()


def test_time_runs_backwards_to_rounding(compiled: CompiledModel, start: Frame) -> None:
    engine = compiled.engine(start, VERLET, 0.25 * DT)
    q, p = path(engine, state_of(start), 200)
    assert np.abs(q - start.q).max() > 0.1
    q, p = path(engine, (q, -p), 200)
    np.testing.assert_allclose(q, start.q, atol=1e-10)
    np.testing.assert_allclose(-p, start.p, atol=1e-9)


@pytest.mark.parametrize("world", [bond_world(dim=3, periodic=True), cutoff_world(CASES[6])], ids=str)
def test_small_systems_run_backwards_too(world: World) -> None:
    engine = CompiledModel(world.model).engine(world.frame, VERLET, 1e-3)
    q, p = path(engine, state_of(world.frame), 200)
    q, p = path(engine, (q, -p), 200)
    np.testing.assert_allclose(q, world.frame.q, atol=1e-9)
    np.testing.assert_allclose(-p, world.frame.p, atol=1e-9)


def test_particles_cross_many_boxes_without_a_jump(compiled: CompiledModel, start: Frame) -> None:
    """A wind blows everybody through the box again and again; seen from the wind nothing changes."""
    wind = np.array([40.0, -25.0, 60.0])
    p = state_of(start)[1]
    blown = p + start.masses[:, None] * wind
    still = path(compiled.engine(start, VERLET, 0.25 * DT), (start.q, p), 400)
    engine = compiled.engine(start, VERLET, 0.25 * DT)
    engine.begin(start.q, blown)
    last = start.q
    for _ in range(40):
        engine.advance(10)
        q, _ = engine.state()
        # ten steps of wind, and what particles move by themselves
        assert np.abs(q - last - 10 * 0.25 * DT * wind).max() < 0.2
        last = q
    time = 400 * 0.25 * DT
    assert time * 60.0 > 1.5 * 7.5
    np.testing.assert_allclose(last - time * wind, still[0], atol=1e-7)


def moved(compiled: CompiledModel, frame: Frame, steps: int = 60) -> State:
    return path(compiled.engine(frame, VERLET, DT), state_of(frame), steps)


def test_trajectories_do_not_depend_on_numbering(compiled: CompiledModel, start: Frame) -> None:
    q, p = moved(compiled, start)
    order = np.random.default_rng(2).permutation(start.n_particles)
    other = replace(
        start,
        q=start.q[order],
        p=np.asarray(start.p)[order],
        species=start.species[order],
        masses=start.masses[order],
        qdot=None,
        pdot=None,
    )
    got = moved(compiled, other)
    np.testing.assert_allclose(got[0], q[order], atol=1e-9)
    np.testing.assert_allclose(got[1], p[order], atol=1e-9)


def test_trajectories_move_with_the_system(compiled: CompiledModel, start: Frame) -> None:
    q, p = moved(compiled, start)
    shift = np.array([1.234, -8.1, 77.7])
    got = moved(compiled, replace(start, q=start.q + shift))
    np.testing.assert_allclose(got[0], q + shift, atol=1e-9)
    np.testing.assert_allclose(got[1], p, atol=1e-9)
    turn = rotation(3, np.random.default_rng(5))
    turned = replace(start, q=start.q @ turn, p=np.asarray(start.p) @ turn, box=np.asarray(start.box) @ turn)
    got = moved(compiled, turned)
    np.testing.assert_allclose(got[0], q @ turn, atol=1e-9)
    np.testing.assert_allclose(got[1], p @ turn, atol=1e-9)


def test_another_box_of_the_same_lattice_makes_no_difference(compiled: CompiledModel, start: Frame) -> None:
    q, p = moved(compiled, start)
    skewed = np.array([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [1.0, -1.0, 1.0]]) @ np.asarray(start.box)
    got = moved(compiled, replace(start, box=skewed))
    np.testing.assert_allclose(got[0], q, atol=1e-9)
    np.testing.assert_allclose(got[1], p, atol=1e-9)


def test_an_open_drop_flies_apart_without_end(compiled: CompiledModel) -> None:
    frame = liquid(np.random.default_rng(8), side=4, n_species=2, periodic=False)
    p = np.asarray(frame.p) * 3.0
    p[5] = 2e6, -3e6, 1e6
    engine = compiled.engine(frame, VERLET, DT)
    engine.begin(frame.q, p)
    engine.advance(300)
    q, after = engine.state()
    np.testing.assert_allclose(after[5], p[5], rtol=1e-6)
    np.testing.assert_allclose(q[5] - frame.q[5], 300 * DT * p[5] / frame.masses[5], rtol=1e-6)
    assert engine._reach.runs.nbytes < 10**6


def crystal(model: Model, dim: int) -> Frame:
    rng = np.random.default_rng(dim)
    return liquid(rng, side=9 if dim == 1 else 5, dim=dim, n_species=2, jitter=0.03, spacing=1.2)


@pytest.mark.parametrize("dim", [1, 2])
def test_lines_and_planes_run_as_well(binary_fit: FitResult, dim: int) -> None:
    """The pair block knows no dimension, so the model of the liquid runs in any."""
    full = binary_fit.model
    position = [isinstance(block, PairBlock) for block in full.blocks].index(True)
    block = full.blocks[position]
    model = replace(full, blocks=(block,), theta=(full.theta[position],), dim=dim)
    frame = crystal(model, dim)
    frame = replace(frame, p=0.2 * np.asarray(frame.p))
    world = World("flat", frame, model, "CutoffEngine")
    travel(world, VERLET, 5e-4, 50)
