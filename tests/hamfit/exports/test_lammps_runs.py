"""LAMMPS itself on the exported files, against the model: one frame, and a hundred steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from export_cases import Trained

from hamfit.exports.lammps import LammpsExport, export_lammps
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.types import FloatArray
from lammps_runner import LammpsError, read_dump, read_thermo, run_lammps, write_data
from worlds import energy_rounding, relative

#: LAMMPS's own constants (update.cpp): mvv2e of metal units, and nktv2p, which turns eV/A^3 into bar.
MVV2E = {"lj": 1.0, "metal": 1.0364269e-4}
NKTV2P = {"lj": 1.0, "metal": 1.6021765e6}
#: One unit of time of `ase` in picoseconds.
ASE_TIME_PS = 0.010180505664
STEPS, DT = 100, {"lj": 0.002, "metal": 0.001}


def speeds(frame: Frame, units: str) -> FloatArray:
    """Velocities in LAMMPS's unit."""
    assert frame.qdot is not None
    return frame.qdot / (ASE_TIME_PS if units == "metal" else 1.0)


def masses(trained: Trained) -> dict[str, float] | None:
    """Masses for a model that was fitted without velocities."""
    has_velocities = any(block.part == "velocity" for block in trained.model.blocks)
    return None if has_velocities else {"1": float(trained.frame().masses[0])}


def script(export: LammpsExport, steps: int) -> str:
    settings = "\n".join(export.settings)
    return f"""{settings}
atom_style atomic
read_data a.data
include hamfit.in.lmp
neighbor 0.3 bin
neigh_modify every 1 delay 0 check yes
timestep {DT[export.units]}
fix 1 all nve
{"fix 2 all enforce2d" if "dimension 2" in export.settings else ""}
thermo_style custom step pe ke pxx pyy pzz pxy pxz pyz
thermo_modify format float %.17g norm no
dump 1 all custom {max(steps, 1)} out.dump id xu yu zu vx vy vz fx fy fz
dump_modify 1 format float %.17g
run {steps}
"""


def run(
    export: LammpsExport, frame: Frame, folder: Path, steps: int, threads: int = 1
) -> tuple[list[FloatArray], dict[str, FloatArray]]:
    """Dumped frames (id, positions, velocities, forces) and thermodynamic output."""
    write_data(folder / "a.data", frame, velocities=speeds(frame, export.units))
    log = run_lammps(script(export, steps), folder, threads=threads)
    return read_dump(folder / "out.dump", 9), read_thermo(log)


def verlet(model: Model, frame: Frame, export: LammpsExport) -> tuple[FloatArray, FloatArray]:
    """Positions and velocities after STEPS steps of velocity Verlet on the model's forces, in LAMMPS's units."""
    dt = DT[export.units]
    inverse = 1.0 / (np.array(export.masses)[frame.species, None] * MVV2E[export.units])
    q, v = frame.q.copy(), speeds(frame, export.units).copy()
    a = model.forces(frame) * inverse
    for _ in range(STEPS):
        v += 0.5 * dt * a
        q += dt * v
        a = model.forces(replace(frame, q=q)) * inverse
        v += 0.5 * dt * a
    return q, v


@dataclass(frozen=True)
class Row:
    """A fixture, and what the interpolation of its style allows."""

    name: str
    forces: float
    """Relative error of forces."""
    energy: float = 1e-11
    """Relative error of the energy."""
    positions: float = 1e-9
    """Distance of any coordinate after STEPS steps."""


ROWS = (
    Row("liquid", 1e-11),
    Row("mixture", 1e-11),
    Row("copper", 1e-9),
    Row("bare_copper", 1e-9),
    # coefficients of 1e6 cancel in these fits of pair forces by densities
    Row("alloy", 1e-9, 1e-9),
    # an eam file holds one cutoff: at the others LAMMPS rounds off the kinks of the slopes
    Row("graded_alloy", 1e-8, 1e-9, 1e-8),
)
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@each_row
def test_energy_forces_and_pressure_of_a_frame_are_the_models(
    row: Row, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(row.name)
    frame = trained.frame()
    export = export_lammps(trained.model, tmp_path, masses=masses(trained))
    assert export.error < row.forces
    dump, thermo = run(export, frame, tmp_path, 0)
    expected = trained.model.potential(frame)
    assert relative(dump[0][:, 6:], expected.forces) < row.forces
    missing = float(np.array(export.missing_energies)[frame.species].sum())
    allowed = energy_rounding(trained.model.constants, trained.model.theta, frame)
    assert thermo["PotEng"][0] + missing == pytest.approx(expected.energy, rel=row.energy, abs=allowed)
    v = speeds(frame, export.units)
    moving = MVV2E[export.units] * np.einsum("ia,ib,i->ab", v, v, np.array(export.masses)[frame.species])
    assert thermo["KinEng"][0] == pytest.approx(0.5 * float(np.trace(moving)), rel=1e-12)
    assert expected.virial is not None
    assert frame.box is not None
    pressure = NKTV2P[export.units] * (moving + expected.virial) / np.linalg.det(frame.box)
    told = np.array([[thermo[f"P{''.join(sorted(a + b))}"][0] for b in "xyz"] for a in "xyz"])
    np.testing.assert_allclose(told, pressure, atol=10.0 * row.forces * np.abs(pressure).max())


@each_row
def test_a_hundred_steps_end_where_velocity_verlet_on_the_model_ends(
    row: Row, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    trained: Trained = request.getfixturevalue(row.name)
    frame = trained.frame()
    export = export_lammps(trained.model, tmp_path, masses=masses(trained))
    dump, _ = run(export, frame, tmp_path, STEPS)
    q, v = verlet(trained.model, frame, export)
    assert np.abs(q - frame.q).max() > 0.1
    assert np.abs(dump[-1][:, :3] - q).max() < row.positions
    assert relative(dump[-1][:, 3:6], v) < 10.0 * row.positions


def test_a_flat_system_runs_in_two_dimensions_and_leaves_out_pairs_that_do_not_act(
    flat: Trained, tmp_path: Path
) -> None:
    frame = flat.frame()
    export = export_lammps(flat.model, tmp_path)
    assert export.settings == ("units lj", "dimension 2")
    assert any(command.endswith("2 2 none") for command in export.commands)
    dump, thermo = run(export, frame, tmp_path, STEPS)
    q, v = verlet(flat.model, frame, export)
    assert np.abs(dump[-1][:, :2] - q).max() < 1e-9
    assert relative(dump[-1][:, 3:5], v) < 1e-8
    assert not dump[-1][:, 2].any()
    expected = flat.model.potential(frame)
    assert thermo["PotEng"][0] + sum(export.missing_energies[s] for s in frame.species) == pytest.approx(
        expected.energy
    )


@pytest.mark.parametrize("name", ["liquid", "copper"])
def test_a_sheared_cell_has_the_same_forces(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    trained: Trained = request.getfixturevalue(name)
    frame = trained.frame()
    assert frame.box is not None
    shear = np.eye(3) + 0.07 * np.tri(3, k=-1)
    frame = replace(frame, q=frame.q @ shear, box=frame.box @ shear)
    dump, _ = run(export_lammps(trained.model, tmp_path), frame, tmp_path, 0)
    assert relative(dump[0][:, 6:], trained.model.forces(frame)) < 1e-9


def test_threads_of_lammps_give_the_same_forces(liquid: Trained, tmp_path: Path) -> None:
    dump, _ = run(export_lammps(liquid.model, tmp_path), liquid.frame(), tmp_path, 0, threads=2)
    assert relative(dump[0][:, 6:], liquid.model.forces(liquid.frame())) < 1e-11


def test_a_script_with_other_units_is_stopped_by_the_files_themselves(copper: Trained, tmp_path: Path) -> None:
    export = export_lammps(copper.model, tmp_path)
    write_data(tmp_path / "a.data", copper.frame())
    wrong = script(export, 0).replace("units metal", "units lj")
    with pytest.raises(LammpsError, match="units"):
        run_lammps(wrong, tmp_path)


def test_particles_nearer_than_the_table_begins_stop_lammps(liquid: Trained, tmp_path: Path) -> None:
    frame = liquid.frame()
    q = frame.q.copy()
    q[1] = q[0] + np.array([0.3, 0.0, 0.0])
    with pytest.raises(LammpsError, match="table inner cutoff"):
        run(export_lammps(liquid.model, tmp_path), replace(frame, q=q), tmp_path, 0)


def test_the_include_file_works_from_another_folder(liquid: Trained, tmp_path: Path) -> None:
    export = export_lammps(liquid.model, tmp_path / "model")
    frame = liquid.frame()
    work = tmp_path / "work"
    work.mkdir()
    write_data(work / "a.data", frame)
    text = script(export, 0).replace(
        "include hamfit.in.lmp", f"variable hamfit index {tmp_path}/model\ninclude ${{hamfit}}/hamfit.in.lmp"
    )
    run_lammps(text, work)
    assert relative(read_dump(work / "out.dump", 9)[0][:, 6:], liquid.model.forces(frame)) < 1e-11
