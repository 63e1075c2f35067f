"""Whole fits of small worlds with known laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hamfit.data import Dataset, DatasetWriter, ingest
from hamfit.evaluation import evaluate
from hamfit.fitting import FitResult, fit, plan
from hamfit.frames import Frame
from hamfit.options import FitOptions
from hamfit.systems import simulate
from worlds import Law, force_of, lennard_jones, liquid, liquids, relative, soft_spring, write

# Warnings about steep features and normal equations have tests of their own.
pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")

QUICK = FitOptions(features=48, threads=1, seed=7, checkpoint=False)


@dataclass(frozen=True, slots=True)
class World:
    """A kind of liquid, the options that suit it and the accuracy it must reach on unseen frames."""

    name: str
    options: dict[str, Any]
    how: dict[str, Any] = field(default_factory=dict)
    law: Law = lennard_jones
    frames: int = 24

    def dataset(self, path: Path, seed: int, frames: int | None = None, jitter: float = 0.11) -> Dataset:
        found = liquids(seed, frames or self.frames, law=self.law, jitter=jitter, **self.how)
        return write(path, [found])

    def fit(self, data: Dataset | Sequence[Dataset], **changes: Any) -> FitResult:
        return fit(data, options=QUICK, **{**self.options, **changes})


WORLDS = (
    World("lj-periodic", {"cutoff": 1.75}),
    World("lj-periodic-binary", {"cutoff": 1.75}, {"n_species": 2}),
    World("lj-open-all-pairs", {}, {"periodic": False, "cutoff": None, "side": 2}, frames=60),
    World("springs-2d", {"cutoff": 1.75}, {"dim": 2}, law=soft_spring, frames=60),
    World("springs-1d", {"cutoff": 1.75}, {"dim": 1, "side": 5}, law=soft_spring, frames=100),
)
LIQUID = WORLDS[0]
each_world = pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)


@each_world
def test_unseen_frames_are_predicted(world: World, tmp_path: Path) -> None:
    result = world.fit(world.dataset(tmp_path / "seen.zarr", 1))
    # a little calmer than the training data, so that no distance is outside its range
    errors = evaluate(result.model, world.dataset(tmp_path / "unseen.zarr", 2, 5, jitter=0.09))
    assert errors["force"] < 1e-7
    assert errors["velocity"] < 1e-8
    assert errors["energy_mae_per_particle"] < 1e-7
    assert errors["frames"] == 5
    assert result.report["train"]["force"] < 1e-7


@pytest.mark.parametrize("system", ["spring", "anharmonic", "morse"])
def test_bonded_networks_are_predicted(system: str, tmp_path: Path) -> None:
    seen = simulate(system, tmp_path / "seen.zarr", geometry="ring", shape="6", n_trajectories=8, n_frames=20, seed=1)
    unseen = simulate(system, tmp_path / "new.zarr", geometry="ring", shape="11", n_trajectories=1, n_frames=9, seed=2)
    errors = evaluate(fit(seen, options=QUICK).model, unseen)
    assert errors["force"] < 1e-7
    assert errors["velocity"] < 1e-8


def test_the_three_solvers_agree(tmp_path: Path) -> None:
    data = LIQUID.dataset(tmp_path / "a.zarr", 1)
    frame = liquids(2, 1, jitter=0.09)[0]
    assert frame.pdot is not None
    forces = {s: LIQUID.fit(data, solver=s).model.forces(frame) for s in ("sketched", "tsqr", "normal")}
    assert relative(forces["sketched"], forces["tsqr"]) < 1e-8
    # forming the Gram matrix of raw columns costs half the digits
    assert relative(forces["normal"], forces["tsqr"]) < 1e-4
    assert relative(forces["tsqr"], frame.pdot) < 1e-8


@pytest.mark.parametrize("sampler", ["elm", "swim", "swim-gradient"])
@pytest.mark.parametrize("input_map", ["r", "1/r"])
def test_every_sampler_and_input_map_can_be_asked_for(sampler: str, input_map: str, tmp_path: Path) -> None:
    data = LIQUID.dataset(tmp_path / "a.zarr", 1, 12)
    result = LIQUID.fit(data, sampler=sampler, input_map=input_map, taper="none")
    assert result.report["train"]["force"] < 1e-3
    assert result.report["choices"]["pair"]["input_maps"] == [input_map]


def bits(result: FitResult) -> bytes:
    model = result.model
    return b"".join(t.tobytes() for t in model.theta) + model.constants.tobytes()


@pytest.mark.parametrize("solver", ["sketched", "tsqr", "normal"])
def test_the_same_seed_gives_the_same_bits_with_any_number_of_threads(solver: str, tmp_path: Path) -> None:
    data = LIQUID.dataset(tmp_path / "a.zarr", 1, 12)
    one = LIQUID.fit(data, solver=solver)
    assert bits(LIQUID.fit(data, solver=solver)) == bits(one)
    assert bits(LIQUID.fit(data, solver=solver, threads=2)) == bits(one)
    assert bits(LIQUID.fit(data, solver=solver, threads=3)) == bits(one)
    assert bits(LIQUID.fit(data, solver=solver, seed=8)) != bits(one)


def test_checkpoints_beside_the_model_change_no_bit_and_leave_nothing(tmp_path: Path) -> None:
    data = LIQUID.dataset(tmp_path / "a.zarr", 1, 12)
    in_memory = LIQUID.fit(data)
    kept = LIQUID.fit(data, out=tmp_path / "b.model", checkpoint=True)
    assert bits(kept) == bits(in_memory)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zarr", "b.model"]


def test_data_without_velocities_give_the_potential_alone(tmp_path: Path) -> None:
    frames = liquids(1, 24)
    data = write(tmp_path / "a.zarr", [frames], velocities=False)
    result = LIQUID.fit(data)
    assert result.report["blocks"] == ["pair"]
    unseen = liquids(2, 1, jitter=0.09)[0]
    assert unseen.pdot is not None
    assert unseen.p is not None
    assert relative(result.model.forces(unseen), unseen.pdot) < 1e-7
    # the kinetic part is that of free particles of the frame's own masses
    assert result.model.kinetic_energy(unseen) == pytest.approx(
        float(0.5 * np.sum(unseen.p**2 / unseen.masses[:, None])), rel=1e-14
    )
    np.testing.assert_array_equal(result.model.velocities(unseen), unseen.p / unseen.masses[:, None])


def test_data_without_forces_give_the_kinetic_energy_alone(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids(1, 12)], forces=False)
    result = fit(data, options=QUICK, blocks=("kinetic",))
    frame = liquids(2, 1)[0]
    assert frame.qdot is not None
    assert relative(result.model.velocities(frame), frame.qdot) < 1e-8


def test_energies_are_exact_once_one_is_known(tmp_path: Path) -> None:
    frames = liquids(1, 61)
    offset = 5.5
    with DatasetWriter.create(tmp_path / "a.zarr", units="lj", labels=("A",)) as writer:
        # the one known energy is neither first nor last, nor among the frames that a survey would pick
        for name, span in (("before", frames[:28]), ("known", frames[28:29]), ("after", frames[29:])):
            energies = np.array([f.potential_energy for f in span]) + offset if name == "known" else None
            writer.add_trajectory(
                name,
                q=np.array([f.q for f in span]),
                species=span[0].species,
                masses=span[0].masses,
                box=span[0].box,
                periodic=True,
                velocity=np.array([f.qdot for f in span]),
                force=np.array([f.pdot for f in span]),
                potential_energy=energies,
            )
    model = LIQUID.fit(Dataset.open(tmp_path / "a.zarr")).model
    unseen = liquids(2, 1, jitter=0.09)[0]
    assert unseen.potential_energy is not None
    assert model.constants[0] == pytest.approx(offset / unseen.n_particles, rel=1e-7)
    assert model.potential_energy(unseen) == pytest.approx(unseen.potential_energy + offset, rel=1e-8)
    total = model.potential_energy(unseen) + model.kinetic_energy(unseen)
    assert model.energy(unseen) == pytest.approx(total, rel=1e-15)


def test_without_any_energy_the_constant_is_unknown_and_counts_as_zero(tmp_path: Path) -> None:
    model = LIQUID.fit(write(tmp_path / "a.zarr", [liquids(1, 12)], energies=False)).model
    assert np.isnan(model.constants).all()
    assert np.isfinite(model.potential_energy(liquids(2, 1)[0]))


def test_datasets_of_other_sizes_and_label_orders_are_fitted_together(tmp_path: Path) -> None:
    small = liquids(1, 16, n_species=2)
    large = [_swapped(f) for f in liquids(2, 4, n_species=2, side=4)]
    data = [write(tmp_path / "small.zarr", [small]), write(tmp_path / "large.zarr", [large])]
    assert data[1].labels == ("B", "A")
    result = LIQUID.fit(data)
    assert result.report["rows"] == 2 * 3 * (16 * 27 + 4 * 64)
    for frame in (liquids(3, 1, n_species=2, jitter=0.09)[0], _swapped(liquids(4, 1, n_species=2, jitter=0.09)[0])):
        assert frame.pdot is not None
        assert frame.qdot is not None
        assert relative(result.model.forces(frame), frame.pdot) < 1e-7
        assert relative(result.model.velocities(frame), frame.qdot) < 1e-8


def _swapped(frame: Frame) -> Frame:
    """The same particles under labels in the other order."""
    return replace(frame, labels=("B", "A"), species=1 - frame.species)


def test_time_series_of_positions_and_momenta_are_enough(tmp_path: Path) -> None:
    # two bodies on a spring of rest length 1: r(t) = 1 + 0.2 cos(w t + phase), exactly
    stiffness, mass = 1.3, 2.0
    rate = np.sqrt(2.0 * stiffness / mass)
    time = 0.02 * np.arange(300)
    for k in range(3):
        swing = 0.05 * (k + 2) * np.cos(rate * time + k)
        q = np.zeros((time.size, 2, 1))
        q[:, 1, 0] = 1.0 + swing
        q -= q.mean(axis=1, keepdims=True)
        p = np.zeros_like(q)
        p[:, 1, 0] = -0.5 * mass * rate * 0.05 * (k + 2) * np.sin(rate * time + k)
        p[:, 0, 0] = -p[:, 1, 0]
        np.savez(tmp_path / f"run{k}.npz", q=q, p=p, time=time, masses=np.full(2, mass))
    data = ingest(sorted(tmp_path.glob("*.npz")), tmp_path / "a.zarr", units="lj", derivatives=True)
    model = fit(data, options=QUICK, features=16).model
    frame = data.trajectories[1].frame(100)
    separation = frame.q[1, 0] - frame.q[0, 0]
    expected = -stiffness * (separation - 1.0) * np.array([[-1.0], [1.0]])
    assert relative(model.forces(frame), expected) < 1e-6
    assert frame.p is not None
    assert relative(model.velocities(frame), frame.p / mass) < 1e-6


def test_a_field_is_learnt_on_request(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = []
    for _ in range(100):
        frame = liquid(rng, side=2, dim=2, spacing=2.0, jitter=0.9, periodic=False, cutoff=1e-3)
        energy = float(0.85 * np.sum((frame.q - 1.0) ** 2))
        frames.append(replace(frame, pdot=-1.7 * (frame.q - 1.0), potential_energy=energy))
    data = write(tmp_path / "trap.zarr", [frames[:-1]])
    result = fit(data, options=QUICK, blocks=("field",), features=200)
    assert relative(result.model.forces(frames[-1]), force_of(frames[-1])) < 1e-4


def test_the_plan_counts_what_the_fit_reports(tmp_path: Path) -> None:
    data = LIQUID.dataset(tmp_path / "a.zarr", 1, 12)
    predicted = plan(data, QUICK.with_changes(cutoff=1.75))
    result = LIQUID.fit(data)
    assert predicted.frames == 12
    assert predicted.particles == 12 * 27
    assert predicted.rows == result.report["rows"]
    assert predicted.tasks >= 1
    assert predicted.expected_seconds > 0.0


def test_the_report_tells_what_was_measured(tmp_path: Path) -> None:
    report = LIQUID.fit(LIQUID.dataset(tmp_path / "a.zarr", 1, 12)).report
    for part in ("force", "velocity"):
        assert 0 < report["rank"][part] <= report["parts"][part]["columns"]
        assert report["condition"][part] >= 1.0
        assert 0.0 <= report["train"][part] < 1e-6
        assert np.isfinite(report["held_out"][part])
    assert report["peak_bytes_per_worker"] > 2**20
    phases = {name: value for name, value in report["seconds"].items() if name != "total"}
    assert {"reading", "survey", "features", "solving"} <= set(phases)
    assert sum(phases.values()) <= report["seconds"]["total"] + 0.01


def test_uncertainty_covers_the_error_of_a_noisy_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    frames = liquids(1, 40)
    size = float(np.sqrt(np.mean([np.mean(force_of(f) ** 2) for f in frames])))
    noisy = [replace(f, pdot=force_of(f) + 0.05 * size * rng.normal(size=f.q.shape)) for f in frames]
    model = LIQUID.fit(write(tmp_path / "a.zarr", [noisy])).model
    unseen = liquids(2, 4, jitter=0.09)
    z = np.concatenate([((model.forces(f) - force_of(f)) / model.force_uncertainty(f)).reshape(-1) for f in unseen])
    # standard errors of the noise, not of the ridge's bias: the scaled errors have size about one, rather above
    assert 0.4 < float(np.sqrt(np.mean(z**2))) < 3.0
    assert np.mean(np.abs(z) < 4.0) > 0.9
