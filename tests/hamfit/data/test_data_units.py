from __future__ import annotations

import ase.units
import numpy as np
import pytest
from dataset_cases import REFERENCE

from hamfit.data import Units, ingest, input_units
from hamfit.data.units import ASE, LJ, UNIT_NAMES, consistent_units
from hamfit.errors import DataError, StoreError

# What LAMMPS's own integrator uses: dv = ftm2v F/m dt, KE = mvv2e m v^2 / 2 (update.cpp). 1/mvv2e is the rate of
# velocity, in the style's own units, that unit force gives unit mass.
LAMMPS_FTM2V = {
    "metal": 1.0 / 1.0364269e-4,
    "real": 1.0 / 48.88821291 / 48.88821291,
    "si": 1.0,
    "electron": 0.937582899,
    "lj": 1.0,
}


@pytest.mark.parametrize("style", LAMMPS_FTM2V)
def test_force_equals_mass_times_acceleration_after_conversion(style: str) -> None:
    units = input_units(style)
    force, mass, dt = 3.0, 7.0, 11.0
    dv = LAMMPS_FTM2V[style] * force / mass * dt  # in the style's own numbers
    converted = (mass * units.mass) * (dv * units.velocity) / (dt * units.time)
    assert converted == pytest.approx(force * units.force, rel=2e-6)


@pytest.mark.parametrize("style", LAMMPS_FTM2V)
def test_positions_advance_by_velocity_times_time_after_conversion(style: str) -> None:
    units = input_units(style)
    assert units.velocity * units.time == pytest.approx(units.length, rel=1e-14)


def test_metal_acceleration_constant_is_the_published_one() -> None:
    metal = input_units("metal")
    assert metal.time**2 == pytest.approx(9648.533, rel=1e-7)


def test_constants_are_those_of_ase() -> None:
    real, si, electron = input_units("real"), input_units("si"), input_units("electron")
    assert real.energy == pytest.approx(ase.units.kcal / ase.units.mol, rel=1e-15)
    assert real.time == pytest.approx(ase.units.fs, rel=1e-15)
    assert input_units("metal").time == pytest.approx(1000 * ase.units.fs, rel=1e-15)
    assert (si.length, si.energy) == (ase.units.m, ase.units.J)
    assert si.mass == pytest.approx(ase.units.kg, rel=1e-15)
    assert si.time == pytest.approx(ase.units.second, rel=1e-15)
    assert (electron.length, electron.energy) == (ase.units.Bohr, ase.units.Hartree)


def test_reduced_is_another_name_for_lj() -> None:
    assert input_units("reduced") == input_units("LJ")
    assert consistent_units("reduced") == LJ
    assert consistent_units("ase") == ASE


def test_inconsistent_units_are_refused_by_the_writer() -> None:
    with pytest.raises(DataError, match="'metal' need conversion"):
        consistent_units("metal")


def test_unknown_units_name_the_known_ones() -> None:
    with pytest.raises(DataError, match="'imperial' are unknown: declare one of lj"):
        input_units("imperial")
    assert set(UNIT_NAMES) == {"lj", "reduced", "ase", "metal", "real", "si", "electron"}


def test_units_survive_their_attributes() -> None:
    assert Units.from_attrs(ASE.to_attrs()) == ASE
    with pytest.raises(StoreError, match="units are incomplete"):
        Units.from_attrs({"name": "ase"})


@pytest.mark.parametrize("name", ["cu-256", "si-216"])
def test_metal_dump_has_velocities_of_its_temperature_in_ase_units(name: str, tmp_path: object) -> None:
    dataset = ingest(REFERENCE / f"{name}.lammpstrj.gz", f"{tmp_path}/d.zarr", units="metal")
    trajectory = dataset.trajectories[0]
    raw = ase.units.fs * 1000
    frame = trajectory.frame(0)
    assert frame.qdot is not None
    assert frame.p is not None
    kinetic = 0.5 * float((frame.p * frame.qdot).sum())
    temperature = 2 * kinetic / (3 * frame.n_particles * ase.units.kB)
    assert 500 < temperature < 1300
    assert np.abs(frame.qdot).max() * raw < 50  # A/ps
