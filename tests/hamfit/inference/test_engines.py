"""What engines say of a state, against the model itself and against plain loops."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest
from engine_cases import (
    WORLDS,
    World,
    all_pairs_world,
    bond_world,
    combined,
    cutoff_world,
    state_of,
    with_kinetic,
)

from hamfit.errors import DataError, GraphError, ModelError, SpecError
from hamfit.features.manybody import ManyBodyBlock
from hamfit.fitting import FitResult
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.inference import AbstractEngine, CompiledModel, Observation
from hamfit.integrators import INTEGRATORS, VERLET, Composition
from hamfit.model import Model, Potential
from worlds import CASES, liquids, pairs, relative

DT = 1e-3
ENGINES = ("CutoffEngine", "ListedEngine", "BlocksEngine")


def began(world: World, frame: Frame | None = None) -> Observation:
    frame = world.frame if frame is None else frame
    engine = CompiledModel(world.model).engine(frame, VERLET, DT)
    assert type(engine).__name__ == world.engine
    return engine.begin(*state_of(frame))


def of_features(world: World, frame: Frame) -> Potential:
    """Sums of the features themselves, without any table."""
    virial = np.zeros((frame.dim, frame.dim))
    block = world.model.blocks[0]
    energy, gradient = block.energy_and_gradient(block.prepare(frame), world.model.theta[0], virial)
    return Potential(energy + float(world.model.constants[frame.species].sum()), -gradient, virial, 0, 0)


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_a_state_is_seen_as_the_model_sees_it(world: World) -> None:
    seen, frame = began(world), world.frame
    expected = of_features(world, frame)
    assert expected.virial is not None
    assert seen.virial is not None
    size = float(np.abs(expected.forces).max())
    np.testing.assert_allclose(seen.forces, expected.forces, rtol=0, atol=2e-10 * size)
    assert seen.potential_energy == pytest.approx(expected.energy, rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(seen.virial, expected.virial, rtol=0, atol=1e-10 * np.abs(expected.virial).max())
    if np.isfinite(world.model.extents["pair"]).all():
        model = world.model.potential(frame)
        np.testing.assert_allclose(seen.forces, model.forces, rtol=0, atol=2e-10 * size)
        assert seen.potential_energy == pytest.approx(model.energy, rel=1e-10, abs=1e-10)
    assert seen.virial.shape == (frame.dim, frame.dim)
    assert seen.kinetic_energy == pytest.approx(world.model.kinetic_energy(frame), rel=1e-13)
    assert seen.energy == seen.potential_energy + seen.kinetic_energy


@pytest.mark.parametrize("world", [w for w in WORLDS if w.engine == "CutoffEngine"], ids=str)
def test_pairs_and_those_outside_the_trained_range_are_counted(world: World) -> None:
    seen, block = began(world), world.model.blocks[0]
    extents = world.model.extents["pair"]
    outside = total = 0
    for *_, c, _, r in pairs(world.frame, block.graph.cutoffs):
        total += 1
        # where nothing was seen in training everything is outside
        outside += not extents[c, 0] <= r <= extents[c, 1]
    assert (2 * seen.outside, 2 * seen.pairs) == (outside, total)
    assert (2 * seen.outside, 2 * seen.pairs) == world.model.extrapolated(world.frame)


@pytest.mark.parametrize("world", [w for w in WORLDS if w.engine == "ListedEngine"], ids=str)
def test_listed_pairs_are_counted_as_the_model_counts_them(world: World) -> None:
    seen = began(world)
    assert (2 * seen.outside, 2 * seen.pairs) == world.model.extrapolated(world.frame)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_nearest_and_farthest_pair_of_training_are_inside(case: object) -> None:
    world = cutoff_world(case, share=1.0)
    model, graph = world.model, world.model.blocks[0].graph
    edges = graph.prepare(world.frame).edges(np.arange(world.frame.n_particles))
    extents = np.full((graph.n_channels, 2), np.nan)
    for c in np.unique(edges.channel):
        lengths = edges.distance[edges.channel == c]
        extents[c] = lengths.min(), lengths.max()
    model = replace(model, extents={"pair": extents})
    seen = CompiledModel(model).engine(world.frame, VERLET, DT).begin(*state_of(world.frame))
    only = [c for c in range(graph.n_channels) if not extents[c, 1] > extents[c, 0]]
    assert seen.outside == 0 or only
    assert 2 * seen.pairs == edges.distance.size


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_forces_are_the_derivative_of_the_energy(world: World) -> None:
    frame = world.frame
    engine = CompiledModel(world.model).engine(frame, VERLET, DT)
    q, p = state_of(frame)
    forces, h = engine.begin(q, p).forces, 2e-5
    size = float(np.abs(forces).max())
    wrong = 0
    for i, axis in itertools.product(range(min(frame.n_particles, 4)), range(frame.dim)):
        step = np.zeros_like(q)
        step[i, axis] = h
        e = {k: engine.begin(q + k * step, p).potential_energy for k in (-2, -1, 1, 2)}
        slope = (e[-2] - 8.0 * e[-1] + 8.0 * e[1] - e[2]) / (12.0 * h)
        # a pair that crosses a hard cutoff within the step has no derivative there
        wrong += abs(forces[i, axis] + slope) > 1e-7 * size
    assert wrong == 0


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_a_pair_nearer_than_any_in_training_is_pushed_as_the_features_say(world: World) -> None:
    frame = world.frame
    if frame.n_particles < 3:
        return
    i, j = (0, 1) if frame.bonds is None else (int(x) for x in frame.bonds[0])
    c = 0
    if frame.bonds is None:
        c = sorted(itertools.combinations_with_replacement(range(len(frame.labels)), 2)).index(
            tuple(sorted((int(frame.species[i]), int(frame.species[j]))))
        )
    low = world.model.extents["pair"][c, 0]
    q = frame.q.copy()
    q[i] = q[j]
    q[i, 0] += 0.8 * low if np.isfinite(low) else 0.4
    moved = replace(frame, q=q)
    expected = of_features(world, moved)
    seen = began(world, moved)
    np.testing.assert_allclose(seen.forces, expected.forces, atol=1e-9 * np.abs(expected.forces).max())
    assert seen.potential_energy == pytest.approx(expected.energy, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_two_particles_at_one_place_are_refused_as_the_model_refuses_them(world: World) -> None:
    frame = world.frame
    i, j = (0, 1) if frame.bonds is None else (int(x) for x in frame.bonds[0])
    q = frame.q.copy()
    q[i] = q[j]
    with pytest.raises(GraphError, match=f"particles {min(i, j)} and {max(i, j)} are at the same place"):
        began(world, replace(frame, q=q))


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_whole_boxes_make_no_difference(world: World) -> None:
    frame = world.frame
    if frame.box is None:
        return
    engine = CompiledModel(world.model).engine(frame, VERLET, DT)
    q, p = state_of(frame)
    boxes = np.random.default_rng(1).integers(-3, 4, q.shape) @ frame.box
    there, here = engine.begin(q + boxes, p), engine.begin(q, p)
    np.testing.assert_allclose(there.forces, here.forces, atol=1e-9 * np.abs(here.forces).max())
    engine.begin(q + boxes, p)
    np.testing.assert_allclose(engine.state()[0], q + boxes, atol=1e-12)


def test_a_state_comes_back_as_it_was_begun() -> None:
    for world in (*WORLDS, combined()):
        engine = CompiledModel(world.model).engine(world.frame, VERLET, DT)
        engine.begin(*state_of(world.frame))
        q, p = engine.state()
        np.testing.assert_allclose(q, world.frame.q, atol=1e-13)
        np.testing.assert_array_equal(p, world.frame.p)
        q[:] = 0.0
        np.testing.assert_allclose(engine.state()[0], world.frame.q, atol=1e-13)


def test_a_learned_mass_is_used_instead_of_the_frames() -> None:
    for world in (cutoff_world(CASES[2]), bond_world(dim=2, periodic=False), all_pairs_world(CASES[2])):
        learned = with_kinetic(world, quadratic=True)
        seen = began(learned)
        assert seen.kinetic_energy == pytest.approx(learned.model.kinetic_energy(learned.frame), rel=1e-12)
        masses = np.array([1.3, 0.7])[world.frame.species]
        p = state_of(world.frame)[1]
        assert seen.kinetic_energy == pytest.approx(float(np.sum(p**2 / masses[:, None]) / 2.0), rel=1e-12)
        assert CompiledModel(learned.model).rates(learned.frame) == pytest.approx(1.0 / masses)


def test_kinetic_energies_that_are_not_quadratic_go_to_the_blocks() -> None:
    world = with_kinetic(cutoff_world(CASES[5]), quadratic=False)
    seen = began(world)
    assert CompiledModel(world.model).rates(world.frame) is None
    assert seen.kinetic_energy == pytest.approx(world.model.kinetic_energy(world.frame), rel=1e-13)
    np.testing.assert_allclose(seen.forces, world.model.forces(world.frame), rtol=1e-12)


def test_a_species_never_seen_moving_matters_only_to_frames_that_hold_it() -> None:
    world = with_kinetic(cutoff_world(CASES[2]), quadratic=True)
    extents = {**world.model.extents, "kinetic": np.array([[0.0, 3.0], [np.nan, np.nan]])}
    compiled = CompiledModel(replace(world.model, extents=extents))
    only_a = replace(world.frame, species=np.zeros_like(world.frame.species))
    assert type(compiled.engine(only_a, VERLET, DT)).__name__ == "CutoffEngine"
    assert type(compiled.engine(world.frame, VERLET, DT)).__name__ == "BlocksEngine"


def test_other_models_and_other_integrators_go_to_the_blocks() -> None:
    world = cutoff_world(CASES[2])
    drift_first = Composition("drift first", 2, (1.0,), first="drift")
    for method in (INTEGRATORS["midpoint"], drift_first):
        assert type(CompiledModel(world.model).engine(world.frame, method, DT)).__name__ == "BlocksEngine"
    field = combined()
    seen = began(field)
    assert seen.virial is None
    np.testing.assert_allclose(seen.forces, field.model.forces(field.frame), rtol=1e-12)
    assert seen.pairs == began(world).pairs


def test_blocks_count_the_pairs_that_are_nearer_than_a_many_body_block_saw() -> None:
    frame = liquids(31, 1, n_species=2)[0]
    graph = CutoffGraph(frame.labels, np.full((2, 2), 1.6))
    block = ManyBodyBlock.sample([frame], graph, n_features=4, n_radial=2, l_max=2, rng=np.random.default_rng(3))
    model = Model((block,), (np.ones(block.n_columns),), np.zeros(2), frame.labels, (), 3, {})
    engine = CompiledModel(model).engine(frame, VERLET, DT)
    assert type(engine).__name__ == "BlocksEngine"
    q, p = state_of(frame)
    seen = engine.begin(q, p)
    assert (seen.outside, seen.pairs) == (0, sum(1 for _ in pairs(frame, graph.cutoffs)) // 2)
    q[0] = q[1] + np.array([0.4, 0.0, 0.0])
    near = engine.begin(q, p)
    assert near.outside >= 1
    assert (2 * near.outside, 2 * near.pairs) == model.extrapolated(replace(frame, q=q))


def test_a_fitted_model_runs_on_its_polynomials(binary_fit: FitResult) -> None:
    model, frame = binary_fit.model, liquids(31, 1, n_species=2)[0]
    compiled = CompiledModel(model)
    engine = compiled.engine(frame, VERLET, DT)
    assert type(engine).__name__ == "CutoffEngine"
    assert "polynomial" in engine.description
    seen, expected = engine.begin(*state_of(frame)), model.potential(frame)
    assert relative(seen.forces, expected.forces) < 1e-9
    assert (2 * seen.outside, 2 * seen.pairs) == model.extrapolated(frame)
    assert seen.kinetic_energy == pytest.approx(model.kinetic_energy(frame), rel=1e-9)


@pytest.mark.parametrize("name", ENGINES)
def test_compiled_models_travel_between_processes(name: str) -> None:
    world = next(w for w in (*WORLDS, combined()) if w.engine == name)
    here = CompiledModel(world.model)
    there = pickle.loads(pickle.dumps(here))
    a, b = (c.engine(world.frame, VERLET, DT) for c in (here, there))
    for engine in (a, b):
        engine.begin(*state_of(world.frame))
        engine.advance(5)
    assert a.state()[0].tobytes() == b.state()[0].tobytes()
    assert a.state()[1].tobytes() == b.state()[1].tobytes()


def refusing(world: World) -> AbstractEngine:
    return CompiledModel(world.model).engine(world.frame, VERLET, DT)


@pytest.fixture(params=ENGINES)
def any_world(request: pytest.FixtureRequest) -> World:
    return next(w for w in (*WORLDS, combined()) if w.engine == request.param)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_a_state_that_is_not_finite_is_refused(any_world: World, strange: float) -> None:
    engine = refusing(any_world)
    for which in (0, 1):
        state = [x.copy() for x in state_of(any_world.frame)]
        state[which][1, 0] = strange
        with pytest.raises(DataError, match="not finite"):
            engine.begin(*state)


def test_a_state_of_another_shape_is_refused(any_world: World) -> None:
    engine = refusing(any_world)
    q, p = state_of(any_world.frame)
    for wrong in ((q[:-1], p[:-1]), (q[:1], p), (q, p[:, :0]), (q.ravel(), p.ravel())):
        with pytest.raises(DataError, match=r"give q and p of shape"):
            engine.begin(*wrong)


@pytest.mark.parametrize("world", [cutoff_world(CASES[5]), bond_world(dim=3, periodic=True)], ids=str)
def test_a_particle_beyond_all_bounds_is_refused(world: World) -> None:
    q, p = (x.copy() for x in state_of(world.frame))
    q[2, 1] = 1e25
    with pytest.raises(GraphError, match="distances are lost"):
        refusing(world).begin(q, p)


def test_steps_and_threads_that_cannot_be_are_refused(any_world: World) -> None:
    compiled = CompiledModel(any_world.model)
    for dt in (0.0, np.nan, np.inf):
        with pytest.raises(SpecError, match="no step"):
            compiled.engine(any_world.frame, VERLET, dt)
    with pytest.raises(SpecError, match="threads is 0"):
        compiled.engine(any_world.frame, VERLET, DT, threads=0)
    engine = refusing(any_world)
    engine.begin(*state_of(any_world.frame))
    with pytest.raises(SpecError, match="n_steps is -1"):
        engine.advance(-1)


def test_frames_that_do_not_fit_are_refused() -> None:
    world = cutoff_world(CASES[5])
    compiled = CompiledModel(world.model)
    flat = Frame(q=np.zeros((3, 2)), species=np.zeros(3, dtype=np.int64), labels=("A",), masses=np.ones(3))
    with pytest.raises(ModelError, match="3-dimensional"):
        compiled.engine(flat, VERLET, DT)
    with pytest.raises(ModelError, match="unknown"):
        compiled.engine(replace(world.frame, labels=("A", "X")), VERLET, DT)
    wrong = replace(world.frame, species=world.frame.species + 1)
    with pytest.raises(GraphError, match="species"):
        compiled.engine(wrong, VERLET, DT)
    # a box in the wrong unit: millions of neighbours
    tiny = replace(world.frame, box=1e-3 * np.asarray(world.frame.box), q=1e-3 * world.frame.q)
    with pytest.raises(GraphError, match="neighbours"):
        compiled.engine(tiny, VERLET, DT).begin(*state_of(tiny))
    bonds = bond_world(dim=3, periodic=False)
    with pytest.raises(GraphError, match="no bonds"):
        CompiledModel(bonds.model).engine(replace(bonds.frame, bonds=None, bond_types=None), VERLET, DT).begin(
            *state_of(bonds.frame)
        )
    everybody = all_pairs_world(CASES[2])
    periodic = replace(everybody.frame, box=9.0 * np.eye(3), periodic=(True,) * 3)
    with pytest.raises(GraphError, match="periodic"):
        CompiledModel(everybody.model).engine(periodic, VERLET, DT).begin(*state_of(periodic))


def test_a_model_without_bonds_or_cutoff_says_what_it_is(any_world: World) -> None:
    engine = refusing(any_world)
    words = {"CutoffEngine": "pairs within cutoffs", "ListedEngine": "bonds", "BlocksEngine": "blocks"}
    assert engine.description.startswith(words[any_world.engine])
    engine.close()


@pytest.mark.parametrize("world", [next(w for w in WORLDS if w.engine == e) for e in ENGINES[:2]], ids=str)
def test_an_engine_says_whether_its_steps_are_compiled(world: World) -> None:
    engine = CompiledModel(world.model).engine(world.frame, VERLET, DT)
    assert engine.is_compiled
    assert engine.pair_bytes == 0
    bent = with_kinetic(world, quadratic=False) if len(world.frame.labels) == 2 else combined()
    assert not CompiledModel(bent.model).engine(bent.frame, VERLET, DT).is_compiled
