from __future__ import annotations

import gzip
from pathlib import Path

import ase
import ase.io
import ase.units
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from hamfit.data import Dataset, ingest
from hamfit.errors import DataError

CELL = "7 1 0 0 8 2 0 0 9"
HEAD = f'Lattice="{CELL}" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="T T F"'


def xyz(*frames: tuple[str, list[str]]) -> str:
    return "".join(f"{len(rows)}\n{head}\n" + "".join(f"{row}\n" for row in rows) for head, rows in frames)


def ingest_xyz(tmp_path: Path, text: str, name: str = "set.extxyz", **options: object) -> Dataset:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return ingest(path, tmp_path / "d.zarr", **({"units": "ase"} | options))


def test_frames_of_a_collection_become_trajectories_of_equal_particles(tmp_path: Path) -> None:
    one, two = ["Si 0 0 0 1 2 3", "O 1 1 1 -1 -2 -3"], ["Si 0 1 0 4 5 6", "O 2 1 1 0 0 0"]
    other = ["O 0 0 0 0.5 0 0"]
    text = xyz((HEAD, one), (HEAD.replace("7 1 0", "6 0 0"), two), (HEAD, other), (HEAD, one))
    dataset = ingest_xyz(tmp_path, text, "set.extxyz.gz")
    assert [(t.name, t.n_frames, t.n_particles) for t in dataset.trajectories] == [
        ("set", 2, 2),
        ("set.1", 1, 1),
        ("set.2", 1, 2),
    ]
    assert dataset.labels == ("O", "Si")
    assert dataset.units.name == "ase"
    first, second = dataset.trajectories[0].frames()
    # each triple of Lattice is one lattice vector
    assert np.array_equal(first.box, [[7, 1, 0], [0, 8, 2], [0, 0, 9]])
    assert np.array_equal(second.box, [[6, 0, 0], [0, 8, 2], [0, 0, 9]])
    assert first.periodic == (True, True, False)
    assert first.species.tolist() == [1, 0]
    assert first.masses.tolist() == [28.085, 15.999]
    assert first.pdot is not None
    assert first.pdot.tolist() == [[1, 2, 3], [-1, -2, -3]]
    assert first.potential_energy == -1.5
    assert first.p is None
    assert not dataset.trajectories[0].has_time


def test_frames_without_an_energy_stand_apart_from_those_with_one(tmp_path: Path) -> None:
    row = ["Si 0 0 0 1 2 3"]
    dataset = ingest_xyz(tmp_path, xyz((HEAD, row), (HEAD.replace("energy=-1.5", ""), row), (HEAD, row)))
    assert [t.has_energies for t in dataset.trajectories] == [True, False, True]


def test_species_need_not_be_elements_and_columns_may_carry_masses_and_velocities(tmp_path: Path) -> None:
    head = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:vel:R:3:mass:R:1:force:R:3'
    rows = ["bead 0 0 0 1 0 0 2.5 1 1 1", "B 1 1 1 0 1 0 3.5 0 0 0"]
    frame = ingest_xyz(tmp_path, xyz((head, rows)), units="lj").trajectories[0].frame(0)
    assert frame.labels == ("B", "bead")
    assert frame.p is not None
    assert frame.p.tolist() == [[2.5, 0, 0], [0, 3.5, 0]]
    assert frame.periodic == (True, True, True)


def test_atomic_numbers_and_frames_without_a_cell_are_understood(tmp_path: Path) -> None:
    text = xyz(("Properties=Z:I:1:pos:R:3:forces:R:3", ["14 0 0 0 1 1 1"]))
    dataset = ingest_xyz(tmp_path, text)
    frame = dataset.trajectories[0].frame(0)
    assert dataset.labels == ("Si",)
    assert frame.box is None
    assert frame.periodic == (False, False, False)


def test_a_slab_without_its_open_lattice_vector_gets_one(tmp_path: Path) -> None:
    head = 'Lattice="5 0 0 0 6 0 0 0 0" Properties=species:S:1:pos:R:3:forces:R:3 pbc="T T F"'
    box = ingest_xyz(tmp_path, xyz((head, ["Si 0 0 0 1 1 1"]))).trajectories[0].frame(0).box
    assert box is not None
    assert abs(np.linalg.det(box)) > 0
    assert np.array_equal(box[:2], [[5, 0, 0], [0, 6, 0]])


def test_pbc_given_by_hand_overrides_the_file(tmp_path: Path) -> None:
    text = xyz((HEAD, ["Si 0 0 0 1 1 1"]))
    assert ingest_xyz(tmp_path, text, pbc=False).trajectories[0].periodic == (False,) * 3
    assert ingest_xyz(tmp_path, text, pbc=(True,) * 3, overwrite=True).trajectories[0].periodic == (True,) * 3
    with pytest.raises(DataError, match="2 periodic axes for 3 dimensions"):
        ingest_xyz(tmp_path, text, pbc=(True, True), overwrite=True)
    open_text = xyz(("Properties=species:S:1:pos:R:3:forces:R:3", ["Si 0 0 0 1 1 1"]))
    with pytest.raises(DataError, match="periodic, but the file gives no box"):
        ingest_xyz(tmp_path, open_text, pbc=True, overwrite=True)


def test_metal_units_convert_velocities_but_not_forces(tmp_path: Path) -> None:
    head = 'Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:velocities:R:3:forces:R:3 energy=3.0'
    frame = ingest_xyz(tmp_path, xyz((head, ["Cu 1 2 3 1 0 0 5 6 7"])), units="metal").trajectories[0].frame(0)
    assert frame.qdot is not None
    assert frame.qdot[0, 0] == pytest.approx(1 / (1000 * ase.units.fs))
    assert frame.pdot is not None
    assert frame.pdot.tolist() == [[5, 6, 7]]
    assert frame.q.tolist() == [[1, 2, 3]]
    assert frame.potential_energy == 3.0


def test_what_ase_writes_reads_back(tmp_path: Path) -> None:
    images = [atoms(seed) for seed in range(3)]
    ase.io.write(tmp_path / "a.extxyz", images)
    ase.io.write(tmp_path / "a.traj", images)
    for name in ("a.extxyz", "a.traj"):
        (trajectory,) = ingest(tmp_path / name, tmp_path / f"{name}.zarr", units="ase").trajectories
        for image, frame in zip(images, trajectory.frames(), strict=True):
            tolerance = 1e-7 if name == "a.extxyz" else 0.0
            assert frame.labels == ("Cu", "Zr")
            assert np.allclose(frame.q, image.positions, rtol=0, atol=tolerance)
            assert np.allclose(frame.p, image.get_momenta(), rtol=1e-14, atol=tolerance)
            assert np.allclose(frame.pdot, image.calc.results["forces"], rtol=0, atol=tolerance)
            assert np.allclose(frame.box, image.cell.array, rtol=0, atol=1e-12)
            assert frame.potential_energy == pytest.approx(image.calc.results["energy"])
            assert np.allclose(frame.masses, image.get_masses(), rtol=0, atol=1e-10)


def atoms(seed: int, symbols: str = "CuZrCu") -> ase.Atoms:
    rng = np.random.default_rng(seed)
    n = len(ase.Atoms(symbols))
    made = ase.Atoms(symbols, rng.uniform(0, 5, size=(n, 3)), cell=[5, 6, 7], pbc=True, constraint=FixAtoms([0]))
    made.set_momenta(rng.normal(size=(n, 3)), apply_constraint=False)
    made.calc = SinglePointCalculator(made, energy=rng.normal(), forces=rng.normal(size=(n, 3)))
    return made


def test_a_traj_is_in_ase_or_reduced_units_only(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.traj", atoms(1))
    with pytest.raises(DataError, match="in ASE's units, not 'metal': use --units ase"):
        ingest(tmp_path / "a.traj", tmp_path / "d.zarr", units="metal")
    assert ingest(tmp_path / "a.traj", tmp_path / "d.zarr", units="lj").units.name == "lj"


def test_a_traj_that_changes_its_particles_is_refused(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.traj", [atoms(1), atoms(2, "CuZr")])
    with pytest.raises(DataError, match="frame 1: the particle count changes from 3 to 2"):
        ingest(tmp_path / "a.traj", tmp_path / "d.zarr", units="ase")
    ase.io.write(tmp_path / "a.traj", [atoms(1), atoms(2, "Cu3")])
    with pytest.raises(DataError, match="species of particle 1 changes from Zr to Cu"):
        ingest(tmp_path / "a.traj", tmp_path / "d.zarr", units="ase")
    raw = (tmp_path / "a.traj").read_bytes()
    (tmp_path / "a.traj").write_bytes(raw[:100])
    with pytest.raises(DataError, match="not a readable ASE trajectory"):
        ingest(tmp_path / "a.traj", tmp_path / "d.zarr", units="ase")


FAULTS = {
    "cut short": (xyz((HEAD, ["Si 0 0 0 1 1 1"])).replace("1\n", "2\n", 1), "frame 0: has 1 of 2 atoms"),
    "column missing": (xyz((HEAD, ["Si 0 0 0 1 1"])), "atom 0 has 6 columns where Properties needs 7"),
    "a word": (xyz((HEAD, ["Si 0 0 zero 1 1 1"])), "column pos holds a word"),
    "nan": (xyz((HEAD, ["Si 0 0 nan 1 1 1"])), "position is nan"),
    "no forces": (xyz(("Properties=species:S:1:pos:R:3", ["Si 0 0 0"])), r"no forces \(columns are species pos\)"),
    "no positions": (xyz(("Properties=species:S:1:forces:R:3", ["Si 0 0 0"])), "no column pos"),
    "no species": (xyz(("Properties=pos:R:3:forces:R:3", ["0 0 0 0 0 0"])), "no column species"),
    "bad properties": (xyz(("Properties=species:S", ["Si"])), "Properties=species:S is not"),
    "bad lattice": (
        xyz((HEAD.replace(CELL, "1 2 3"), ["Si 0 0 0 1 1 1"])),
        "the comment line cannot be read .*Lattice",
    ),
    "bad energy": (xyz((HEAD.replace("-1.5", "low"), ["Si 0 0 0 1 1 1"])), "energy is 'low', not a number"),
    "bad count": (xyz((HEAD, ["Si 0 0 0 1 1 1"])) + "two\n", "'two' stands where the atom count is needed"),
    "forces of one": (xyz((HEAD.replace("forces:R:3", "forces:R:1"), ["Si 0 0 0 1"])), "where 3 are needed"),
    "unknown mass": (
        xyz((HEAD, ["bead 0 0 0 1 1 1"])),
        "mass of species 'bead' is unknown: declare it with --masses bead=",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_collection_is_refused_in_one_sentence_and_nothing_is_left(tmp_path: Path, case: str) -> None:
    text, message = FAULTS[case]
    with pytest.raises(DataError, match=message) as caught:
        ingest_xyz(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.extxyz"]
