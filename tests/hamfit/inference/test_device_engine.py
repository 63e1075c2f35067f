"""What engines on a device say of a state, against the engines on the processor; and which models have one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from density_cases import WORLDS as DENSITY_WORLDS
from density_cases import DensityWorld
from engine_cases import WORLDS, World, all_pairs_world, bond_world, combined, cutoff_world, state_of, with_kinetic

from hamfit.devices import AbstractDevice
from hamfit.devices.emulated import EmulatedDevice
from hamfit.errors import DataError, DeviceError, GraphError, SpecError
from hamfit.frames import Frame
from hamfit.inference import AbstractEngine, CompiledModel, Observation
from hamfit.integrators import INTEGRATORS, VERLET, Composition
from hamfit.types import FloatArray
from worlds import CASES

DT = 1e-3
AnyWorld = World | DensityWorld
#: Open, periodic and skewed boxes of one to three dimensions, most of them smaller than twice the cutoff and the skin.
ALL: tuple[AnyWorld, ...] = (*(w for w in WORLDS if w.engine == "CutoffEngine"), *DENSITY_WORLDS)
#: One of each engine, two species with cutoffs and laws of their own.
BOTH: tuple[AnyWorld, ...] = (cutoff_world(CASES[6]), DENSITY_WORLDS[12])
each_world = pytest.mark.parametrize("world", ALL, ids=lambda w: f"{type(w).__name__} {w}")
both = pytest.mark.parametrize("world", BOTH, ids=lambda w: type(w).__name__)


@cache
def compiled(world: AnyWorld) -> CompiledModel:
    return CompiledModel(world.model)


def engines(world: AnyWorld, device: AbstractDevice, frame: Frame | None = None) -> tuple[AbstractEngine, ...]:
    """An engine on the processor and one on the device."""
    frame = world.frame if frame is None else frame
    here, there = (compiled(world).engine(frame, VERLET, DT, device=where) for where in (None, device))
    name = {"CutoffEngine": "DevicePairEngine", "DensityEngine": "DeviceDensityEngine"}[type(here).__name__]
    assert type(there).__name__ == name
    return here, there


def both_see(world: AnyWorld, device: AbstractDevice, q: FloatArray) -> tuple[Observation, ...]:
    here, there = (engine.begin(q, state_of(world.frame)[1]) for engine in engines(world, device))
    return here, there


def agree(here: Observation, there: Observation) -> None:
    assert here.virial is not None
    assert there.virial is not None
    size = max(float(np.abs(here.forces).max()), 1e-300)
    np.testing.assert_allclose(there.forces, here.forces, rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(there.virial, here.virial, rtol=0, atol=1e-12 * max(np.abs(here.virial).max(), size))
    assert there.potential_energy == pytest.approx(here.potential_energy, rel=1e-12, abs=1e-12)
    assert there.kinetic_energy == pytest.approx(here.kinetic_energy, rel=1e-14)
    assert (there.outside, there.pairs) == (here.outside, here.pairs)


@each_world
def test_a_state_is_seen_as_on_the_processor(device: AbstractDevice, world: AnyWorld) -> None:
    agree(*both_see(world, device, world.frame.q))


@each_world
def test_pairs_nearer_than_any_in_training_are_seen_as_on_the_processor(
    device: AbstractDevice, world: AnyWorld
) -> None:
    q = world.frame.q.copy()
    for near in (0.5, 0.2):
        q[0] = q[1]
        q[0, 0] += near
        agree(*both_see(world, device, q))


@both
def test_whole_boxes_make_no_difference(device: AbstractDevice, world: AnyWorld) -> None:
    frame = world.frame
    boxes = np.random.default_rng(1).integers(-3, 4, frame.q.shape) @ np.asarray(frame.box)
    _, engine = engines(world, device)
    p = state_of(frame)[1]
    there, here = engine.begin(frame.q + boxes, p), engine.begin(frame.q, p)
    np.testing.assert_allclose(there.forces, here.forces, atol=1e-9 * np.abs(here.forces).max())
    engine.begin(frame.q + boxes, p)
    np.testing.assert_allclose(engine.state()[0], frame.q + boxes, atol=1e-12)


@each_world
def test_a_state_comes_back_as_it_was_begun(device: AbstractDevice, world: AnyWorld) -> None:
    _, engine = engines(world, device)
    engine.begin(*state_of(world.frame))
    for _ in range(2):
        q, p = engine.state()
        np.testing.assert_allclose(q, world.frame.q, atol=1e-13)
        np.testing.assert_array_equal(p, world.frame.p)
        q[:] = 0.0


@both
def test_forces_of_all_pairs_cancel(device: AbstractDevice, world: AnyWorld) -> None:
    forces = engines(world, device)[1].begin(*state_of(world.frame)).forces
    assert np.abs(forces.sum(axis=0)).max() < 1e-14 * np.abs(forces).sum()


def test_a_learned_mass_is_used_instead_of_the_frames(device: AbstractDevice) -> None:
    learned = with_kinetic(cutoff_world(CASES[2]), quadratic=True)
    agree(*both_see(learned, device, learned.frame.q))


@both
def test_two_particles_at_one_place_are_refused_by_name(device: AbstractDevice, world: AnyWorld) -> None:
    q = world.frame.q.copy()
    q[3] = q[1]
    engine = engines(world, device)[1]
    with pytest.raises(GraphError, match="particles 1 and 3 are at the same place"):
        engine.begin(q, state_of(world.frame)[1])
    # and the engine can be begun anew
    agree(engines(world, device)[0].begin(*state_of(world.frame)), engine.begin(*state_of(world.frame)))


@both
def test_states_that_are_no_states_are_refused(device: AbstractDevice, world: AnyWorld) -> None:
    q, p = (x.copy() for x in state_of(world.frame))
    engine = engines(world, device)[1]
    with pytest.raises(DataError, match="give q and p of shape"):
        engine.begin(q[1:], p)
    p[1, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        engine.begin(q, p)
    p[1, 0], q[1, 0] = 0.0, 1e30
    with pytest.raises(GraphError, match="farther than"):
        engine.begin(q, p)
    engine.begin(*state_of(world.frame))
    with pytest.raises(SpecError, match="n_steps is -1"):
        engine.advance(-1)


def test_boxes_in_a_wrong_unit_are_refused(device: AbstractDevice) -> None:
    world = BOTH[0]
    tiny = replace(world.frame, box=1e-3 * np.asarray(world.frame.box), q=1e-3 * world.frame.q)
    with pytest.raises(GraphError, match="neighbours"):
        engines(world, device, tiny)[1].begin(*state_of(tiny))


@both
def test_a_device_that_is_full_is_said_with_what_to_do(world: AnyWorld) -> None:
    engine = engines(world, EmulatedDevice(memory_bytes=100))[1]
    with pytest.raises(DeviceError, match=r"no room for .* use the device cpu"):
        engine.begin(*state_of(world.frame))


def models_without() -> list[tuple[str, World, Composition | str]]:
    return [
        ("bonds", bond_world(dim=3, periodic=True), VERLET),
        ("all pairs", all_pairs_world(CASES[2]), VERLET),
        ("two blocks", combined(), VERLET),
        ("velocities of their own", with_kinetic(cutoff_world(CASES[5]), quadratic=False), VERLET),
        ("midpoint", cutoff_world(CASES[5]), "midpoint"),
        ("drift first", cutoff_world(CASES[5]), Composition("drift first", 2, (1.0,), first="drift")),
    ]


@pytest.mark.parametrize(("name", "world", "method"), models_without(), ids=lambda x: x if isinstance(x, str) else "")
def test_what_no_device_runs_runs_on_the_processor_and_says_so(
    device: AbstractDevice, name: str, world: World, method: Composition | str
) -> None:
    used = INTEGRATORS[method] if isinstance(method, str) else method
    plain = compiled(world).engine(world.frame, used, DT)
    engine = compiled(world).engine(world.frame, used, DT, device=device)
    assert type(engine) is type(plain)
    assert engine.device == "cpu"
    assert engine.description.startswith(plain.description)
    assert f"on the processor: there is no engine for this on {device.name}" in engine.description


@both
def test_what_a_device_runs_says_where(device: AbstractDevice, world: AnyWorld) -> None:
    here, there = engines(world, device)
    assert here.device == "cpu"
    assert there.device == device.name
    assert f"on {device.name}" in there.description
