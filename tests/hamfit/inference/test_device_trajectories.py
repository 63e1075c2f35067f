"""Paths of engines on a device: against those of the processor, against themselves, and through every rebuilding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from density_cases import WORLDS as DENSITY_WORLDS
from density_cases import DensityWorld, density_world
from engine_cases import World, cutoff_world, state_of

from hamfit.devices import AbstractDevice
from hamfit.devices.emulated import EmulatedDevice
from hamfit.fitting import FitResult
from hamfit.frames import Frame
from hamfit.inference import AbstractEngine, BlewUp, CompiledModel, device_engine
from hamfit.integrators import INTEGRATORS, VERLET, Composition
from hamfit.types import FloatArray
from worlds import CASES, Case, liquid

State = tuple[FloatArray, FloatArray]
AnyWorld = World | DensityWorld
DT = 0.002
COMPOSITIONS = tuple(m for m in INTEGRATORS.values() if isinstance(m, Composition))
WORLDS: tuple[AnyWorld, ...] = (
    *(cutoff_world(case) for case in CASES),
    *(density_world(case, taper="smooth") for case in CASES),
)
BOTH: tuple[AnyWorld, ...] = (cutoff_world(CASES[6]), DENSITY_WORLDS[12])
both = pytest.mark.parametrize("world", BOTH, ids=lambda w: type(w).__name__)


def path(engine: AbstractEngine, state: State, steps: int) -> State:
    engine.begin(*state)
    engine.advance(steps)
    return engine.state()


def same_bits(one: State, other: State) -> bool:
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def near(one: State, other: State, tolerance: float) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def rebuilt(engine: Any) -> list[int]:
    """Counts the sortings of an engine from now on."""
    count, sort = [0], engine._sort

    def counted() -> None:
        count[0] += 1
        sort()

    engine._sort = counted
    return count


@pytest.fixture(scope="module")
def compiled(binary_fit: FitResult) -> CompiledModel:
    return CompiledModel(binary_fit.model)


@pytest.fixture(scope="module")
def start() -> Frame:
    """A hot liquid of two species, whose neighbours change all the time."""
    return liquid(np.random.default_rng(41), side=5, n_species=2, spacing=1.25, jitter=0.08)


def gentle(world: AnyWorld) -> float:
    """A time step in which no particle moves by more than a thousandth."""
    forces = CompiledModel(world.model).engine(world.frame, VERLET, DT).begin(*state_of(world.frame)).forces
    return float(np.sqrt(1e-3 / max(np.abs(forces).max(), 1.0)))


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: f"{type(w).__name__} {w}")
def test_steps_are_those_of_the_processor(device: AbstractDevice, world: AnyWorld) -> None:
    model, dt = CompiledModel(world.model), gentle(world)
    here, there = (
        path(model.engine(world.frame, VERLET, dt, device=d), state_of(world.frame), 60) for d in (None, device)
    )
    near(here, there, 1e-11)


@both
@pytest.mark.parametrize("method", COMPOSITIONS, ids=lambda m: m.name)
@pytest.mark.parametrize("skin", [0.14, 1e-3])
def test_every_composition_is_taken_up_at_the_stage_that_halted(
    device: AbstractDevice, world: AnyWorld, method: Composition, skin: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousandth of skin is left in almost every stage, and lists are then built within steps."""
    monkeypatch.setattr(device_engine, "SKIN", skin)
    model, dt = CompiledModel(world.model), gentle(world)
    engine = model.engine(world.frame, method, dt, device=device)
    count = rebuilt(engine)
    got = path(engine, state_of(world.frame), 10)
    assert (count[0] > 1 + 2 * method.stages) == (skin == 1e-3)
    near(got, path(model.engine(world.frame, method, dt), state_of(world.frame), 10), 1e-10)


def test_a_hot_liquid_is_followed_through_its_rebuildings(
    device: AbstractDevice, compiled: CompiledModel, start: Frame
) -> None:
    engine = compiled.engine(start, VERLET, DT, device=device)
    assert "polynomial" in engine.description
    count = rebuilt(engine)
    got = path(engine, state_of(start), 300)
    assert count[0] > 10
    near(got, path(compiled.engine(start, VERLET, DT), state_of(start), 300), 1e-8)


def test_the_same_state_gives_the_same_bits_whatever_was_before(
    device: AbstractDevice, compiled: CompiledModel, start: Frame
) -> None:
    one = compiled.engine(start, VERLET, DT, device=device)
    state = path(one, state_of(start), 70)
    seen = one.begin(*state)
    one.advance(90)
    other = compiled.engine(start, VERLET, DT, device=device)
    # what was before: another state, whose lists had other room
    path(other, state_of(replace(start, q=0.9 * start.q)), 11)
    again = other.begin(*state)
    other.advance(90)
    assert (again.energy, again.outside, again.pairs) == (seen.energy, seen.outside, seen.pairs)
    assert again.forces.tobytes() == seen.forces.tobytes()
    assert same_bits(one.state(), other.state())


def test_the_length_of_a_batch_changes_no_bit(
    device: AbstractDevice, compiled: CompiledModel, start: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for stages in (1, 5, 12, 1000):
        monkeypatch.setattr(device_engine, "_BATCH_STAGES", stages)
        paths.append(path(compiled.engine(start, VERLET, DT, device=device), state_of(start), 80))
    assert all(same_bits(paths[0], other) for other in paths[1:])


def test_cutting_a_run_into_calls_changes_rounding_only(
    device: AbstractDevice, compiled: CompiledModel, start: Frame
) -> None:
    whole = path(compiled.engine(start, VERLET, DT, device=device), state_of(start), 40)
    engine = compiled.engine(start, VERLET, DT, device=device)
    engine.begin(*state_of(start))
    for some in (1, 7, 0, 32):
        engine.advance(some)
    near(engine.state(), whole, 1e-9)


@both
def test_no_steps_change_nothing(device: AbstractDevice, world: AnyWorld) -> None:
    engine = CompiledModel(world.model).engine(world.frame, VERLET, 0.1, device=device)
    engine.begin(*state_of(world.frame))
    before = engine.state()
    engine.advance(0)
    assert same_bits(engine.state(), before)


def test_time_runs_backwards_to_rounding(device: AbstractDevice, compiled: CompiledModel, start: Frame) -> None:
    engine = compiled.engine(start, VERLET, 0.25 * DT, device=device)
    q, p = path(engine, state_of(start), 200)
    assert np.abs(q - start.q).max() > 0.1
    q, p = path(engine, (q, -p), 200)
    near((q, -p), state_of(start), 1e-9)


@both
def test_small_systems_run_backwards_too(device: AbstractDevice, world: AnyWorld) -> None:
    engine = CompiledModel(world.model).engine(world.frame, VERLET, gentle(world), device=device)
    q, p = path(engine, state_of(world.frame), 100)
    q, p = path(engine, (q, -p), 100)
    near((q, -p), state_of(world.frame), 1e-9)


def test_energy_and_momentum_are_conserved(device: AbstractDevice, compiled: CompiledModel, start: Frame) -> None:
    engine = compiled.engine(start, INTEGRATORS["yoshida4"], DT, device=device)
    before = engine.begin(*state_of(start))
    engine.advance(150)
    q, p = engine.state()
    after = engine.begin(q, p)
    # shifted at the cutoff, energies are continuous but forces jump there
    assert abs(after.energy - before.energy) < 2e-3 * before.kinetic_energy
    assert np.abs(p.sum(axis=0) - state_of(start)[1].sum(axis=0)).max() < 1e-11 * np.abs(p).sum()


def test_particles_cross_boxes_without_a_jump(device: AbstractDevice, compiled: CompiledModel, start: Frame) -> None:
    """A wind blows everybody through the box; seen from the wind nothing changes."""
    wind, dt = np.array([40.0, -25.0, 60.0]), 0.25 * DT
    p = state_of(start)[1]
    still = path(compiled.engine(start, VERLET, dt, device=device), (start.q, p), 250)
    blown = path(compiled.engine(start, VERLET, dt, device=device), (start.q, p + start.masses[:, None] * wind), 250)
    np.testing.assert_allclose(blown[0] - 250 * dt * wind, still[0], atol=1e-7)
    assert 250 * dt * 60.0 > 1.1 * 6.25


def test_an_open_drop_flies_apart_without_end(device: AbstractDevice, compiled: CompiledModel) -> None:
    frame = liquid(np.random.default_rng(8), side=3, n_species=2, periodic=False)
    p = 3.0 * state_of(frame)[1]
    p[5] = 2e6, -3e6, 1e6
    engine: Any = compiled.engine(frame, VERLET, DT, device=device)
    engine.begin(frame.q, p)
    engine.advance(150)
    q, after = engine.state()
    np.testing.assert_allclose(after[5], p[5], rtol=1e-6)
    np.testing.assert_allclose(q[5] - frame.q[5], 150 * DT * p[5] / frame.masses[5], rtol=1e-6)
    assert engine._lists.listed.nbytes < 10**6


@pytest.mark.parametrize("dt", [1e6, 1e80, 1e300])
def test_an_absurd_step_blows_up_where_it_does_on_the_processor(
    device: AbstractDevice, compiled: CompiledModel, start: Frame, dt: float
) -> None:
    steps = []
    for where in (None, device):
        engine = compiled.engine(start, VERLET, dt, device=where)
        engine.begin(*state_of(start))
        with pytest.raises(BlewUp) as caught:
            engine.advance(200)
        steps.append(caught.value.step)
        assert np.isfinite(engine.begin(*state_of(start)).energy)
        engine.close()
    assert steps[0] == steps[1]


@both
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf, 1e250])
def test_numbers_that_go_wrong_in_the_middle_are_noticed(
    device: AbstractDevice, world: AnyWorld, strange: float
) -> None:
    engine: Any = CompiledModel(world.model).engine(world.frame, VERLET, 1e-4, device=device)
    engine.begin(*state_of(world.frame))
    engine.advance(7)
    engine._bodies.momentum[1, 2] = strange
    with pytest.raises(BlewUp) as caught:
        engine.advance(10**6)
    assert caught.value.step == 0
    assert np.isfinite(engine.begin(*state_of(world.frame)).energy)
    engine.advance(3)


def test_an_open_system_that_falls_together_blows_up(device: AbstractDevice, compiled: CompiledModel) -> None:
    """When everybody is everybody's neighbour there is no list to be made."""
    frame = liquid(np.random.default_rng(8), side=3, n_species=2, periodic=False)
    engine: Any = compiled.engine(frame, VERLET, DT, device=device)
    engine.begin(*state_of(frame))

    def refuse() -> None:
        raise device_engine.GraphError("cutoff means too many neighbours")

    engine._sort = refuse
    with pytest.raises(BlewUp):
        engine.advance(10**6)


class Recorder(EmulatedDevice):
    """Repeats launches as a CUDA graph does: the kernels, arrays and numbers of the recording, and no Python."""

    def __init__(self) -> None:
        super().__init__()
        self.recordings = self.replays = 0
        self._kept: list[Any] | None = None

    def launch(self, kernel: str, blocks: int, threads: int, *arguments: Any, shared_bytes: int = 0) -> None:
        if self._kept is None:
            super().launch(kernel, blocks, threads, *arguments, shared_bytes=shared_bytes)
        else:
            self._kept.append((kernel, blocks, threads, arguments))

    def record(self, steps: Callable[[], None]) -> Callable[[], None]:
        self.recordings += 1
        kept: list[Any] = []
        self._kept = kept
        steps()
        self._kept = None

        def replay() -> None:
            self.replays += 1
            for kernel, blocks, threads, arguments in kept:
                self.launch(kernel, blocks, threads, *arguments)

        return replay


def test_recorded_steps_are_repeated_through_rebuildings(compiled: CompiledModel, start: Frame) -> None:
    recorder = Recorder()
    plain = compiled.engine(start, VERLET, DT, device=EmulatedDevice())
    engine = compiled.engine(start, VERLET, DT, device=recorder)
    count = rebuilt(engine)
    assert same_bits(path(engine, state_of(start), 150), path(plain, state_of(start), 150))
    assert count[0] > 5
    assert recorder.replays > 5 * recorder.recordings
    # another state in the same engine, and the same lists
    assert same_bits(path(engine, state_of(start), 60), path(plain, state_of(start), 60))


@pytest.mark.parametrize("method", ["yoshida4", "kahanli8"])
def test_recorded_stages_of_densities_are_repeated_too(method: str) -> None:
    world = density_world(Case("some", 3, 24, n_species=2, periodic=True), taper="smooth")
    model, dt = CompiledModel(world.model), 0.3 * gentle(world)
    recorder = Recorder()
    got = path(model.engine(world.frame, INTEGRATORS[method], dt, device=recorder), state_of(world.frame), 30)
    plain = model.engine(world.frame, INTEGRATORS[method], dt, device=EmulatedDevice())
    assert recorder.replays > 0
    assert same_bits(got, path(plain, state_of(world.frame), 30))
