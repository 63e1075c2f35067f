"""Datasets as extended XYZ and H5MD, read back by other readers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from export_cases import Trained

from hamfit.data import Dataset, DatasetWriter, ingest
from hamfit.errors import SpecError, StoreError
from hamfit.exports import export_extxyz, export_h5md
from hamfit.frames import Frame
from worlds import liquids, write

#: One unit of time of `ase` in picoseconds (CODATA 2014, as ase.units has it).
ASE_TIME_PS = 0.010180505664


@pytest.fixture
def mixture_data(tmp_path: Path) -> Dataset:
    """Two trajectories of different sizes, reduced units."""
    return write(tmp_path / "a.zarr", [liquids(1, 3, n_species=2), liquids(2, 2, n_species=2, side=4)])


def same(a: Frame, b: Frame, names: tuple[str, ...] = ("q", "p", "pdot", "masses", "box")) -> None:
    for name in names:
        first, second = getattr(a, name), getattr(b, name)
        assert first.tobytes() == second.tobytes(), name
    assert a.potential_energy == b.potential_energy
    assert [a.labels[s] for s in a.species] == [b.labels[s] for s in b.species]
    assert a.periodic == b.periodic


def all_frames(data: Dataset) -> list[Frame]:
    return [frame for trajectory in data.trajectories for frame in trajectory.frames()]


def test_extxyz_comes_back_through_ingest_bit_for_bit(mixture_data: Dataset, tmp_path: Path) -> None:
    path = export_extxyz(mixture_data, tmp_path / "a.extxyz")
    again = ingest(path, tmp_path / "b.zarr", units="lj")
    assert again.n_frames == 5
    for old, new in zip(all_frames(mixture_data), all_frames(again), strict=True):
        # velocities come back as p / m
        same(old, new, ("q", "pdot", "masses", "box"))
        np.testing.assert_allclose(new.p, old.p, rtol=1e-15)


def test_extxyz_is_read_by_ase_in_its_own_units(copper: Trained, tmp_path: Path) -> None:
    path = export_extxyz(copper.data, tmp_path / "cu.extxyz", symbols={"1": "Cu"})
    images = ase.io.read(path, index=":")
    frames = all_frames(copper.data)
    assert len(images) == len(frames)
    for atoms, frame in zip(images, frames, strict=True):
        assert set(atoms.get_chemical_symbols()) == {"Cu"}
        assert atoms.positions.tobytes() == frame.q.tobytes()
        assert atoms.get_momenta().tobytes() == frame.p.tobytes()
        np.testing.assert_allclose(atoms.get_velocities(), frame.qdot, rtol=1e-14)
        assert atoms.get_forces().tobytes() == frame.pdot.tobytes()
        assert atoms.get_potential_energy() == frame.potential_energy
        assert atoms.cell.array.tobytes() == frame.box.tobytes()
        assert atoms.get_masses().tobytes() == frame.masses.tobytes()
        assert tuple(atoms.pbc) == frame.periodic
    assert images[2].info["step"] == copper.data.trajectories[0].step[2]
    assert images[2].info["units"] == "ase"


def test_flat_and_open_systems_are_padded(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids(1, 2, dim=2, side=3)])
    text = export_extxyz(data, tmp_path / "a.extxyz", symbols={"A": "Ar"}).read_text()
    assert 'pbc="T T F"' in text
    atoms = ase.io.read(tmp_path / "a.extxyz", index=0)
    frame = data.trajectories[0].frame(0)
    assert atoms.positions[:, :2].tobytes() == np.ascontiguousarray(frame.q).tobytes()
    assert not atoms.positions[:, 2].any()
    assert atoms.cell.array.tolist()[2] == [0.0, 0.0, 1.0]
    cluster = write(tmp_path / "b.zarr", [liquids(1, 1, periodic=False)], energies=False, forces=False)
    text = export_extxyz(cluster, tmp_path / "b.extxyz").read_text()
    assert "Lattice" not in text
    assert "energy" not in text
    assert "forces" not in text
    assert 'pbc="F F F"' in text


def test_momenta_that_are_not_mass_times_velocity_keep_their_velocities(tmp_path: Path) -> None:
    frame = liquids(1, 1)[0]
    assert frame.qdot is not None
    with DatasetWriter.create(tmp_path / "a.zarr", units="lj", labels=("A",)) as writer:
        writer.add_trajectory(
            "run",
            q=frame.q[None],
            species=frame.species,
            masses=frame.masses,
            velocity=frame.qdot[None],
            momentum=3.0 * frame.qdot[None],
            force=frame.pdot[None],
            momentum_rate=2.0 * frame.pdot[None],
        )
    data = Dataset.open(tmp_path / "a.zarr")
    assert "momenta:R:3:velo:R:3" in export_extxyz(data, tmp_path / "a.extxyz").read_text()
    with h5py.File(export_h5md(data, tmp_path / "a.h5"), "r") as file:
        group = file["particles/run"]
        assert group["momentum/value"][0].tobytes() == (3.0 * frame.qdot).tobytes()
        assert group["velocity/value"][0].tobytes() == frame.qdot.tobytes()


def test_species_that_are_no_words_need_other_names(tmp_path: Path) -> None:
    frames = [replace(frame, labels=("big bead",)) for frame in liquids(1, 1)]
    data = write(tmp_path / "a.zarr", [frames])
    with pytest.raises(SpecError, match="'big bead' cannot be a word of extended XYZ: rename it"):
        export_extxyz(data, tmp_path / "a.extxyz")
    assert not (tmp_path / "a.extxyz").exists()
    assert "\nbead " in export_extxyz(data, tmp_path / "a.extxyz", symbols={"big bead": "bead"}).read_text()
    with pytest.raises(SpecError, match="rename the species x: the dataset has big bead"):
        export_extxyz(data, tmp_path / "b.extxyz", symbols={"x": "y"})


def check_element(group: h5py.Group, n_frames: int) -> None:
    """A time-dependent element of H5MD 1.1: step, time and value of one length."""
    assert set(group) <= {"step", "time", "value"}
    assert group["value"].shape[0] == n_frames
    assert group["step"].shape == (n_frames,)
    assert group["step"].dtype.kind == "i"
    assert np.all(np.diff(group["step"]) > 0)
    if "time" in group:
        assert group["time"].shape == (n_frames,)


def test_h5md_has_the_structure_of_its_specification(mixture_data: Dataset, tmp_path: Path) -> None:
    with h5py.File(export_h5md(mixture_data, tmp_path / "a.h5", author="A. Physicist"), "r") as file:
        assert file["h5md"].attrs["version"].tolist() == [1, 1]
        assert file["h5md/author"].attrs["name"] == "A. Physicist"
        assert file["h5md/creator"].attrs["name"] == "hamfit"
        assert file["h5md/creator"].attrs["version"]
        assert "modules" not in file["h5md"]
        assert set(file["particles"]) == {t.name for t in mixture_data.trajectories}
        for trajectory in mixture_data.trajectories:
            group, frames = file[f"particles/{trajectory.name}"], trajectory.frames()
            n, t = trajectory.n_particles, trajectory.n_frames
            for name, field in (("position", "q"), ("velocity", "qdot"), ("force", "pdot")):
                check_element(group[name], t)
                assert group[name]["value"].shape == (t, n, 3)
                for k, frame in enumerate(frames):
                    assert group[name]["value"][k].tobytes() == getattr(frame, field).tobytes()
                assert "unit" not in group[name]["value"].attrs
            # shared, not copied
            assert group["velocity/step"] == group["position/step"]
            box = group["box"]
            assert box.attrs["dimension"] == 3
            assert box.attrs["boundary"].tolist() == ["periodic"] * 3
            assert box["edges"][...].tobytes() == frames[0].box.tobytes()
            assert group["mass"][...].tobytes() == trajectory.masses.tobytes()
            assert group["species"][...].tolist() == trajectory.species.tolist()
            assert h5py.check_enum_dtype(group["species"].dtype) == {"A": 0, "B": 1}
            energy = file[f"observables/{trajectory.name}/potential_energy"]
            check_element(energy, t)
            assert energy["value"][...].tolist() == [frame.potential_energy for frame in frames]


def test_h5md_names_the_units_of_real_materials(copper: Trained, tmp_path: Path) -> None:
    trajectory = copper.data.trajectories[0]
    with h5py.File(export_h5md(copper.data, tmp_path / "cu.h5"), "r") as file:
        assert file["h5md/modules/units"].attrs["version"].tolist() == [1, 0]
        group = file[f"particles/{trajectory.name}"]
        found = {name: group[f"{name}/value"].attrs["unit"] for name in ("position", "velocity", "force")}
        assert found == {"position": "Angstrom", "velocity": "Angstrom ps-1", "force": "eV Angstrom-1"}
        assert group["mass"].attrs["unit"] == "amu"
        assert group["box/edges/value"].attrs["unit"] == "Angstrom"
        frame = trajectory.frame(3)
        assert frame.qdot is not None
        assert group["position/value"][3].tobytes() == frame.q.tobytes()
        np.testing.assert_allclose(group["velocity/value"][3], frame.qdot / ASE_TIME_PS, rtol=1e-9)
        if trajectory.has_time:
            assert group["position/time"].attrs["unit"] == "ps"
            np.testing.assert_allclose(group["position/time"], trajectory.time * ASE_TIME_PS, rtol=1e-9)


def test_h5md_keeps_bonds_boxes_that_move_and_fewer_dimensions(tmp_path: Path) -> None:
    frames = [
        replace(f, bonds=np.array([[0, 1], [1, 2]]), bond_types=np.array([1, 0]), bond_labels=("s", "t"))
        for f in liquids(1, 3, dim=2)
    ]
    boxes = np.array([frame.box * (1.0 + 0.01 * k) for k, frame in enumerate(frames)])
    with DatasetWriter.create(tmp_path / "a.zarr", units="lj", labels=("A",), bond_labels=("s", "t")) as writer:
        writer.add_trajectory(
            "run",
            q=np.array([f.q for f in frames]),
            species=frames[0].species,
            masses=frames[0].masses,
            periodic=(True, False),
            box=boxes,
            time=[0.0, 0.5, 1.0],
            step=[0, 10, 20],
            bonds=frames[0].bonds,
            bond_types=frames[0].bond_types,
        )
    with h5py.File(export_h5md(tmp_path / "a.zarr", tmp_path / "a.h5"), "r") as file:
        box = file["particles/run/box"]
        assert box.attrs["boundary"].tolist() == ["periodic", "none"]
        check_element(box["edges"], 3)
        assert box["edges/value"][...].tobytes() == boxes.tobytes()
        assert file["particles/run/position/time"][...].tolist() == [0.0, 0.5, 1.0]
        assert file["particles/run/position/step"][...].tolist() == [0, 10, 20]
        bonds = file["connectivity/run/bonds"]
        assert bonds[...].tolist() == [[0, 1], [1, 2]]
        assert file[bonds.attrs["particles_group"]] == file["particles/run"]
        assert file["connectivity/run/bond_types"][...].tolist() == [1, 0]
        assert "observables" not in file


Export = Callable[..., Path]
each_export = pytest.mark.parametrize("export", [export_extxyz, export_h5md], ids=["extxyz", "h5md"])


@each_export
def test_an_existing_file_is_kept_unless_asked(export: Export, mixture_data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(StoreError, match=r"something is there already: .* ask to overwrite"):
        export(mixture_data, path)
    assert path.read_text() == "precious"
    export(mixture_data, path, overwrite=True)
    assert path.read_bytes()[:8] != b"precious"
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="is a folder"):
        export(mixture_data, tmp_path / "folder", overwrite=True)


@each_export
def test_a_failure_half_way_leaves_nothing_and_keeps_what_was_there(
    export: Export, mixture_data: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "file").write_text("precious")

    def fail(event: object, /) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(mixture_data, out / "file", overwrite=True, progress=fail)
    with pytest.raises(KeyboardInterrupt):
        export(mixture_data, out / "other", progress=fail)
    assert [path.name for path in out.iterdir()] == ["file"]
    assert (out / "file").read_text() == "precious"


@each_export
def test_progress_ends_with_the_last_frame(export: Export, mixture_data: Dataset, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    export(mixture_data, tmp_path / "file", progress=lambda event: seen.append((event.done, event.total)))
    assert seen[-1] == (5, 5)


PEAK = """
import pathlib, sys
from hamfit.exports import export_extxyz, export_h5md
(export_h5md if sys.argv[3] == "h5md" else export_extxyz)(sys.argv[1], sys.argv[2])
status = pathlib.Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")))
"""


@pytest.mark.parametrize("kind", ["extxyz", "h5md"])
def test_memory_does_not_grow_with_the_number_of_frames(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    peaks = []
    for n_frames in (300, 1200):
        path = tmp_path / f"{n_frames}.zarr"
        with (
            DatasetWriter.create(path, units="lj", labels=("A",)) as writer,
            writer.open_trajectory("run", dim=3, species=np.zeros(3000, dtype=np.int64), masses=1.0) as trajectory,
        ):
            for _ in range(n_frames // 30):
                trajectory.append(q=rng.normal(size=(30, 3000, 3)))
        run = [sys.executable, "-c", PEAK, str(path), str(tmp_path / f"{n_frames}.out"), kind]
        peaks.append(int(subprocess.run(run, capture_output=True, check=True, text=True).stdout))
    # 900 frames more are 62 MiB; HDF5 keeps up to 20 MiB of freed buffers for itself
    assert peaks[1] - peaks[0] < 30 * 1024


def test_without_h5py_the_remedy_is_named(
    mixture_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SpecError, match=r"need h5py, which is not installed: pip install 'hamfit\[h5md\]'"):
        export_h5md(mixture_data, tmp_path / "a.h5")


def test_importing_the_doors_loads_none_of_their_libraries() -> None:
    code = "import sys, hamfit.exports as e; dir(e); print([m for m in ('ase', 'h5py', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
