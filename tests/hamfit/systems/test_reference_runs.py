from __future__ import annotations

import numpy as np
import pytest

from hamfit.errors import SpecError
from hamfit.progress import Event
from hamfit.systems import SYSTEMS, Simulation, system
from hamfit.systems.gravity import gravity_potential
from hamfit.systems.networks import NetworkSpec, network_potential
from hamfit.systems.potentials import PairSum
from hamfit.systems.simulation import Run
from hamfit.systems.starts import heat
from hamfit.types import FloatArray

# Small runs of every system, and the relative energy error that its reference must stay below.
SMALL: list[tuple[str, dict[str, object], float]] = [
    ("spring", {"geometry": "chain", "shape": "5", "dim": 1}, 1e-11),
    ("spring", {"geometry": "ring", "shape": 5}, 1e-11),
    ("anharmonic", {"geometry": "square", "shape": "5x4", "periodic": True, "diagonals": True}, 1e-11),
    ("morse", {"geometry": "cubic", "shape": "2x2x2"}, 1e-11),
    ("lj", {"shape": "3x3x3", "n_frames": 7, "melt_steps": 100}, 1e-3),
    ("lj", {"shape": "6x4", "n_frames": 7, "melt_steps": 100, "n_trajectories": 2}, 1e-3),
    ("kob-andersen", {"shape": "3x3x3", "n_frames": 7, "melt_steps": 100}, 1e-3),
    ("gravity", {}, 1e-11),
    ("nspring", {"n_trajectories": 10}, 1e-11),
    ("nbody", {"n_frames": 100}, 1e-11),
    ("nbody", {"n_frames": 100, "start": "fresh", "n_trajectories": 3, "dim": 2}, 1e-11),
]
every_small = pytest.mark.parametrize(("name", "options", "bound"), SMALL, ids=lambda value: str(value)[:40])


def run(name: str, **options: object) -> Simulation:
    entry = system(name)
    return entry.run(entry.spec(options))


def distances(potential: PairSum, one: Run) -> FloatArray:
    """Distance of each pair in each frame, (B, T)."""
    return np.asarray(np.linalg.norm(potential.vectors(np.swapaxes(one.q, 0, 1)), axis=-1))


def test_every_system_of_the_catalogue_has_a_small_run() -> None:
    assert {name for name, _, _ in SMALL} == set(SYSTEMS)


@every_small
def test_energy_and_momentum_are_conserved(name: str, options: dict[str, object], bound: float) -> None:
    simulation = run(name, **options)
    assert simulation.relative_energy_error < bound
    for trajectory in simulation.runs:
        total = trajectory.p.sum(axis=1)
        assert np.abs(total - total[0]).max() < 1e-11 * np.abs(trajectory.p).sum(axis=1).max()
        if name != "nbody":
            assert np.abs(total).max() < 1e-11 * np.abs(trajectory.p).sum(axis=1).max()


@every_small
def test_the_same_seed_gives_the_same_bits(name: str, options: dict[str, object], bound: float) -> None:
    first, second = run(name, **options), run(name, **options)
    for a, b in zip(first.runs, second.runs, strict=True):
        for field in ("q", "p", "forces", "potential_energy"):
            assert np.array_equal(getattr(a, field), getattr(b, field))


@every_small
def test_another_seed_gives_another_start(name: str, options: dict[str, object], bound: float) -> None:
    if name == "nbody" and options.get("start") != "fresh":
        options = {**options, "start": "fresh"}
    first, second = run(name, **{**options, "seed": 1}), run(name, **{**options, "seed": 2})
    assert not np.array_equal(first.runs[0].q[0], second.runs[0].q[0])


@every_small
def test_stored_forces_push_the_stored_momenta(name: str, options: dict[str, object], bound: float) -> None:
    # Over one short step, p changes by the mean force: no conversion factor hides anywhere.
    simulation = run(name, **{**options, "every": 1, "n_frames": 3, "dt": 1e-4})
    for trajectory in simulation.runs:
        change = (trajectory.p[2] - trajectory.p[0]) / 2e-4
        assert np.allclose(change, trajectory.forces[1], rtol=0, atol=1e-4 * np.abs(trajectory.forces).max())


def test_a_trajectory_does_not_depend_on_how_many_there_are() -> None:
    few, many = run("spring", n_trajectories=2), run("spring", n_trajectories=5)
    for a, b in zip(few.runs, many.runs, strict=False):
        assert np.array_equal(a.q, b.q)


def test_heats_start_at_one_and_fill_the_spread() -> None:
    factors = [heat(k, 3.0) for k in range(8)]
    assert factors[:4] == [1.0, 2.0, 1.5, 2.5]
    assert sorted(factors) == [1.0 + k / 4 for k in range(8)]


@pytest.mark.parametrize("name", ["spring", "anharmonic", "morse"])
@pytest.mark.parametrize(
    ("geometry", "small", "large"),
    [("square", "2x2", "40x40"), ("square", "3x3", "40x40"), ("cubic", "2x2x2", "10x10x10")],
)
def test_a_training_lattice_sees_all_bond_lengths_of_a_large_one(
    name: str, geometry: str, small: str, large: str
) -> None:
    ranges = []
    for options in ({"shape": small}, {"shape": large, "n_trajectories": 1, "n_frames": 8}):
        entry = system(name)
        spec = entry.spec({"geometry": geometry, **options})
        assert isinstance(spec, NetworkSpec)
        potential = network_potential(spec)
        r = np.concatenate([distances(potential, one).ravel() for one in entry.run(spec).runs])
        ranges.append((r.min(), r.max()))
    assert ranges[0][0] < ranges[1][0]
    assert ranges[0][1] > ranges[1][1]


def test_fresh_bodies_stay_within_the_distances_of_the_given_ones() -> None:
    potential = gravity_potential(np.ones(4))
    pairs = potential.pairs
    given = distances(potential, run("nbody", n_frames=2000).runs[0])
    inner, outer = np.isin(np.arange(6), np.argsort(given.min(axis=1))[:2]), given.min(axis=1) > 3.0
    for one in run("nbody", start="fresh", n_trajectories=5, n_frames=500).runs:
        r = distances(potential, one)
        partners = (pairs // 2)[:, 0] == (pairs // 2)[:, 1]
        assert r[partners].min() > given[inner].min()
        assert r[partners].max() < given[inner].max()
        assert r[~partners].min() > given[outer].min()
        assert r[~partners].max() < given[outer].max()


def test_the_mirrored_bodies_move_as_mirror_images() -> None:
    given, mirror = run("nbody", n_frames=50).runs[0], run("nbody", n_frames=50, start="mirror").runs[0]
    flip = np.array([-1.0, 1.0, 1.0])
    assert np.allclose(mirror.q, given.q * flip, rtol=0, atol=1e-12)
    assert np.allclose(mirror.p[0], given.p[0])


def test_benchmark_springs_start_in_their_boxes() -> None:
    simulation = run("nspring", n_frames=1)
    q = np.stack([one.q[0] for one in simulation.runs])
    assert q.min() >= 0.0
    assert q.max() < 2.0
    assert q.max() > 1.9
    p = np.stack([one.p[0] for one in simulation.runs])
    assert np.abs(p).max() < 0.1
    wider = run("nspring", n_frames=1, width=2.2)
    assert np.allclose(wider.runs[0].q, 1.1 * simulation.runs[0].q)


def test_benchmark_frames_are_a_tenth_apart() -> None:
    for name in ("nspring", "nbody"):
        assert np.allclose(np.diff(run(name, n_frames=5).time), 0.1)


def test_the_liquid_is_molten_and_has_the_temperature_asked_for() -> None:
    simulation = run("lj", shape="4x4x4", n_frames=3, temperature=0.9)
    one = simulation.runs[0]
    n = one.q.shape[1]
    assert (one.p[0] ** 2).sum() / (3 * (n - 1)) == pytest.approx(0.9, rel=1e-12)
    box = simulation.particles.box
    assert box is not None
    assert n / np.linalg.det(box) == pytest.approx(0.8442)
    # The (111) Bragg peak of the crystal is 1 per atom; a liquid scatters a few percent of it at most.
    k = 2 * np.pi * 4 / box[0, 0] * np.array([1.0, 1.0, 1.0])
    assert abs(np.exp(1j * one.q[0] @ k).mean()) < 0.25


def test_tiles_are_copies_at_first_and_soon_differ() -> None:
    simulation = run("kob-andersen", shape="2x2x2", tile=2, n_frames=2, melt_steps=100)
    one = simulation.runs[0]
    n = 4 * 2**3
    assert one.q.shape[1] == 8 * n
    assert np.array_equal(simulation.particles.species, np.tile(simulation.particles.species[:n], 8))
    box = simulation.particles.box
    assert box is not None
    assert 8 * n / np.linalg.det(box) == pytest.approx(1.2)
    shift = one.q[0, n : 2 * n] - one.q[0, :n]
    # Far less than a box apart from the shifted copy, yet no copy of it.
    assert np.abs(shift - [0, 0, box[2, 2] / 2]).max() < 1.0
    assert np.abs(shift - [0, 0, box[2, 2] / 2]).min() > 1e-9
    assert (one.p[0] ** 2).sum() / (3 * (8 * n - 1)) == pytest.approx(1.0, rel=1e-12)


def test_a_mixture_has_a_fifth_of_small_atoms_and_three_cutoffs() -> None:
    simulation = run("kob-andersen", shape="5x5x5", n_frames=1, melt_steps=0)
    assert np.bincount(simulation.particles.species).tolist() == [400, 100]
    assert simulation.particles.labels == ("1", "2")


def test_a_step_that_is_too_long_is_refused_with_a_remedy() -> None:
    with pytest.raises(SpecError, match=r"spring: the energy .* drifts .* smaller dt than 3"):
        run("spring", dt=3.0)


def test_bonds_beyond_half_a_short_box_are_refused_with_the_reason() -> None:
    with pytest.raises(SpecError, match="larger shape: bonds may have grown beyond half the box"):
        run("spring", geometry="square", shape="3x3", periodic=True, diagonals=True, amplitude=0.24)


def test_particles_that_fly_apart_are_refused_with_a_remedy() -> None:
    with pytest.raises(SpecError, match="smaller dt"):
        run("lj", shape="3x3x3", dt=0.2, melt_steps=20)


def test_progress_counts_every_frame() -> None:
    events: list[Event] = []
    entry = system("nspring")
    entry.run(entry.spec({"n_trajectories": 2, "n_frames": 7}), events.append)
    assert [event.done for event in events] == list(range(1, 8))
    assert {event.total for event in events} == {7}


def test_running_a_spec_of_another_system_is_refused() -> None:
    with pytest.raises(SpecError, match="spring takes a SpringSpec"):
        system("spring").run(system("morse").spec({}))
