from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_cases import REFERENCE, dump_table, dump_text

from hamfit.data import Dataset, ingest
from hamfit.errors import DataError, SpecError, StoreError
from hamfit.progress import Event

CU, CU_ENERGIES = REFERENCE / "cu-256.lammpstrj.gz", REFERENCE / "cu-256.energies.csv"


def run(tmp_path: Path, **options: object) -> Dataset:
    (tmp_path / "run.dump").write_text(dump_text([dump_table(1), dump_table(2)]))
    return ingest(tmp_path / "run.dump", tmp_path / "d.zarr", **({"units": "lj", "masses": {"1": 1.0}} | options))


def table(tmp_path: Path, text: str) -> Path:
    (tmp_path / "e.csv").write_text(text)
    return tmp_path / "e.csv"


def test_energies_are_per_atom_in_lj_units_and_per_frame_else_unless_declared(tmp_path: Path) -> None:
    path = table(tmp_path, "frame,potential\n0,-2.5\n1,-3\n")
    energies = [f.potential_energy for f in run(tmp_path, energies=path).trajectories[0].frames()]
    assert energies == [-10.0, -12.0]
    whole = run(tmp_path, energies=path, energies_per="frame", overwrite=True)
    assert [f.potential_energy for f in whole.trajectories[0].frames()] == [-2.5, -3.0]
    assert whole.attrs["ingest"]["energies"] == {"file": "e.csv", "per": "frame"}
    cu = ingest(CU, tmp_path / "cu.zarr", units="metal", energies=CU_ENERGIES)
    assert cu.trajectories[0].frame(0).potential_energy == -880.00246377361


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frame,potential\n0,1\n", "has 1 lines, the files have more frames"),
        ("frame,potential\n0,1\n1,1\n2,1\n", "has 3 lines, the files have 2 frames"),
        ("frame,potential\n1,1\n0,1\n", "column 'frame' is not 0, 1, 2"),
        ("frame,potential\n0,1\n1,low\n", "potential in line 3 is 'low', not a number"),
        ("frame,potential\n0,1\n1,nan\n", "potential in line 3 is 'nan'"),
        ("frame,kinetic\n0,1\n1,1\n", r"no column 'potential' \(found: frame, kinetic\)"),
        ("", "no column 'potential'"),
    ],
)
def test_a_faulty_energy_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(tmp_path, energies=table(tmp_path, text))
    assert not (tmp_path / "d.zarr").exists()


def test_wrong_units_are_noticed_by_the_kinetic_energy(tmp_path: Path) -> None:
    import gzip

    text = gzip.decompress(CU.read_bytes()).decode().replace("ITEM: UNITS\nmetal\n", "")
    (tmp_path / "cu.dump").write_text(text)
    with pytest.raises(DataError, match=r"the velocities give a kinetic energy of .* check --units"):
        ingest(tmp_path / "cu.dump", tmp_path / "d.zarr", units="ase", energies=CU_ENERGIES)
    with pytest.raises(DataError, match="check --units and --energies-per"):
        ingest(CU, tmp_path / "d.zarr", units="metal", energies=CU_ENERGIES, energies_per="atom")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"units": "furlong"}, DataError, "units 'furlong' are unknown"),
        ({"masses": None}, DataError, "mass of species '1' is unknown: declare it with --masses 1="),
        ({"masses": {"1": 0.0}}, DataError, "masses gives '1' the mass 0.0: give a positive mass"),
        ({"masses": {"1": -2.0}}, DataError, "give a positive mass"),
        ({"masses": {"1": 1.0, "Xe": 2.0}}, DataError, r"declared for 'Xe', which is no species here \(1\)"),
        ({"masses": "1=heavy"}, SpecError, "'heavy': give a number"),
        ({"species": {"2": "Ar"}}, DataError, r"species '1' has no name in --species \(named are 2\)"),
        ({"species": "1"}, SpecError, "write NAME=VALUE,NAME=VALUE"),
        ({"dt": 0.0}, SpecError, "dt is 0.0"),
        ({"energies_per": "mole"}, SpecError, "choose 'atom' or 'frame'"),
        ({"energies": "nowhere.csv"}, DataError, "nowhere.csv: there is no such file"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    tmp_path: Path, options: dict[str, object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        run(tmp_path, **options)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.dump"]


def test_files_that_are_no_trajectories_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("remember the milk")
    (tmp_path / "empty.dump").write_text("")
    for name, message in (
        ("notes.txt", "is none of LAMMPS"),
        ("empty.dump", "is empty"),
        ("gone.dump", "no such file"),
    ):
        with pytest.raises(DataError, match=f"{name}: .*{message}"):
            ingest(tmp_path / name, tmp_path / "d.zarr", units="lj")
    with pytest.raises(DataError, match="is a folder"):
        ingest(tmp_path, tmp_path / "d.zarr", units="lj")
    with pytest.raises(SpecError, match="no files are given"):
        ingest([], tmp_path / "d.zarr", units="lj")
    with pytest.raises(SpecError, match="given twice"):
        ingest([tmp_path / "a", tmp_path / "a"], tmp_path / "d.zarr", units="lj")


def test_an_existing_dataset_is_kept_unless_overwritten(tmp_path: Path) -> None:
    first = run(tmp_path)
    with pytest.raises(StoreError, match="something is there already"):
        run(tmp_path)
    assert run(tmp_path, overwrite=True).digest == first.digest


def test_the_same_input_gives_the_same_digest_and_long_runs_stream_in_blocks(tmp_path: Path) -> None:
    tables = [dump_table(k) for k in range(600)]
    (tmp_path / "run.dump").write_text(dump_text(tables))
    events: list[Event] = []
    a = ingest(tmp_path / "run.dump", tmp_path / "a.zarr", units="lj", masses="1=1", progress=events.append)
    b = ingest(tmp_path / "run.dump", tmp_path / "b.zarr", units="lj", masses="1=1")
    assert a.digest == b.digest
    assert events[-1].done == 600 == a.n_frames
    read = a.trajectories[0].frames(550, 552)
    assert np.array_equal(read[1].q, tables[551][:, 2:5].astype(float))
