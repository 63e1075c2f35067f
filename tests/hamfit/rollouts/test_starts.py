from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import ase.units
import numpy as np
import pytest

from hamfit.data import Dataset, DatasetWriter
from hamfit.data.units import ASE, LJ, Units
from hamfit.errors import DataError, HamfitError, ModelError, SpecError
from hamfit.fitting import FitResult, fit
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.rollouts.options import RolloutSpec
from hamfit.rollouts.selection import FrameSelection
from hamfit.rollouts.starts import InitialStates, StartPlan, initial_states, thermal_momenta
from hamfit.types import FloatArray
from worlds import LABELS, MASSES, liquid, liquids, soft_spring, write

RNG = np.random.default_rng(17)


@pytest.fixture
def model(binary_fit: FitResult) -> Model:
    return binary_fit.model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two trajectories of binary liquids, of 7 and 5 frames."""
    path = tmp_path_factory.mktemp("starts") / "data.zarr"
    return write(path, [liquids(2, 7, n_species=2), liquids(3, 5, n_species=2)])


def quick(dataset: Dataset, **options: object) -> Model:
    return fit(dataset, options=FitOptions(features=16, threads=1, checkpoint=False, **options)).model


def starting(model: Model | Path, dataset: Dataset | Path, **options: object) -> InitialStates:
    return initial_states(model, dataset, RolloutSpec.build({"steps": 1, **options}))


def momenta(frame: Frame) -> FloatArray:
    assert frame.p is not None
    return frame.p


def temperature_of(frame: Frame, freedoms: int) -> float:
    return float(np.sum(momenta(frame) ** 2 / frame.masses[:, None])) / freedoms


def test_a_stored_state_comes_back_as_it_was_stored(model: Model, data: Dataset) -> None:
    states = starting(model, data, frames="2")
    for plan in states:
        state, stored = states.load(plan), data.trajectories[plan.trajectory].frame(plan.frame)
        assert state.frame.q.tobytes() == stored.q.tobytes()
        assert momenta(state.frame).tobytes() == momenta(stored).tobytes()
        assert (state.frame.qdot, state.frame.pdot, state.frame.potential_energy) == (None, None, None)
        assert (state.trajectory, state.frame_index, state.replica) == (f"run-{plan.trajectory}", 2, 0)


def test_positions_outside_the_box_stay_there(model: Model, tmp_path: Path) -> None:
    frame = liquids(2, 1, n_species=2)[0]
    assert frame.box is not None
    far = replace(frame, q=frame.q + 3.0 * frame.box[0])
    states = starting(model, write(tmp_path / "far.zarr", [[far]]), temperature=1.0)
    assert np.array_equal(states.load(states[0]).frame.q, far.q)


def test_plans_run_through_trajectories_then_frames_then_replicas(model: Model, data: Dataset) -> None:
    states = starting(model, data, frames="1,-1", replicas=2, temperature=0.5)
    expected = [(0, 1), (0, 6), (1, 1), (1, 4)]
    assert list(states) == [StartPlan(t, f, r) for t, f in expected for r in (0, 1)]
    assert len(states) == 8
    assert states[-1] == StartPlan(1, 4, 1)
    assert [states[2], states[3]] == [StartPlan(0, 6, 0), StartPlan(0, 6, 1)]
    with pytest.raises(IndexError):
        states[8]


def test_names_are_unique_and_name_folders(model: Model, data: Dataset) -> None:
    states = starting(model, data, frames="all", replicas=3, temperature=0.5)
    names = [states.name(plan) for plan in states]
    assert len(set(names)) == 36
    assert names[4] == "run-0-frame-1-replica-1"
    single = starting(model, data, frames="4")
    assert single.load(single[1]).name == single.name(single[1]) == "run-1-frame-4"


def test_a_run_of_a_million_states_weighs_nothing(model: Model, data: Dataset) -> None:
    states = starting(model, data, frames="all", replicas=100_000, temperature=1.0)
    assert len(states) == 1_200_000
    assert states[1_199_999] == StartPlan(1, 4, 99_999)
    assert len(pickle.dumps(states)) < 50_000


def test_pickled_plans_load_the_same_states_elsewhere(model: Model, data: Dataset) -> None:
    states = starting(model, data, frames="0:4:2", replicas=2, temperature=0.8, seed=5)
    again = pickle.loads(pickle.dumps(states))
    assert list(again) == list(states)
    for plan in states:
        assert momenta(again.load(plan).frame).tobytes() == momenta(states.load(plan).frame).tobytes()


def test_a_state_does_not_depend_on_its_company(model: Model, data: Dataset) -> None:
    alone = starting(model, data, frames="3", temperature=0.8, seed=5)
    beside = starting(model, data, frames="all", replicas=4, temperature=0.8, seed=5)
    one, same = alone.load(alone[1]), beside.load(StartPlan(1, 3, 0))
    assert momenta(one.frame).tobytes() == momenta(same.frame).tobytes()


def test_every_part_of_the_key_gives_other_momenta(model: Model, data: Dataset) -> None:
    drawn = set()
    for seed in (0, 1):
        states = starting(model, data, frames="0,1", replicas=2, temperature=1.0, seed=seed)
        drawn |= {momenta(states.load(plan).frame).tobytes() for plan in states}
    assert len(drawn) == 2 * 2 * 2 * 2


@pytest.mark.parametrize("temperature", [0.72, 3.1])
def test_momenta_have_exactly_the_temperature_and_no_drift(model: Model, data: Dataset, temperature: float) -> None:
    states = starting(model, data, replicas=3, temperature=temperature)
    for plan in states:
        frame = states.load(plan).frame
        freedoms = 3 * (frame.n_particles - 1)
        assert temperature_of(frame, freedoms) == pytest.approx(temperature, rel=1e-13)
        assert np.abs(momenta(frame).sum(axis=0)).max() < 1e-12


def test_temperatures_of_ase_data_are_kelvin(model: Model, tmp_path: Path) -> None:
    metal = replace(model, units=ASE.to_attrs())
    data = write(tmp_path / "ase.zarr", [liquids(2, 1, n_species=2)], units="ase")
    states = starting(metal, data, temperature=300.0)
    frame = states.load(states[0]).frame
    freedoms = 3 * (frame.n_particles - 1)
    assert temperature_of(frame, freedoms) == pytest.approx(300.0 * ase.units.kB, rel=1e-13)


def test_boltzmanns_constant_is_that_of_ase_and_one_in_reduced_units() -> None:
    assert ase.units.kB == ASE.boltzmann
    assert LJ.boltzmann == 1.0
    with pytest.raises(DataError, match=r"units 'odd' have no unit of temperature \(known: lj, ase\)"):
        _ = Units("odd", "l", "e", "m", "t").boltzmann


def test_momenta_of_each_mass_spread_as_maxwell_says() -> None:
    masses = np.tile(MASSES, 20_000)
    p = thermal_momenta(masses, 3, 0.6, RNG, conserved=True)
    for mass in MASSES:
        scaled = p[masses == mass] / np.sqrt(mass * 0.6)
        # Moments of a normal distribution, within four standard errors of 60,000 draws.
        assert np.mean(scaled) == pytest.approx(0.0, abs=4 / np.sqrt(60_000))
        assert np.mean(scaled**2) == pytest.approx(1.0, abs=4 * np.sqrt(2 / 60_000))
        assert np.mean(scaled**4) == pytest.approx(3.0, abs=4 * np.sqrt(96 / 60_000))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_two_particles_move_against_each_other(dim: int) -> None:
    p = thermal_momenta(np.array([2.0, 3.0]), dim, 1.3, RNG, conserved=True)
    assert np.allclose(p[0], -p[1])
    assert np.sum(p**2 / np.array([[2.0], [3.0]])) == pytest.approx(1.3 * dim)


def test_zero_temperature_is_rest(model: Model, data: Dataset) -> None:
    states = starting(model, data, temperature=0.0)
    assert not momenta(states.load(states[0]).frame).any()


def test_states_without_velocities_start_at_a_temperature_or_not_at_all(model: Model, tmp_path: Path) -> None:
    data = write(tmp_path / "still.zarr", [liquids(2, 2, n_species=2)], velocities=False)
    with pytest.raises(DataError, match=r"trajectory run-0: has no velocities .* give a temperature"):
        starting(model, data)
    states = starting(model, data, temperature=0.5)
    assert temperature_of(states.load(states[0]).frame, 78) == pytest.approx(0.5)


def test_a_model_without_a_kinetic_block_takes_a_temperature(tmp_path: Path) -> None:
    data = write(tmp_path / "still.zarr", [liquids(2, 8)], velocities=False)
    model = quick(data, cutoff=1.75)
    assert [block.kind for block in model.blocks] == ["pair"]
    states = starting(model, data, replicas=2, temperature=0.5)
    assert temperature_of(states.load(states[1]).frame, 78) == pytest.approx(0.5)


def bonded(n: int, seed: int) -> Frame:
    """An open chain in one dimension, with bonds of one type and exact forces."""
    rng = np.random.default_rng(seed)
    q = (np.arange(n) + rng.uniform(-0.2, 0.2, size=n))[:, None]
    bonds = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    _, slope = soft_spring(np.diff(q[:, 0]))
    force = np.zeros((n, 1))
    force[:-1, 0] += slope
    force[1:, 0] -= slope
    p = rng.normal(size=(n, 1))
    return Frame(
        q=q,
        species=np.zeros(n, dtype=np.int64),
        labels=("A",),
        masses=np.ones(n),
        p=p,
        qdot=p,
        pdot=force,
        potential_energy=0.0,
        bonds=bonds,
        bond_types=np.zeros(n - 1, dtype=np.int64),
        bond_labels=("rod",),
    )


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("chains") / "c.zarr", [[bonded(6, seed) for seed in range(20)]])


def test_a_bonded_chain_in_one_dimension_starts_at_any_size(chains: Dataset, tmp_path: Path) -> None:
    model = quick(chains)
    longer = write(tmp_path / "long.zarr", [[bonded(19, 1)]])
    states = starting(model, longer, temperature=2.0)
    frame = states.load(states[0]).frame
    assert temperature_of(frame, 18) == pytest.approx(2.0)
    assert np.isfinite(model.forces(frame)).all()


def test_a_bonded_model_refuses_data_without_bonds(chains: Dataset, tmp_path: Path) -> None:
    free = replace(bonded(6, 1), bonds=None, bond_types=None)
    with pytest.raises(ModelError, match=r"run-0: has no bonds, along which the model's forces act"):
        starting(quick(chains), write(tmp_path / "free.zarr", [[free]]))


def test_a_bonded_model_refuses_bonds_it_does_not_know(chains: Dataset, tmp_path: Path) -> None:
    other = replace(bonded(6, 1), bond_labels=("rope",))
    with pytest.raises(ModelError, match=r"bond type rope is unknown to the model \(known: rod\)"):
        starting(quick(chains), write(tmp_path / "rope.zarr", [[other]]))


def test_all_pairs_in_open_space_start_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [liquid(rng, side=2, dim=2, periodic=False, cutoff=None, law=soft_spring) for _ in range(20)]
    data = write(tmp_path / "open.zarr", [frames])
    states = starting(quick(data), data, frames="all", temperature=1.0)
    assert len(states) == 20
    assert temperature_of(states.load(states[7]).frame, 2 * 3) == pytest.approx(1.0)


def trap(seed: int, n: int = 1) -> Frame:
    rng = np.random.default_rng(seed)
    q, p = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    masses = np.full(n, 1.7)
    return Frame(
        q=q,
        species=np.zeros(n, dtype=np.int64),
        labels=("A",),
        masses=masses,
        p=p,
        qdot=p / 1.7,
        pdot=-2.0 * q,
        potential_energy=float(np.sum(q**2)),
    )


def test_in_a_field_even_one_particle_has_a_temperature_and_may_drift(tmp_path: Path) -> None:
    data = write(tmp_path / "trap.zarr", [[trap(k) for k in range(20)], [trap(100, n=5)]])
    model = quick(data, blocks=("kinetic", "field"))
    assert not model.conserves_momentum
    states = starting(model, data, replicas=2, temperature=0.9)
    for plan in states:
        frame = states.load(plan).frame
        assert temperature_of(frame, 2 * frame.n_particles) == pytest.approx(0.9)
        assert np.abs(momenta(frame).sum(axis=0)).min() > 1e-3


def test_a_field_refuses_a_periodic_box(tmp_path: Path) -> None:
    model = quick(write(tmp_path / "trap.zarr", [[trap(k) for k in range(20)]]), blocks=("kinetic", "field"))
    box = replace(trap(3), box=9.0 * np.eye(2), periodic=(True, False))
    with pytest.raises(ModelError, match="run-0: is periodic, where the model's field has no meaning"):
        starting(model, write(tmp_path / "box.zarr", [[box]]))


def test_one_free_particle_has_no_temperature(model: Model, tmp_path: Path) -> None:
    still, moving = np.zeros((1, 3)), np.ones((1, 3))
    frame = replace(trap(1), q=still, p=moving, qdot=moving, pdot=still, periodic=(False,) * 3)
    data = write(tmp_path / "one.zarr", [[frame]])
    with pytest.raises(DataError, match="run-0: one particle on its own has no temperature"):
        starting(model, data, temperature=1.0)
    assert len(starting(model, data)) == 1


def test_a_kinetic_energy_that_is_not_quadratic_takes_no_temperature(tmp_path: Path) -> None:
    frames = liquids(4, 20)
    p = np.array([momenta(frame) for frame in frames])
    # T = sqrt(1 + |p|^2): velocities below those of |p|^2 / 2.
    velocity = p / np.sqrt(1.0 + np.sum(p**2, axis=-1, keepdims=True))
    with DatasetWriter.create(tmp_path / "fast.zarr", units="lj", labels=("A",)) as writer:
        writer.add_trajectory(
            "run-0",
            q=[frame.q for frame in frames],
            species=frames[0].species,
            masses=1.0,
            box=frames[0].box,
            periodic=True,
            velocity=velocity,
            momentum=p,
            force=[frame.pdot for frame in frames],
        )
    data = Dataset.open(tmp_path / "fast.zarr")
    model = quick(data, cutoff=1.75)
    with pytest.raises(ModelError, match=r"run-0, frame 3: .* kinetic energy of species A differs .* without a temp"):
        starting(model, data, frames="3", temperature=1.0)
    states = starting(model, data, frames="3")
    assert np.array_equal(momenta(states.load(states[0]).frame), p[3])


def test_masses_that_a_kinetic_block_was_not_fitted_to_take_no_temperature(model: Model, tmp_path: Path) -> None:
    heavy = [replace(frame, masses=4.0 * frame.masses) for frame in liquids(2, 1, n_species=2)]
    with pytest.raises(ModelError, match="kinetic energy of species A differs"):
        starting(model, write(tmp_path / "heavy.zarr", [heavy]), temperature=1.0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"replicas": 0}, SpecError, "'replicas' cannot be 0: input should be greater than or equal to 1"),
        ({"seed": -1}, SpecError, "'seed' cannot be -1: input should be greater than or equal to 0"),
        ({"temperature": -0.1}, SpecError, "'temperature' cannot be -0.1: input should be greater than or equal to 0"),
        ({"temperature": float("nan")}, SpecError, "'temperature' cannot be nan"),
        ({"replicas": 4}, SpecError, "4 replicas without a temperature would all be equal"),
        ({"replicas": 4, "temperature": 0.0}, SpecError, "4 replicas without a temperature would all be equal"),
        ({"frames": "6"}, DataError, r"trajectory run-1: frame 6 does not exist: it has 5 frames, 0 to 4"),
        ({"frames": "-6"}, DataError, r"trajectory run-1: frame -6 does not exist"),
        ({"frames": "0:9"}, DataError, r"trajectory run-0: frame 9 does not exist: it has 7 frames"),
        ({"frames": "4:2"}, SpecError, r"frames '4:2' end at 2, before they begin at 4"),
        ({"frames": "4,-1"}, SpecError, r"trajectory run-1: frames '4,-1' name a frame twice"),
        ({"frames": "first"}, SpecError, r"frames 'first' cannot be read: write 0,10,20"),
    ],
)
def test_what_cannot_be_started_is_refused(
    model: Model, data: Dataset, options: dict[str, object], error: type[HamfitError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        starting(model, data, **options)
    assert "\n" not in str(caught.value)


def test_data_of_other_units_species_or_dimension_are_refused(model: Model, tmp_path: Path) -> None:
    metal = write(tmp_path / "ase.zarr", [liquids(2, 1, n_species=2)], units="ase")
    with pytest.raises(DataError, match="ase units, the model in lj: ingest it alike"):
        starting(model, metal)
    flat = write(tmp_path / "flat.zarr", [liquids(2, 1, n_species=2, dim=2)])
    with pytest.raises(ModelError, match="is 2-dimensional, the model 3-dimensional"):
        starting(model, flat)
    frame = liquids(2, 1, n_species=2)[0]
    strange = write(tmp_path / "c.zarr", [[replace(frame, labels=("A", "C"))]])
    with pytest.raises(ModelError, match=r"run-0: species C is unknown to the model \(known: A, B\): refit it"):
        starting(model, strange)


def test_a_label_that_no_particle_bears_does_no_harm(model: Model, tmp_path: Path) -> None:
    frame = liquids(2, 1, n_species=2)[0]
    data = write(tmp_path / "spare.zarr", [[replace(frame, labels=(*LABELS, "C"))]])
    assert len(starting(model, data)) == 1


def test_paths_serve_as_well_as_what_they_hold(model: Model, data: Dataset, tmp_path: Path) -> None:
    model.save(tmp_path / "a.model")
    states = starting(tmp_path / "a.model", data.path, temperature=1.0)
    same = starting(model, data, temperature=1.0)
    assert momenta(states.load(states[1]).frame).tobytes() == momenta(same.load(same[1]).frame).tobytes()


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("0", [0]),
        (" 3, 0 ,-2", [3, 0, 8]),
        ("all", list(range(10))),
        ("ALL", list(range(10))),
        ("2:8:3", [2, 5, 8]),
        ("2:9:3", [2, 5, 8]),
        ("7:", [7, 8, 9]),
        (":2", [0, 1, 2]),
        ("::4", [0, 4, 8]),
        ("-3:-2", [7, 8]),
        ("0:0", [0]),
    ],
)
def test_frames_are_chosen_as_they_are_written(text: str, chosen: list[int]) -> None:
    assert list(FrameSelection.parse(text).of(10, "here")) == chosen


@pytest.mark.parametrize("text", ["", ",", "1,", "1.5", "0:9:0", "0:9:-1", "1:2:3:4", "a:b", "0-4", "1;2"])
def test_frames_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        FrameSelection.parse(text)
