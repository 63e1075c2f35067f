"""What the density engine says of a state, against the definition, the features and finite differences."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from density_cases import WORLDS, DensityWorld, compiled, density_world, moved_to, of_features, plain_potential
from engine_cases import state_of

from hamfit.errors import DataError, GraphError
from hamfit.features.kinetic import KineticBlock
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.radial import RadialFeatures
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.inference import AbstractEngine, CompiledModel, Observation
from hamfit.inference.density import CompiledDensity
from hamfit.integrators import INTEGRATORS, VERLET
from hamfit.model import Potential
from hamfit.types import FloatArray
from worlds import CASES, pairs

DT = 1e-3
each_world = pytest.mark.parametrize("world", WORLDS, ids=str)


def engine_of(world: DensityWorld, frame: Frame | None = None) -> AbstractEngine:
    engine = compiled(world).engine(world.frame if frame is None else frame, VERLET, DT)
    assert type(engine).__name__ == "DensityEngine"
    return engine


def began(world: DensityWorld, frame: Frame | None = None) -> Observation:
    frame = world.frame if frame is None else frame
    return engine_of(world, frame).begin(*state_of(frame))


def agree(seen: Observation, expected: Potential, tolerance: float) -> None:
    assert seen.virial is not None
    assert expected.virial is not None
    np.testing.assert_allclose(seen.forces, expected.forces, rtol=0, atol=tolerance * np.abs(expected.forces).max())
    np.testing.assert_allclose(seen.virial, expected.virial, rtol=0, atol=tolerance * np.abs(expected.virial).max())
    assert seen.potential_energy == pytest.approx(expected.energy, rel=tolerance, abs=tolerance)


@each_world
def test_a_state_is_seen_as_the_definition_says(world: DensityWorld) -> None:
    agree(began(world), plain_potential(world, world.frame), 1e-7)


@each_world
def test_a_state_is_seen_as_the_features_say_to_the_error_that_is_stated(world: DensityWorld) -> None:
    stated = compiled(world).functions
    assert isinstance(stated, CompiledDensity)
    assert stated.error < 1e-11
    expected = of_features(world, world.frame)
    seen = began(world)
    rms = np.sqrt(np.mean((seen.forces - expected.forces) ** 2) / np.mean(expected.forces**2))
    # forces of many pairs cancel, which no statement about one pair can know
    assert rms < 100.0 * stated.error + 1e-12
    agree(seen, expected, 1e-10)


@each_world
def test_the_model_itself_says_the_same(world: DensityWorld) -> None:
    agree(began(world), world.model.potential(world.frame), 1e-9)
    assert began(world).kinetic_energy == pytest.approx(world.model.kinetic_energy(world.frame), rel=1e-13)


@each_world
def test_forces_are_the_derivative_of_the_energy(world: DensityWorld) -> None:
    frame, engine = world.frame, engine_of(world)
    q, p = state_of(frame)
    forces, h = engine.begin(q, p).forces, 2e-5
    size = float(np.abs(forces).max())
    assert size > 1e-3
    for i, axis in itertools.product(range(min(frame.n_particles, 4)), range(frame.dim)):
        step = np.zeros_like(q)
        step[i, axis] = h
        e = {k: engine.begin(q + k * step, p).potential_energy for k in (-2, -1, 1, 2)}
        slope = (e[-2] - 8.0 * e[-1] + 8.0 * e[1] - e[2]) / (12.0 * h)
        assert forces[i, axis] == pytest.approx(-slope, abs=1e-7 * size)


@each_world
def test_the_virial_is_minus_the_derivative_of_the_energy_by_strain(world: DensityWorld) -> None:
    frame, h = world.frame, 1e-5
    virial = began(world).virial
    assert virial is not None
    energies: dict[int, FloatArray] = {}
    for k in (-2, -1, 1, 2):
        energies[k] = np.zeros((frame.dim, frame.dim))
        for a, b in itertools.product(range(frame.dim), repeat=2):
            strain = np.eye(frame.dim)
            strain[a, b] += k * h
            box = None if frame.box is None else frame.box @ strain
            energies[k][a, b] = began(world, replace(frame, q=frame.q @ strain, box=box)).potential_energy
    expected = -(energies[-2] - 8.0 * energies[-1] + 8.0 * energies[1] - energies[2]) / (12.0 * h)
    np.testing.assert_allclose(virial, expected, rtol=0, atol=1e-6 * max(1.0, np.abs(expected).max()))


@each_world
def test_pairs_are_counted_as_the_model_counts_them(world: DensityWorld) -> None:
    seen = began(world)
    total = sum(1 for block in world.model.blocks for _ in pairs(world.frame, block.graph.cutoffs))
    assert 2 * seen.pairs == total
    assert (2 * seen.outside, 2 * seen.pairs) == world.model.extrapolated(world.frame)
    if len(world.model.blocks) == 1:
        # the density was sampled on this frame
        assert seen.outside == 0


@each_world
@pytest.mark.parametrize("share", [0.97, 0.8, 0.6])
def test_pairs_nearer_than_any_in_training_follow_the_features(world: DensityWorld, share: float) -> None:
    frame = world.frame
    layer = world.model.blocks[-1].layer
    a, b = frame.species[0], frame.species[1]
    known = [float(layer.radial.lower[a, b])] if layer.radial.cutoff[a, b] > 0.0 else []
    if "pair" in world.model.extents:
        known.append(float(world.model.extents["pair"][int(a + b), 0]))
    low = min(known)
    q = frame.q.copy()
    q[0] = q[1]
    q[0, 0] += share * low
    near = moved_to(frame, q)
    agree(began(world, near), of_features(world, near), 1e-8)
    if layer.radial.cutoff[a, b] > 0.0:
        assert began(world, near).outside >= 1
    assert 2 * began(world, near).outside == world.model.extrapolated(near)[0]


@pytest.mark.parametrize("world", [w for w in WORLDS if "absent" not in w.name], ids=str)
def test_particles_without_neighbours_have_the_energy_of_an_empty_place(world: DensityWorld) -> None:
    frame = world.frame
    apart = np.zeros_like(frame.q)
    apart[:, 0] = 10.0 * np.arange(frame.n_particles)
    alone = replace(frame, q=apart, box=None, periodic=())
    seen = began(world, alone)
    assert seen.pairs == 0
    assert np.abs(seen.forces).max() == 0.0
    assert seen.potential_energy == pytest.approx(of_features(world, alone).energy, rel=1e-10)


def test_coefficients_of_a_million_cost_no_digits_of_the_force() -> None:
    world = density_world(CASES[5], size=1e6)
    expected = of_features(world, world.frame)
    got = began(world)
    np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=1e-11 * np.abs(expected.forces).max())


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_the_number_of_threads_changes_no_bit_of_what_is_seen(threads: int) -> None:
    world = WORLDS[12]
    engine = compiled(world).engine(world.frame, VERLET, DT, threads=threads)
    one, many = began(world), engine.begin(*state_of(world.frame))
    engine.close()
    assert one.forces.tobytes() == many.forces.tobytes()
    assert one.potential_energy == many.potential_energy


def test_two_particles_at_one_place_are_refused() -> None:
    for world in (WORLDS[2], WORLDS[9], WORLDS[16]):
        q = world.frame.q.copy()
        q[0] = q[1]
        with pytest.raises(GraphError, match="particles 0 and 1 are at the same place"):
            began(world, moved_to(world.frame, q))


def test_states_that_are_no_states_are_refused() -> None:
    world = WORLDS[6]
    q, p = state_of(world.frame)
    engine = engine_of(world)
    wrong = q.copy()
    wrong[1, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        engine.begin(wrong, p)
    with pytest.raises(DataError, match="shapes"):
        engine.begin(q[1:], p)
    wrong[1, 0] = 1e30
    with pytest.raises(GraphError, match="farther than"):
        engine.begin(wrong, p)


def test_only_one_density_with_pairs_within_cutoffs_takes_this_engine() -> None:
    world = density_world(CASES[5], taper="smooth")
    frame, model = world.frame, world.model
    assert isinstance(CompiledModel(model).functions, CompiledDensity)
    assert type(CompiledModel(model).engine(frame, INTEGRATORS["midpoint"], DT)).__name__ == "BlocksEngine"
    graph = CutoffGraph(frame.labels, CASES[5].cutoffs)
    for l_max, n_radial in ((1, 1), (0, 2)):
        other = ManyBodyBlock.sample(
            [frame], graph, n_features=4, n_radial=n_radial, n_bumps=4, l_max=l_max, rng=np.random.default_rng(0)
        )
        changed = replace(model, blocks=(model.blocks[0], other), theta=(model.theta[0], np.ones(other.n_columns)))
        other_model = CompiledModel(changed)
        assert other_model.functions is None
        assert other_model.laws == ()
        assert type(other_model.engine(frame, VERLET, DT)).__name__ == "BlocksEngine"
    twice = replace(model, blocks=(model.blocks[1],) * 2, theta=(model.theta[1],) * 2)
    assert type(CompiledModel(twice).engine(frame, VERLET, DT)).__name__ == "BlocksEngine"


def test_velocities_that_are_no_multiples_of_momenta_take_the_blocks() -> None:
    world = density_world(CASES[5])
    n = len(world.frame.labels)
    radial = RadialFeatures(
        ("r2",) * n, np.zeros(n), np.full(n, 4.0), np.ones((n, 2)), np.zeros((n, 2)), np.full(n, np.inf), ("shift",) * n
    )
    theta = np.zeros((n, radial.per_channel))
    theta[:, 2] = 2.0 / np.array([1.3, 0.7])
    for bent, name in ((0.0, "DensityEngine"), (0.05, "BlocksEngine")):
        theta[:, 0] = bent
        block = KineticBlock(radial, world.frame.labels)
        model = replace(
            world.model,
            blocks=(*world.model.blocks, block),
            theta=(*world.model.theta, theta.ravel()),
            extents={**world.model.extents, "kinetic": np.tile([0.0, 3.0], (n, 1))},
        )
        engine = CompiledModel(model).engine(world.frame, VERLET, DT)
        assert type(engine).__name__ == name
        seen = engine.begin(*state_of(world.frame))
        assert seen.kinetic_energy == pytest.approx(model.kinetic_energy(world.frame), rel=1e-9)


def test_the_engine_says_what_it_runs() -> None:
    world = density_world(CASES[5], taper="smooth")
    laws = compiled(world).laws
    labels = [law.label for law in laws]
    assert labels[:2] == ["embedding of A", "embedding of B"]
    assert {"density of B at A", "density of A at B", "pair A-B"} <= set(labels)
    assert all(law.error < 1e-11 for law in laws)
    assert "pieces of degree 7 in r^2" in engine_of(world).description
