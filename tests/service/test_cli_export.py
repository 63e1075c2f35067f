"""`hamfit export`: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
from typer.testing import Result

from hamfit.fitting import fit
from hamfit.model import Model
from hamfit.options import FitOptions
from lammps_runner import read_dump, run_lammps, write_data
from worlds import liquids, relative, write

Cli = Callable[..., Result]
Command = Callable[..., subprocess.CompletedProcess[str]]

FRAMES = liquids(1, 20, n_species=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("export") / "a.zarr", [FRAMES]).path


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "a.model"
    fit(data, out=path, options=FitOptions(cutoff=1.75, features=24, threads=1, checkpoint=False))
    return path


def test_the_installed_command_writes_files_that_lammps_runs(command: Command, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "lmp"
    done = command("export", model, "--to", "lammps", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["to"] == "lammps"
    assert told["units"] == "lj"
    assert [Path(file).name for file in told["files"]] == ["hamfit.in.lmp", "hamfit.table"]
    assert told["error"] < 1e-11
    write_data(out / "a.data", FRAMES[0])
    settings = "\n".join(told["settings"])
    script = f"{settings}\natom_style atomic\nread_data a.data\ninclude hamfit.in.lmp\n"
    script += "neighbor 0.05 bin\ndump 1 all custom 1 out.dump id fx fy fz\n"
    run_lammps(script + "dump_modify 1 format float %.17g\nrun 0\n", out)
    assert relative(read_dump(out / "out.dump", 3)[0], Model.open(model).forces(FRAMES[0])) < 1e-11


def test_a_table_says_what_was_written(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    result = cli("export", model, "--to", "lammps", "--out", tmp_path / "a", "--points", "1000")
    assert result.exit_code == 0
    for words in ("hamfit.in.lmp, hamfit.table", "units lj; dimension 3", "include hamfit.in.lmp"):
        assert words in result.stdout
    result = cli("export", data, "--to", "extxyz", "--out", tmp_path / "a.extxyz")
    assert result.exit_code == 0
    assert "20" in result.stdout
    assert "export 20/20" in result.stderr


def test_trajectories_are_written_in_both_formats(cli: Cli, data: Path, tmp_path: Path) -> None:
    xyz, h5 = tmp_path / "a.extxyz", tmp_path / "a.h5"
    told = json.loads(cli("export", data, "--to", "extxyz", "--symbols", "A=Ar, B=Kr", "--out", xyz, "--json").stdout)
    assert told == {"source": str(data), "to": "extxyz", "out": str(xyz), "frames": 20, "bytes": xyz.stat().st_size}
    assert set(ase.io.read(xyz, index=-1).get_chemical_symbols()) == {"Ar", "Kr"}
    assert json.loads(cli("export", data, "--to", "h5md", "--out", h5, "--json").stdout)["frames"] == 20
    with h5py.File(h5, "r") as file:
        np.testing.assert_array_equal(file["particles/run-0/position/value"][-1], FRAMES[-1].q)


def test_what_is_there_is_replaced_only_on_request(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    for source, to, name in ((model, "lammps", "folder"), (data, "extxyz", "a.extxyz"), (data, "h5md", "a.h5")):
        arguments = ("export", source, "--to", to, "--out", tmp_path / name)
        assert cli(*arguments).exit_code == 0
        again = cli(*arguments)
        assert again.exit_code == 2
        assert "something is there already" in again.stderr
        assert cli(*arguments, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    "source, arguments, words",
    [
        ("model", ("--to", "h5md"), "is a model, and h5md holds trajectories; give a dataset"),
        ("model", ("--to", "extxyz"), "is a model, and extxyz holds trajectories; give a dataset"),
        ("data", ("--to", "lammps"), "is a dataset, and LAMMPS takes the forces of a model; give a model"),
        ("data", ("--to", "h5md", "--points", "1000"), "--points means nothing with --to h5md; leave it out"),
        ("data", ("--to", "h5md", "--symbols", "A=Ar"), "--symbols means nothing with --to h5md"),
        ("data", ("--to", "extxyz", "--masses", "A=1"), "--masses means nothing with --to extxyz"),
        ("model", ("--to", "lammps", "--symbols", "A=Ar"), "--symbols means nothing with --to lammps"),
        ("model", ("--to", "lammps", "--masses", "A=heavy"), "--masses 'A=heavy' holds a word that is no number"),
        ("model", ("--to", "lammps", "--masses", "A=7"), "mass of species A is 7 where the model learned 1.7"),
        ("data", ("--to", "extxyz", "--symbols", "Ar"), "--symbols 'Ar' is not a list of names and values"),
        ("model", ("--to", "lammps", "--points", "3"), "n_points is 3: give at least 100"),
        ("nothing", ("--to", "lammps"), "does not exist"),
        ("nothing", ("--to", "h5md"), "does not exist"),
        ("model", ("--to", "gromacs"), "gromacs"),
    ],
)
def test_what_the_source_cannot_serve_is_refused_in_one_sentence(
    cli: Cli, model: Path, data: Path, tmp_path: Path, source: str, arguments: tuple[str, ...], words: str
) -> None:
    path = {"model": model, "data": data, "nothing": tmp_path / "nothing"}[source]
    result = cli("export", path, *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()
