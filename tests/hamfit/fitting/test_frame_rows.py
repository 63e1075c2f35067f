"""Rows that belong to frames: energies and stresses go the same way, and nobody on it knows what they mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hamfit.fitting
from hamfit.data import Dataset, DatasetWriter
from hamfit.errors import DataError, SpecError
from hamfit.fitting import fit, plan
from hamfit.fitting.frame_rows import KINDS, Stresses
from hamfit.frames import Frame
from hamfit.options import FitOptions
from hamfit.types import FloatArray
from worlds import images, lennard_jones, liquid

CUTOFF = 1.75
# Warnings about accuracy are not the subject here.
pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")
OPTIONS = FitOptions(blocks=("pair",), cutoff=CUTOFF, features=24, threads=1, checkpoint=False)


def with_stress(frame: Frame) -> Frame:
    """The frame with -W / volume of the Lennard-Jones law, by plain sums over pairs and images."""
    assert frame.box is not None
    vectors = frame.q[:, None, None] - frame.q[None, :, None] - images(frame.box, True, 1)
    r = np.linalg.norm(vectors, axis=-1)
    near = (r > 0.0) & (r < CUTOFF)
    slope = np.where(near, lennard_jones(np.where(near, r, 1.0))[1] / np.where(near, r, 1.0), 0.0)
    virial = -0.5 * np.einsum("ijk,ijka,ijkb->ab", slope, vectors, vectors)
    return replace(frame, stress=-virial / abs(np.linalg.det(frame.box)))


def write(path: Path, trajectories: list[list[Frame]], *, energies: bool = False, stresses: bool = True) -> Dataset:
    with DatasetWriter.create(path, units="lj", labels=trajectories[0][0].labels) as writer:
        for number, frames in enumerate(trajectories):
            writer.add_trajectory(
                f"run-{number}",
                q=np.array([f.q for f in frames]),
                species=frames[0].species,
                masses=frames[0].masses,
                box=frames[0].box,
                periodic=frames[0].periodic,
                force=np.array([f.pdot for f in frames]),
                stress=np.array([f.stress for f in frames]) if stresses else None,
                potential_energy=np.array([f.potential_energy for f in frames]) if energies else None,
            )
    return Dataset.open(path)


def lattices(spacings: FloatArray) -> list[list[Frame]]:
    """Perfect cubic lattices: no force acts on any particle, whatever the law."""
    rng = np.random.default_rng(0)
    made = [liquid(rng, spacing=float(spacing), jitter=0.0, cutoff=CUTOFF) for spacing in spacings]
    return [[with_stress(replace(frame, pdot=np.zeros_like(frame.q)))] for frame in made]


def liquids_with_stress(seed: int, count: int) -> list[Frame]:
    rng = np.random.default_rng(seed)
    return [with_stress(liquid(rng, cutoff=CUTOFF)) for _ in range(count)]


def worst_virial(data: Dataset, options: FitOptions, unseen: list[Frame]) -> float:
    model = fit(data, options=options).model
    errors, sizes = [], []
    for frame in unseen:
        assert frame.stress is not None
        assert frame.box is not None
        true = -frame.stress * abs(np.linalg.det(frame.box))
        virial = model.potential(frame).virial
        assert virial is not None
        errors.append(np.abs(virial - true).max())
        sizes.append(np.abs(true).max())
    return float(max(errors) / max(sizes))


def test_a_dataset_gives_back_the_stress_of_each_frame(tmp_path: Path) -> None:
    frames = liquids_with_stress(1, 3)
    data = write(tmp_path / "a.zarr", [frames])
    assert data.trajectories[0].has_stresses
    for frame, stored in zip(frames, data.trajectories[0].frames(), strict=True):
        assert stored.stress is not None
        np.testing.assert_array_equal(stored.stress, frame.stress)
    assert write(tmp_path / "b.zarr", [frames], stresses=False).trajectories[0].frame(0).stress is None


def test_stresses_say_what_forces_that_cancel_cannot(tmp_path: Path) -> None:
    """Forces fix the law near the distances of one shaken lattice; at those of the others only stresses do."""
    rng = np.random.default_rng(3)
    shaken = [[with_stress(liquid(rng, spacing=1.2, jitter=0.01, cutoff=CUTOFF))] for _ in range(4)]
    data = write(tmp_path / "lattices.zarr", lattices(np.linspace(1.05, 1.35, 16)) + shaken)
    unseen = [frame for (frame,) in lattices(np.array([1.08, 1.17, 1.31]))]
    without, having = (worst_virial(data, OPTIONS.with_changes(stress_weight=w), unseen) for w in (0.0, 1.0))
    assert having < 1e-3
    assert having < 0.1 * without


def test_the_report_and_the_plan_count_them(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids_with_stress(1, 10)], energies=True)
    both = OPTIONS.with_changes(stress_weight=0.5, energy_weight=2.0)
    report = fit(data, options=both).report["parts"]["force"]
    assert (report["energy_rows"], report["energy_weight"]) == (10, 2.0)
    assert (report["stress_rows"], report["stress_weight"]) == (60, 0.5)
    assert "stress_rows" not in fit(data, options=OPTIONS).report["parts"]["force"]
    assert plan(data, both).peak_bytes_per_worker > 0


@pytest.mark.parametrize("solver", ["sketched", "tsqr", "normal"])
def test_every_solver_takes_them_and_the_device_gives_the_same(solver: str, tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids_with_stress(1, 12)])
    options = OPTIONS.with_changes(stress_weight=1.0, solver=solver)
    unseen = liquids_with_stress(9, 2)
    bar = 1e-2 if solver == "normal" else 1e-6
    assert worst_virial(data, options, unseen) < bar
    assert worst_virial(data, options.with_changes(device="emulated"), unseen) < bar


def test_rows_that_few_frames_state_are_fitted_all_the_same(tmp_path: Path) -> None:
    """The first look sees to it that it sees some of them."""
    bare = [[replace(frame, stress=None)] for frame in liquids_with_stress(1, 12) for _ in range(20)]
    stated = [[frame] for frame in liquids_with_stress(2, 2)]
    with DatasetWriter.create(tmp_path / "a.zarr", units="lj", labels=("A",)) as writer:
        for number, (frame,) in enumerate(bare[:150] + stated + bare[150:]):
            stress = None if frame.stress is None else frame.stress[None]
            assert frame.pdot is not None
            writer.add_trajectory(
                f"run-{number}",
                q=frame.q[None],
                species=frame.species,
                masses=frame.masses,
                box=frame.box,
                periodic=True,
                force=frame.pdot[None],
                stress=stress,
            )
    report = fit(Dataset.open(tmp_path / "a.zarr"), options=OPTIONS.with_changes(stress_weight=1.0)).report
    assert report["parts"]["force"]["stress_rows"] == 12


def test_rows_that_are_asked_for_and_say_nothing_are_refused(tmp_path: Path) -> None:
    frames = [replace(frame, potential_energy=-3.0) for frame in liquids_with_stress(1, 6)]
    data = write(tmp_path / "a.zarr", [frames], energies=True)
    with pytest.raises(SpecError, match="--energy-weight asks for rows of energy, and the data do not tell how large"):
        fit(data, options=OPTIONS.with_changes(energy_weight=1.0))


def test_a_gas_that_pushes_outwards_has_a_stress_below_zero(tmp_path: Path) -> None:
    frame = with_stress(liquid(np.random.default_rng(0), spacing=0.95, cutoff=CUTOFF))
    virial = KINDS["stress"].targets(frame)
    assert virial is not None
    # xx, xy, xz, yy, yz, zz
    assert (virial[[0, 3, 5]] > 0.0).all()
    assert virial.shape == (6,)


def test_what_cannot_be_done_is_said_at_once(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids_with_stress(1, 4)])
    with pytest.raises(SpecError, match="the manybody block does not know the virials of its features"):
        plan(data, OPTIONS.with_changes(blocks=("pair", "manybody"), stress_weight=1.0))
    bare = write(tmp_path / "b.zarr", [liquids_with_stress(1, 4)], stresses=False)
    with pytest.raises(SpecError, match=r"holds no stress, which --stress-weight asks for rows of"):
        plan(bare, OPTIONS.with_changes(stress_weight=1.0))
    with pytest.raises(SpecError, match=r"holds no energy, which --energy-weight asks for rows of"):
        plan(bare, OPTIONS.with_changes(energy_weight=1.0))
    open_frame = replace(liquids_with_stress(1, 1)[0], periodic=(True, True, False))
    with pytest.raises(DataError, match="a stress and no volume"):
        KINDS["stress"].targets(open_frame)


def test_nothing_but_its_kind_knows_the_name_of_a_row() -> None:
    """Names of kinds are written where they are made, and nowhere else on their way from a frame to the report."""
    from hamfit import features, reductions

    folders = [Path(module.__path__[0]) for module in (hamfit.fitting, features, reductions)]
    words = [f'"{name}"' for name in KINDS]
    found = [
        f"{path.name}: {word}"
        for folder in folders
        for path in sorted(folder.glob("*.py"))
        for word in words
        if word in path.read_text(encoding="utf-8") and path.name != "frame_rows.py"
    ]
    assert found == []


class Offset(Stresses):
    """Stresses that a constant pressure is beside: rows with a column of their own, and not the same in all."""

    def columns(self, n_species: int) -> int:
        return 1

    def own(self, frame: Frame, columns: int) -> FloatArray:
        return np.eye(frame.dim)[np.triu_indices(frame.dim)][:, None] * frame.n_particles


def test_rows_may_have_columns_of_their_own_which_are_no_constants_of_the_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KINDS, "stress", Offset())
    unseen, frames = liquids_with_stress(5, 2), liquids_with_stress(4, 12)
    moved = []
    for frame in frames:
        assert frame.stress is not None
        assert frame.box is not None
        beside = 0.3 * frame.n_particles / abs(np.linalg.det(frame.box))
        moved.append(replace(frame, stress=frame.stress - beside * np.eye(frame.dim)))
    for energies in (False, True):
        data = write(tmp_path / f"{energies}.zarr", [moved], energies=energies)
        options = OPTIONS.with_changes(stress_weight=1.0, energy_weight=1.0 if energies else None)
        assert worst_virial(data, options, unseen) < 1e-4
        model = fit(data, options=options).model
        if energies:
            assert model.potential_energy(unseen[0]) == pytest.approx(unseen[0].potential_energy, rel=1e-4)
        else:
            assert np.isnan(model.constants).all()
