from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hamfit.errors import SpecError
from hamfit.frames import Frame
from hamfit.systems import SYSTEMS, simulate
from hamfit.systems.truth import truth_of

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "spring": {"geometry": "square", "shape": "3x4", "periodic": True, "diagonals": True, "amplitude": 0.05},
    "anharmonic": {"geometry": "ring", "shape": "7", "gamma": 1.7, "r0": 0.8},
    "morse": {"geometry": "cubic", "shape": "2x2x2", "spacing": 1.3},
    "lj": {"shape": "2x2x2", "melt_steps": 20, "epsilon": 1.3, "sigma": 0.9, "cutoff": 1.9},
    "kob-andersen": {"shape": "2x2x2", "melt_steps": 20, "tile": 2},
    "gravity": {"n_bodies": 3, "mass": 1.7, "strength": 0.6},
    "nspring": {"n_bodies": 4},
    "nbody": {},
}


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_the_rebuilt_potential_gives_the_stored_energies_and_forces(name: str, tmp_path: Path) -> None:
    common = {} if name == "nbody" else {"n_trajectories": 2}
    data = simulate(name, tmp_path / "data", **OPTIONS[name], **common, n_frames=3)
    truth = truth_of(data.attrs)
    assert truth is not None
    assert truth.name == name
    for trajectory in data.trajectories:
        potential = truth.potential(trajectory.frame(0))
        for frame in trajectory.frames():
            assert float(potential.energy(frame.q)) == pytest.approx(frame.potential_energy, rel=1e-12)
            assert np.allclose(potential.forces(frame.q), np.asarray(frame.pdot), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_pair_laws_sum_to_the_potential_energy(name: str, tmp_path: Path) -> None:
    data = simulate(name, tmp_path / "data", **OPTIONS[name], n_frames=1)
    truth = truth_of(data.attrs)
    assert truth is not None
    frame = data.trajectories[0].frame(0)
    box = np.zeros(frame.dim) if frame.box is None else np.diag(frame.box)
    periodic = np.array(frame.periodic)
    reach = range(-1, 2)
    shifts = np.stack(np.meshgrid(*[reach] * frame.dim, indexing="ij"), -1).reshape(-1, frame.dim)
    shifts = shifts[(shifts[:, ~periodic] == 0).all(axis=1)] * box
    energy = 0.0
    if frame.bonds is not None:
        assert frame.bond_types is not None
        for (i, j), kind in zip(frame.bonds, frame.bond_types, strict=True):
            r = np.linalg.norm(frame.q[i] - frame.q[j] - shifts, axis=1).min()
            energy += float(truth.pair_laws[frame.bond_labels[kind]](np.array([r]))[0])
    else:
        for i in range(frame.n_particles):
            r = np.linalg.norm(frame.q[i] - frame.q[:, None] - shifts, axis=-1)
            for kind, label in enumerate(frame.labels):
                names = sorted((frame.labels[frame.species[i]], label))
                some = r[frame.species == kind]
                energy += 0.5 * float(truth.pair_laws["-".join(names)](some[some > 0.0]).sum())
    assert energy == pytest.approx(frame.potential_energy, rel=1e-10)


def test_data_from_elsewhere_have_no_known_truth() -> None:
    assert truth_of({}) is None
    assert truth_of({"simulation": "a note"}) is None
    assert truth_of({"source": "dump"}) is None


def test_frames_and_records_of_another_system_are_refused(tmp_path: Path) -> None:
    ring = simulate("nspring", tmp_path / "a", n_bodies=4, n_trajectories=1, n_frames=2)
    box = simulate("lj", tmp_path / "b", shape="2x2x2", melt_steps=0, n_frames=1)
    springs, liquid = truth_of(ring.attrs), truth_of(box.attrs)
    assert springs is not None
    assert liquid is not None
    frame = ring.trajectories[0].frame(0)
    fewer = replace(frame, q=frame.q[:3], p=None, qdot=None, pdot=None, species=frame.species[:3], masses=np.ones(3))
    with pytest.raises(SpecError, match="has 4 particles, the frame 3"):
        springs.potential(fewer)
    with pytest.raises(SpecError, match="lj lives in an orthorhombic periodic box"):
        liquid.potential(frame)
    with pytest.raises(SpecError, match="system 'doublet' is unknown"):
        truth_of({"simulation": {"system": "doublet", "options": {}}})


@pytest.mark.parametrize("name", ["gravity", "nbody", "nspring"])
def test_a_frame_of_another_number_of_bodies_is_none_of_that_system(name: str, tmp_path: Path) -> None:
    data = simulate(name, tmp_path / "data", **OPTIONS[name], n_frames=1)
    truth = truth_of(data.attrs)
    assert truth is not None
    frame = data.trajectories[0].frame(0)
    n = frame.n_particles
    fewer = Frame(frame.q[1:], frame.species[1:], frame.labels, frame.masses[1:])
    with pytest.raises(SpecError, match=f"the {name} of these options has {n} particles, the frame {n - 1}"):
        truth.potential(fewer)
