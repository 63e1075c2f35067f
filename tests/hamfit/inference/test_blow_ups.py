"""States that cannot go on end a run at once, with a step, on any number of threads."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_cases import World, all_pairs_world, bond_world, combined, cutoff_world, state_of, with_kinetic

from hamfit.errors import HamfitError
from hamfit.fitting import FitResult
from hamfit.inference import BlewUp, CompiledModel
from hamfit.integrators import INTEGRATORS, VERLET
from hamfit.kernels.bodies import Bodies
from worlds import CASES, liquid

THREADS = (1, 2, 4)
#: A second is plenty for all of these; a barrier that is never met would wait for ever.
PATIENT = pytest.mark.timeout(60)


def listed_worlds() -> list[World]:
    return [bond_world(dim=3, periodic=True), bond_world(dim=2, periodic=False), all_pairs_world(CASES[2])]


@PATIENT
@pytest.mark.parametrize("dt", [1e6, 1e80, 1e200, 1e300])
@pytest.mark.parametrize("threads", THREADS)
def test_a_liquid_with_an_absurd_step_blows_up(binary_fit: FitResult, threads: int, dt: float) -> None:
    frame = liquid(np.random.default_rng(3), side=4, n_species=2)
    engine = CompiledModel(binary_fit.model).engine(frame, VERLET, dt, threads=threads)
    engine.begin(*state_of(frame))
    with pytest.raises(BlewUp) as caught:
        engine.advance(200)
    assert 0 <= caught.value.step <= 200
    engine.close()


@PATIENT
@pytest.mark.parametrize("dt", [0.5, 10.0])
@pytest.mark.parametrize("threads", THREADS)
def test_a_liquid_thrown_about_in_its_box_comes_to_an_end(binary_fit: FitResult, threads: int, dt: float) -> None:
    frame = liquid(np.random.default_rng(3), side=4, n_species=2)
    engine = CompiledModel(binary_fit.model).engine(frame, VERLET, dt, threads=threads)
    engine.begin(*state_of(frame))
    # far from any solution, but every number may stay finite
    with suppress(BlewUp):
        engine.advance(200)
    engine.close()


@PATIENT
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 1e250])
@pytest.mark.parametrize("threads", THREADS)
def test_numbers_that_go_wrong_in_the_middle_are_noticed(
    binary_fit: FitResult, threads: int, strange: float
) -> None:
    frame = liquid(np.random.default_rng(3), side=4, n_species=2)
    engine: Any = CompiledModel(binary_fit.model).engine(frame, VERLET, 1e-3, threads=threads)
    engine.begin(*state_of(frame))
    engine.advance(7)
    bodies: Bodies = engine._bodies
    bodies.p[2, 61] = strange
    with pytest.raises(BlewUp) as caught:
        engine.advance(10**6)
    assert 0 <= caught.value.step <= 10**6
    # and the engine can be begun anew
    assert np.isfinite(engine.begin(*state_of(frame)).energy)
    engine.advance(3)
    engine.close()


@PATIENT
@pytest.mark.parametrize("method", ["verlet", "kahanli8"])
@pytest.mark.parametrize("dt", [1e30, 1e100, 1e300])
@pytest.mark.parametrize("world", listed_worlds(), ids=str)
def test_listed_pairs_blow_up_at_once(world: World, dt: float, method: str) -> None:
    engine = CompiledModel(world.model).engine(world.frame, INTEGRATORS[method], dt)
    engine.begin(*state_of(world.frame))
    with pytest.raises(BlewUp) as caught:
        engine.advance(2000)
    assert 0 <= caught.value.step <= 2000


@PATIENT
@pytest.mark.parametrize("method", ["verlet", "yoshida4"])
@pytest.mark.parametrize("dt", [1e30, 1e200, 1e300])
def test_blocks_blow_up_as_such_and_not_as_bad_graphs(method: str, dt: float) -> None:
    for world in (combined(), with_kinetic(cutoff_world(CASES[6]), quadratic=False)):
        engine = CompiledModel(world.model).engine(world.frame, INTEGRATORS[method], dt)
        engine.begin(*state_of(world.frame))
        with pytest.raises(BlewUp) as caught:
            engine.advance(400)
        assert 0 <= caught.value.step <= 400
        assert np.isfinite(engine.begin(*state_of(world.frame)).energy)


@PATIENT
def test_bonds_in_blocks_that_fly_beyond_all_boxes_are_lost_before_images_are_searched() -> None:
    world = with_kinetic(bond_world(dim=3, periodic=True), quadratic=False)
    engine = CompiledModel(world.model).engine(world.frame, VERLET, 1e25)
    engine.begin(*state_of(world.frame))
    with pytest.raises(BlewUp):
        engine.advance(50)


def test_the_step_says_how_many_were_made() -> None:
    """A free particle that gains a box of 1e11 a step is lost when it is 1e12 lengths out."""
    world = bond_world(dim=3, periodic=True)
    n = world.frame.n_particles
    box = 8.0
    alone = replace(world.frame, bonds=np.array([[0, 1]]), bond_types=np.zeros(1, dtype=np.int64))
    p = np.zeros((n, 3))
    p[5, 0] = 1e11 * box * world.frame.masses[5]
    engine = CompiledModel(world.model).engine(alone, VERLET, 1.0)
    q = np.zeros((n, 3))
    q[1, 0] = 1.0
    engine.begin(q, p)
    with pytest.raises(BlewUp) as caught:
        engine.advance(1000)
    # twice the longest bond of training, 4.5, is longer than the box
    assert caught.value.step == int(1e12 * 9.0 / (1e11 * box))


def test_a_blow_up_keeps_its_step_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BlewUp(17)))
    assert isinstance(error, HamfitError)
    assert error.step == 17
    assert str(error) == str(BlewUp(17))


class Unwilling(ThreadPoolExecutor):
    """Gives one thread and no more."""

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.given = getattr(self, "given", 0) + 1
        if self.given > 1:
            raise RuntimeError("can't start new thread")
        return super().submit(*args, **kwargs)


@PATIENT
def test_a_thread_that_cannot_be_had_leaves_nobody_waiting(binary_fit: FitResult) -> None:
    frame = liquid(np.random.default_rng(3), side=4, n_species=2)
    engine: Any = CompiledModel(binary_fit.model).engine(frame, VERLET, 1e-3, threads=3)
    engine.begin(*state_of(frame))
    pool = engine._pool
    with Unwilling(2) as engine._pool, pytest.raises(RuntimeError, match="new thread"):
        engine.advance(10**9)
    engine._pool = pool
    assert np.isfinite(engine.begin(*state_of(frame)).energy)
    engine.advance(3)
    engine.close()
