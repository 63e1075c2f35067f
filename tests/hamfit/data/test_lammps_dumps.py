from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from dataset_cases import REFERENCE, dump_table, dump_text

from hamfit.data import Dataset, ingest
from hamfit.errors import DataError


def ingest_text(tmp_path: Path, text: str, **options: object) -> Dataset:
    (tmp_path / "run.dump").write_text(text)
    return ingest(tmp_path / "run.dump", tmp_path / "d.zarr", **({"units": "lj", "masses": {"1": 1.0}} | options))


@pytest.mark.parametrize(
    ("name", "units", "labels", "tolerance"),
    [
        ("lj-500", "lj", ("1",), 1e-14),
        ("ka-500", "lj", ("1", "2"), 1e-14),
        # LAMMPS carries the constants of CODATA 2018, ase.units those of 2014: they differ by 5.5e-8
        ("cu-256", "metal", ("1",), 1e-7),
        ("si-216", "metal", ("1",), 1e-7),
    ],
)
def test_kinetic_energy_of_the_reference_dumps_is_that_of_lammps(
    tmp_path: Path, name: str, units: str, labels: tuple[str, ...], tolerance: float
) -> None:
    table = REFERENCE / f"{name}.energies.csv"
    dataset = ingest(REFERENCE / f"{name}.lammpstrj.gz", tmp_path / "d.zarr", units=units, energies=table)
    (trajectory,) = dataset.trajectories
    n = trajectory.n_particles
    assert (trajectory.n_frames, n, dataset.labels) == (20, int(name.split("-")[1]), labels)
    assert trajectory.attrs["positions"] == "unwrapped"
    scale = n if units == "lj" else 1
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    for frame, row in zip(trajectory.frames(), rows, strict=True):
        assert frame.p is not None
        kinetic = float(((frame.p**2).sum(axis=1) / (2 * frame.masses)).sum())
        assert kinetic == pytest.approx(float(row["kinetic"]) * scale, rel=tolerance)
        assert frame.potential_energy == pytest.approx(float(row["potential"]) * scale, rel=1e-15)
        assert frame.pdot is not None
        # forces between particles cancel, and so do the momenta of a run at rest
        assert np.abs(frame.pdot.sum(axis=0)).max() < 1e-9 * np.abs(frame.pdot).sum()
        assert np.abs(frame.p.sum(axis=0)).max() < 1e-9 * np.abs(frame.p).sum()


def test_the_total_energy_of_the_reference_runs_is_conserved(tmp_path: Path) -> None:
    for name, units in (("lj-500", "lj"), ("si-216", "metal")):
        dataset = ingest(
            REFERENCE / f"{name}.lammpstrj.gz",
            tmp_path / name,
            units=units,
            energies=REFERENCE / f"{name}.energies.csv",
        )
        totals = [
            float(((f.p**2).sum(axis=1) / (2 * f.masses)).sum()) + float(f.potential_energy or 0.0)
            for f in dataset.trajectories[0].frames()
            if f.p is not None
        ]
        assert len(totals) == 20
        assert np.ptp(totals) < 2e-4 * abs(np.mean(totals))


def test_numbers_of_a_dump_are_read_exactly(tmp_path: Path) -> None:
    dataset = ingest(REFERENCE / "lj-500.lammpstrj.gz", tmp_path / "d.zarr", units="lj")
    with gzip.open(REFERENCE / "lj-500.lammpstrj.gz", "rt") as file:
        words = [file.readline() for _ in range(20)][11].split()
    frame = dataset.trajectories[0].frame(0)
    assert frame.q[0].tolist() == [float(x) for x in words[3:6]]
    assert frame.qdot is not None
    assert frame.qdot[0].tolist() == [float(x) for x in words[6:9]]
    assert frame.pdot is not None
    assert frame.pdot[0].tolist() == [float(x) for x in words[9:12]]
    assert np.array_equal(frame.box, np.diag([8.3979809569125372] * 3))


def test_atoms_are_sorted_by_id_in_every_frame(tmp_path: Path) -> None:
    table = dump_table(1)
    dataset = ingest_text(tmp_path, dump_text([table, table[[2, 0, 3, 1]]]))
    first, second = dataset.trajectories[0].frames()
    assert np.array_equal(first.q, second.q)
    assert np.array_equal(first.q, table[:, 2:5].astype(float))


BOUNDS = "BOX BOUNDS pp pp pp\n-1 9\n-1 9\n0 5"
Q = np.array([[1.0, -0.5, 4.0], [8.0, 3.0, 0.25]])
IMAGE = np.array([[0, 1, -2], [3, 0, 0]])
EDGES, ORIGIN = np.diag([10.0, 10.0, 5.0]), np.array([-1.0, -1.0, 0.0])


@pytest.mark.parametrize(
    ("columns", "values", "expected", "kind"),
    [
        ("x y z", Q, Q, "wrapped"),
        ("xs ys zs", (Q - ORIGIN) @ np.linalg.inv(EDGES), Q, "wrapped"),
        ("xu yu zu", Q + IMAGE @ EDGES, Q + IMAGE @ EDGES, "unwrapped"),
        ("xsu ysu zsu", (Q + IMAGE @ EDGES - ORIGIN) @ np.linalg.inv(EDGES), Q + IMAGE @ EDGES, "unwrapped"),
        ("x y z ix iy iz", np.hstack([Q, IMAGE]), Q + IMAGE @ EDGES, "unwrapped"),
        ("xs ys zs ix iy iz", np.hstack([(Q - ORIGIN) @ np.linalg.inv(EDGES), IMAGE]), Q + IMAGE @ EDGES, "unwrapped"),
        ("x y z xu yu zu", np.hstack([Q, Q + IMAGE @ EDGES]), Q + IMAGE @ EDGES, "unwrapped"),
    ],
)
def test_positions_are_unwrapped_where_the_dump_allows_it(
    tmp_path: Path, columns: str, values: np.ndarray, expected: np.ndarray, kind: str
) -> None:
    table = np.hstack([values, np.ones((2, 3))])
    dataset = ingest_text(tmp_path, dump_text([table], columns=f"{columns} fx fy fz", bounds=BOUNDS))
    trajectory = dataset.trajectories[0]
    assert np.allclose(trajectory.frame(0).q, expected, rtol=0, atol=1e-14)
    assert trajectory.attrs["positions"] == kind


def test_a_tilted_box_is_taken_from_its_bounding_box(tmp_path: Path) -> None:
    # lengths 10, 9, 8, tilts xy=2, xz=-3, yz=1, origin (1, 2, 3); bounds as LAMMPS writes them
    bounds = "BOX BOUNDS xy xz yz pp pp ff\n-2 13 2\n2 12 -3\n3 11 1"
    dataset = ingest_text(tmp_path, dump_text([dump_table(1)], bounds=bounds))
    frame = dataset.trajectories[0].frame(0)
    assert np.allclose(frame.box, [[10, 0, 0], [2, 9, 0], [-3, 1, 8]])
    assert frame.periodic == (True, True, False)
    scaled = ingest_text(
        tmp_path,
        dump_text([np.array([[0.5, 0.25, 1.0, 0, 0, 0]])], columns="xs ys zs fx fy fz", bounds=bounds),
        overwrite=True,
    )
    expected = np.array([1, 2, 3]) + np.array([0.5, 0.25, 1.0]) @ [[10, 0, 0], [2, 9, 0], [-3, 1, 8]]
    assert np.allclose(scaled.trajectories[0].frame(0).q[0], expected)


def test_a_general_triclinic_box_is_taken_as_written(tmp_path: Path) -> None:
    bounds = "BOX BOUNDS abc origin pp pp pp\n5 1 0 0\n-1 6 0 0\n0 2 7 0"
    frame = ingest_text(tmp_path, dump_text([dump_table(1)], bounds=bounds)).trajectories[0].frame(0)
    assert np.array_equal(frame.box, [[5, 1, 0], [-1, 6, 0], [0, 2, 7]])


def test_an_open_box_is_no_box(tmp_path: Path) -> None:
    frame = ingest_text(tmp_path, dump_text([dump_table(1)], bounds="BOX BOUNDS ff ss fm\n0 1\n0 1\n0 1"))
    assert frame.trajectories[0].frame(0).box is None
    assert frame.trajectories[0].periodic == (False, False, False)


def test_species_are_elements_or_named_types_or_type_numbers(tmp_path: Path) -> None:
    rows = np.array([[1, 2, "Si", 0, 0, 0, 1, 1, 1], [2, 10, "O", 1, 1, 1, 1, 1, 1]], dtype=object)
    elements = ingest_text(
        tmp_path, dump_text([rows], columns="id type element x y z fx fy fz", units="real"), units="real", masses=None
    )
    assert elements.labels == ("O", "Si")
    assert elements.trajectories[0].masses.tolist() == [28.085, 15.999]
    rows = np.delete(rows, 2, axis=1)
    text = dump_text([rows])
    types = ingest_text(tmp_path, text, masses={"2": 3.0, "10": 5.0}, overwrite=True)
    assert types.labels == ("2", "10")
    assert types.trajectories[0].masses.tolist() == [3.0, 5.0]
    named = ingest_text(tmp_path, text, species="2=Ar, 10=Kr", masses="Ar=3,10=5", overwrite=True)
    assert named.labels == ("Ar", "Kr")
    assert named.trajectories[0].masses.tolist() == [3.0, 5.0]


def test_masses_of_the_file_are_used_and_declared_ones_precede_them(tmp_path: Path) -> None:
    rows = np.array([[1, 2.5, 0, 0, 0, 1, 1, 1], [1, 3.5, 1, 1, 1, 1, 1, 1]], dtype=object)
    text = dump_text([rows], columns="type mass x y z fx fy fz")
    assert ingest_text(tmp_path, text, masses=None).trajectories[0].masses.tolist() == [2.5, 3.5]
    declared = ingest_text(tmp_path, text, masses={"1": 7}, overwrite=True)
    assert declared.trajectories[0].masses.tolist() == [7.0, 7.0]


def test_units_of_the_dump_stand_in_for_a_declaration(tmp_path: Path) -> None:
    assert ingest_text(tmp_path, dump_text([dump_table(1)]), units=None).units.name == "lj"
    with pytest.raises(DataError, match="units are not declared: say --units with one of lj"):
        ingest_text(tmp_path, dump_text([dump_table(1)], units=None), units=None, overwrite=True)
    with pytest.raises(DataError, match=r"is in 'lj' units by its own word, not 'metal': use --units lj"):
        ingest_text(tmp_path, dump_text([dump_table(1)]), units="metal", overwrite=True)


def test_times_come_from_the_dump_or_from_steps_times_dt(tmp_path: Path) -> None:
    tables = [dump_table(k) for k in range(3)]
    assert ingest_text(tmp_path, dump_text(tables, times=[0.5, 0.75, 1.5])).trajectories[0].time.tolist() == [
        0.5,
        0.75,
        1.5,
    ]
    stepped = ingest_text(tmp_path, dump_text(tables), dt=0.5, overwrite=True).trajectories[0]
    assert stepped.time.tolist() == [0.0, 5.0, 10.0]
    assert stepped.step.tolist() == [0, 10, 20]
    assert not ingest_text(tmp_path, dump_text(tables), overwrite=True).trajectories[0].has_time
    metal = ingest_text(
        tmp_path, dump_text(tables, units="metal"), units="metal", dt=0.001, masses="1=1.0", overwrite=True
    )
    assert metal.trajectories[0].time[1] == pytest.approx(0.01 * 98.22694788464064)


def test_a_dump_split_over_files_is_one_trajectory_in_numeric_order(tmp_path: Path) -> None:
    tables = [dump_table(k) for k in range(6)]
    for name, part, first in (
        ("run.10.dump", tables[3:], 30),
        ("run.9.dump", tables[1:4], 10),
        ("run.8.dump", tables[:2], 0),
    ):
        # each file repeats the last step of the one before, as a restarted LAMMPS does
        (tmp_path / name).write_text(dump_text(part, first_step=first))
    files = sorted(tmp_path.glob("*.dump"))
    assert files[0].name == "run.10.dump"
    (trajectory,) = ingest(files, tmp_path / "d.zarr", units="lj", masses={"1": 1}).trajectories
    assert trajectory.step.tolist() == [0, 10, 20, 30, 40, 50]
    for table, frame in zip(tables, trajectory.frames(), strict=True):
        assert np.array_equal(frame.q, table[:, 2:5].astype(float))


def test_separate_runs_become_separate_trajectories(tmp_path: Path) -> None:
    (tmp_path / "hot.dump").write_text(dump_text([dump_table(1), dump_table(2)]))
    (tmp_path / "cold.dump").write_text(dump_text([dump_table(3)]))
    (tmp_path / "big.dump").write_text(dump_text([dump_table(4, n=9)], first_step=100))
    files = [tmp_path / name for name in ("hot.dump", "cold.dump", "big.dump")]
    dataset = ingest(files, tmp_path / "d.zarr", units="lj", masses={"1": 1})
    assert [(t.name, t.n_frames, t.n_particles) for t in dataset.trajectories] == [
        ("hot", 2, 4),
        ("cold", 1, 4),
        ("big", 1, 9),
    ]


FAULTS = {
    "atoms lost": (dump_text([dump_table(1), dump_table(1)[:3]]), "step 10: the particle count changes from 4 to 3"),
    "cut short": (
        dump_text([dump_table(1)])[:-30],
        "step 0 has .* values where 4 atoms of 8 columns need 32: .*cut short",
    ),
    "cut in header": (dump_text([dump_table(1)]) + "ITEM: TIMESTEP\n10\n", "ends inside step 10"),
    "no forces": (
        dump_text([dump_table(1)[:, :5]], columns="id type x y z"),
        r"has no forces \(columns are id type x y z\)",
    ),
    "no positions": (dump_text([dump_table(1)], columns="id type a b c fx fy fz"), "has no positions"),
    "a word": (
        dump_text([dump_table(1)]).replace("\n2 1 ", "\n2 1 oops", 1),
        "column x holds a word that is no number",
    ),
    "nan": (
        dump_text([dump_table(1)[:, :7]], columns="id type x y z fx fy")
        .replace("fx fy", "fx fy fz")
        .replace("\n2 ", " nan\n2 ")
        .replace("\n3 ", " 0\n3 ")
        .replace("\n4 ", " 0\n4 ")
        .rstrip()
        + " 0\n",
        "force is nan",
    ),
    "same id": (dump_text([dump_table(1)]).replace("\n3 1 ", "\n2 1 "), "two atoms have the same id"),
    "no dump": (dump_text([dump_table(1)]) + "Loop time of 1.0\n", "'Loop time of 1.0' is no item"),
    "bad count": (dump_text([dump_table(1)]).replace("ATOMS\n4", "ATOMS\nfour"), "NUMBER OF ATOMS is 'four'"),
    "bad box": (dump_text([dump_table(1)]).replace("0 10\n", "0\n"), "BOX BOUNDS cannot be read"),
    "steps back": (
        dump_text([dump_table(1)], first_step=9) + dump_text([dump_table(2)], units=None),
        "step does not increase",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_dump_is_refused_in_one_sentence_and_nothing_is_left(tmp_path: Path, case: str) -> None:
    text, message = FAULTS[case]
    with pytest.raises(DataError, match=message) as caught:
        ingest_text(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.dump"]


def test_a_species_that_changes_half_way_is_refused(tmp_path: Path) -> None:
    second = dump_table(2)
    second[2, 1] = 2
    with pytest.raises(DataError, match="step 10: the species of particle 2 changes from 1 to 2"):
        ingest_text(tmp_path, dump_text([dump_table(1), second]))


def test_a_truncated_gz_is_refused(tmp_path: Path) -> None:
    raw = (REFERENCE / "lj-500.lammpstrj.gz").read_bytes()
    (tmp_path / "cut.gz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match=r"cut\.gz: the compressed file is damaged or cut short"):
        ingest(tmp_path / "cut.gz", tmp_path / "d.zarr", units="lj")
    assert [entry.name for entry in tmp_path.iterdir()] == ["cut.gz"]
