"""Paths of the density engine: against plain NumPy, against themselves, and against the conservation laws."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from density_cases import WORLDS, DensityWorld, compiled, density_world, of_features
from engine_cases import plain_path, state_of

from hamfit.data import ingest
from hamfit.errors import FitWarning, SpecError
from hamfit.fitting import fit
from hamfit.frames import Frame
from hamfit.inference import AbstractEngine, BlewUp, CompiledModel
from hamfit.inference.density import CompiledDensity
from hamfit.integrators import INTEGRATORS, VERLET, Composition
from hamfit.types import FloatArray
from worlds import CASES, energy_rounding

DATA = Path(__file__).parents[2] / "data"
State = tuple[FloatArray, FloatArray]


def path(engine: AbstractEngine, state: State, steps: int) -> State:
    engine.begin(*state)
    engine.advance(steps)
    return engine.state()


def force(world: DensityWorld) -> Callable[[FloatArray], FloatArray]:
    return lambda q: of_features(world, replace(world.frame, q=q)).forces


def gentle(world: DensityWorld) -> float:
    """A time step in which no particle moves by more than a thousandth."""
    return float(np.sqrt(2e-3 / np.abs(force(world)(world.frame.q)).max()))


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_steps_are_those_of_plain_velocity_verlet(world: DensityWorld) -> None:
    dt = 0.3 * gentle(world)
    engine = compiled(world).engine(world.frame, VERLET, dt)
    got = path(engine, state_of(world.frame), 30)
    expected = plain_path(force(world), 1.0 / world.frame.masses, *state_of(world.frame), VERLET, dt, 30)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, m in INTEGRATORS.items() if isinstance(m, Composition)])
def test_every_composition_is_stepped_stage_by_stage(name: str) -> None:
    world, method = WORLDS[12], INTEGRATORS[name]
    assert isinstance(method, Composition)
    dt = gentle(world)
    got = path(compiled(world).engine(world.frame, method, dt), state_of(world.frame), 8)
    expected = plain_path(force(world), 1.0 / world.frame.masses, *state_of(world.frame), method, dt, 8)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_no_steps_change_nothing() -> None:
    world = WORLDS[12]
    engine = compiled(world).engine(world.frame, VERLET, 0.1)
    engine.begin(*state_of(world.frame))
    before = engine.state()
    engine.advance(0)
    for a, b in zip(engine.state(), before, strict=True):
        assert a.tobytes() == b.tobytes()


# copper: an embedded-atom model of a crystal near 800 K


def fitted(folder: Path, source: str, units: str, **options: Any) -> tuple[CompiledModel, Frame]:
    data = ingest(
        DATA / f"{source}.lammpstrj.gz", folder / "data.zarr", units=units, energies=DATA / f"{source}.energies.csv"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        model = fit(data, threads=1, checkpoint=False, l_max=0, radial=1, **options).model
    return CompiledModel(model), model.adapt(data.trajectories[0].frame(7))


@pytest.fixture(scope="module")
def copper(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompiledModel, Frame]:
    how: dict[str, Any] = {"cutoff": 4.95, "blocks": ("kinetic", "pair", "manybody"), "features": 64}
    return fitted(tmp_path_factory.mktemp("copper"), "cu-256", "metal", **how)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompiledModel, Frame]:
    """Two species whose densities differ, three cutoffs, a liquid; coefficients of 1e5 cancel."""
    how: dict[str, Any] = {
        "cutoff": "1-1=2.5,1-2=2.0,2-2=2.2",
        "blocks": ("kinetic", "pair", "manybody"),
        "features": 48,
        "rank_cutoff": 1e-9,
    }
    return fitted(tmp_path_factory.mktemp("mixture"), "ka-500", "lj", **how)


def scenes(request: pytest.FixtureRequest, name: str) -> tuple[CompiledModel, Frame, float]:
    model, frame = request.getfixturevalue(name)
    # 1 fs in the units of `ase`, as physicists run copper
    return model, frame, 0.1 if name == "copper" else 0.003


each_scene = pytest.mark.parametrize("name", ["copper", "mixture"])


def sortings(engine: AbstractEngine) -> list[int]:
    """Counts the sortings of an engine from now on."""
    count, sort = [0], engine._sort

    def counted() -> None:
        count[0] += 1
        sort()

    engine._sort = counted
    return count


@each_scene
def test_a_fitted_model_is_followed_to_the_stated_error(request: pytest.FixtureRequest, name: str) -> None:
    model, frame, dt = scenes(request, name)
    assert isinstance(model.functions, CompiledDensity)
    assert model.functions.error < 1e-10
    world = DensityWorld(name, frame, replace(model.model, blocks=model.model.blocks[1:], theta=model.model.theta[1:]))
    expected = of_features(world, frame)
    seen = model.engine(frame, VERLET, dt).begin(*state_of(frame))
    error = np.sqrt(np.mean((seen.forces - expected.forces) ** 2) / np.mean(expected.forces**2))
    assert error < 30.0 * model.functions.error
    allowed = energy_rounding(model.model.constants, model.model.theta, frame)
    assert seen.potential_energy == pytest.approx(expected.energy, rel=1e-9, abs=allowed)
    assert (2 * seen.outside, 2 * seen.pairs) == model.model.extrapolated(frame)


@each_scene
def test_the_number_of_threads_changes_no_bit(request: pytest.FixtureRequest, name: str) -> None:
    model, frame, dt = scenes(request, name)
    states = []
    for threads in (1, 2, 3, 7):
        engine = model.engine(frame, VERLET, dt, threads=threads)
        count = sortings(engine)
        states.append(path(engine, state_of(frame), 120))
        engine.close()
        assert count[0] > 2
    for q, p in states[1:]:
        assert q.tobytes() == states[0][0].tobytes()
        assert p.tobytes() == states[0][1].tobytes()


@each_scene
def test_a_run_taken_up_from_a_state_gives_the_same_bits(request: pytest.FixtureRequest, name: str) -> None:
    model, frame, dt = scenes(request, name)
    engine = model.engine(frame, VERLET, dt)
    state = state_of(frame)
    kept = []
    for _ in range(3):
        state = path(engine, state, 40)
        kept.append(state)
    again = path(model.engine(frame, VERLET, dt, threads=2), kept[0], 40)
    again = path(model.engine(frame, VERLET, dt), again, 40)
    for a, b in zip(again, kept[2], strict=True):
        assert a.tobytes() == b.tobytes()


@each_scene
def test_energy_stays_and_momentum_too_for_two_thousand_steps(request: pytest.FixtureRequest, name: str) -> None:
    model, frame, dt = scenes(request, name)
    engine = model.engine(frame, VERLET, dt)
    state = state_of(frame)
    energies = [engine.begin(*state).energy]
    kinetic = model.model.kinetic_energy(frame)
    for _ in range(20):
        engine.advance(100)
        state = engine.state()
        energies.append(engine.begin(*state).energy)
    # the first point is inside the band that the others fluctuate in, and there is no trend across it
    band = np.ptp(energies)
    assert band < 2e-3 * kinetic
    halves = np.mean(energies[1:11]), np.mean(energies[11:])
    assert abs(halves[1] - halves[0]) < 0.5 * band
    total = state[1].sum(axis=0) - state_of(frame)[1].sum(axis=0)
    assert np.abs(total).max() < 1e-10 * np.abs(state[1]).sum()


@each_scene
def test_halving_the_step_quarters_the_fluctuation_of_the_energy(request: pytest.FixtureRequest, name: str) -> None:
    model, frame, dt = scenes(request, name)
    errors = []
    for fraction in (1.0, 0.5, 0.25):
        engine = model.engine(frame, VERLET, fraction * dt)
        before = engine.begin(*state_of(frame)).energy
        # the errors of frames of one path, so that they do not cross zero by chance
        worst = 0.0
        for _ in range(8):
            engine.advance(round(5 / fraction))
            worst = max(worst, abs(engine.begin(*engine.state()).energy - before))
        errors.append(worst)
    assert 3.0 < errors[0] / errors[1] < 5.5
    assert 3.0 < errors[1] / errors[2] < 5.5


@each_scene
def test_time_runs_backwards_to_rounding(request: pytest.FixtureRequest, name: str) -> None:
    model, frame, dt = scenes(request, name)
    engine = model.engine(frame, VERLET, 0.5 * dt)
    q, p = path(engine, state_of(frame), 200)
    assert np.abs(q - frame.q).max() > 0.05
    q, p = path(engine, (q, -p), 200)
    np.testing.assert_allclose(q, frame.q, rtol=0, atol=1e-10)
    np.testing.assert_allclose(-p, state_of(frame)[1], rtol=0, atol=1e-9)


def test_skins_hide_no_pair(copper: tuple[CompiledModel, Frame]) -> None:
    """Many sortings in one call against a begin at every step."""
    model, frame = copper
    hot = replace(frame, p=3.0 * state_of(frame)[1])
    engine = model.engine(hot, VERLET, 0.1)
    count = sortings(engine)
    whole = path(engine, state_of(hot), 60)
    assert count[0] >= 4
    state = state_of(hot)
    for _ in range(60):
        state = path(engine, state, 1)
    for a, b in zip(whole, state, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("dt", [1e6, 1e80, 1e300])
def test_an_absurd_step_blows_up(copper: tuple[CompiledModel, Frame], threads: int, dt: float) -> None:
    model, frame = copper
    engine = model.engine(frame, VERLET, dt, threads=threads)
    engine.begin(*state_of(frame))
    with pytest.raises(BlewUp) as caught:
        engine.advance(2000)
    assert 0 <= caught.value.step <= 2000
    assert np.isfinite(engine.begin(*state_of(frame)).energy)
    engine.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("strange", [np.nan, np.inf, 1e250])
def test_numbers_that_go_wrong_in_the_middle_are_noticed(
    copper: tuple[CompiledModel, Frame], threads: int, strange: float
) -> None:
    model, frame = copper
    engine: Any = model.engine(frame, VERLET, 0.1, threads=threads)
    engine.begin(*state_of(frame))
    engine.advance(7)
    engine._bodies.p[2, 61] = strange
    with pytest.raises(BlewUp):
        engine.advance(10**6)
    assert np.isfinite(engine.begin(*state_of(frame)).energy)
    engine.advance(3)
    engine.close()


def test_steps_that_are_none_are_refused() -> None:
    world = density_world(CASES[5])
    with pytest.raises(SpecError):
        compiled(world).engine(world.frame, VERLET, 0.0)
    with pytest.raises(SpecError):
        compiled(world).engine(world.frame, VERLET, 0.1, threads=0)
    engine = compiled(world).engine(world.frame, VERLET, 0.1)
    engine.begin(*state_of(world.frame))
    with pytest.raises(SpecError):
        engine.advance(-1)
