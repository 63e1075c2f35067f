from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamfit.comparison import compare_rollouts
from hamfit.comparison.energies import stored_energies, true_energies
from hamfit.data import Dataset, DatasetWriter
from hamfit.fitting import FitResult
from hamfit.frames import Frame
from hamfit.systems.truth import truth_of
from rolled import Ring, Rolled, roll, write_rollouts
from worlds import lennard_jones, liquids, with_forces


def ring_energy(frame: Frame) -> float:
    """sum of (r^2 - 1)^2 around the ring and |v|^2 / 2, by a loop."""
    energy = 0.0
    for i in range(frame.n_particles):
        step = frame.q[i] - frame.q[(i + 1) % frame.n_particles]
        energy += (float(step @ step) - 1.0) ** 2
        energy += 0.5 * float(np.asarray(frame.qdot)[i] @ np.asarray(frame.qdot)[i])
    return energy


def test_errors_of_rings_are_those_of_a_plain_loop(ring: Ring) -> None:
    found = compare_rollouts(ring.model, ring.reference, ring.rollouts).errors
    assert found is not None
    assert found.energy_source == "true"
    # the reference stores every 0.1, the rollouts every 0.05; from frame 0 there are 16 common times, from 4 as many
    assert found.time == pytest.approx(0.1 * np.arange(16))
    logs: dict[str, list[float]] = {"zerr": [], "herr": [], "perr": []}
    for row, rollout in enumerate(ring.rollouts.trajectories):
        assert found.names[row] == rollout.name
        start = rollout.attrs["rollout"]["frame"]
        true = ring.reference.trajectory(rollout.attrs["rollout"]["trajectory"])
        for t in range(16):
            a, b = true.frame(start + t), rollout.frame(2 * t)
            size, size_hat = np.sqrt(np.sum(a.q**2)), np.sqrt(np.sum(b.q**2))
            zerr = np.sqrt(np.sum((a.q - b.q) ** 2)) / (size + size_hat)
            h, h_hat = ring_energy(a), ring_energy(b)
            herr = abs(h - h_hat) / (abs(h) + abs(h_hat))
            v, v_hat = np.asarray(a.qdot).sum(axis=0), np.asarray(b.qdot).sum(axis=0)
            perr = abs(float(v @ v) - float(v_hat @ v_hat))
            assert found.zerr[row, t] == pytest.approx(zerr, rel=1e-9)
            assert found.herr[row, t] == pytest.approx(herr, rel=1e-6, abs=1e-15)
            assert found.perr[row, t] == pytest.approx(perr, abs=1e-30)
            if t:
                logs["zerr"].append(np.log(zerr))
                logs["herr"].append(np.log(herr))
    assert (found.zerr[:, 0] == 0.0).all()
    assert found.curve("zerr")[0] == 0.0
    for metric in ("zerr", "herr"):
        assert found.overall(metric) == pytest.approx(np.exp(np.mean(logs[metric])), rel=1e-8)
        assert found.curve(metric)[5] == pytest.approx(np.exp(np.mean(logs[metric][4::15])), rel=1e-8)
    assert found.zeros("zerr") == 0


def test_a_rollout_that_is_its_reference_has_no_error(ring: Ring) -> None:
    told = compare_rollouts(ring.model, ring.reference, ring.reference).to_dict()
    assert (told["errors"]["zerr"], told["errors"]["herr"], told["errors"]["perr"]) == (0.0, 0.0, 0.0)
    assert told["errors"]["zeros"]["zerr"] == 3 * 19


def drifting(path: Path, start: Frame, n: int, *, folded: bool = False) -> Dataset:
    """Particles that all move with one velocity, so that everything is known in closed form."""
    time = 0.1 * np.arange(n)
    v = np.broadcast_to([1.0, 0.0, 0.0], start.q.shape)
    start = replace(start, qdot=v.copy(), p=v * start.masses[:, None])
    q = start.q + time[:, None, None] * v
    if folded:
        q = q % np.diag(np.asarray(start.box))
    return write_rollouts(path, [Rolled("a", start, q, np.broadcast_to(v, q.shape), np.full(n, -7.0), time)])


def test_folded_references_give_the_errors_of_unfolded_ones(binary_fit: FitResult, tmp_path: Path) -> None:
    start = liquids(5, 1, n_species=2)[0]
    edge = float(np.asarray(start.box)[0, 0])
    # thirteen boxes further at the end: folded in the reference, not in the rollout
    n = 1 + round(13 * edge / 0.1)
    plain = drifting(tmp_path / "plain", start, n)
    folded = drifting(tmp_path / "folded", start, n, folded=True)
    rollout = drifting(tmp_path / "rollout", start, n)
    found = compare_rollouts(binary_fit.model, folded, rollout).errors
    assert found is not None
    assert found.zerr.max() < 1e-14
    other = compare_rollouts(binary_fit.model, rollout, folded).errors
    assert other is not None
    assert other.zerr.max() < 1e-14
    same = compare_rollouts(binary_fit.model, plain, rollout).errors
    assert same is not None
    assert (same.zerr == 0.0).all()


def test_without_a_known_law_stored_and_learned_energies_are_compared(binary_fit: FitResult, tmp_path: Path) -> None:
    start = with_forces(liquids(5, 1, n_species=2)[0], lennard_jones, 1.75)
    model = binary_fit.model
    rolled = roll(model, start, "a", dt=0.002, steps=40, every=4)
    exact = [with_forces(replace(start, q=q), lennard_jones, 1.75).potential_energy for q in rolled.q]
    reference = write_rollouts(tmp_path / "reference", [replace(rolled, energy=np.array(exact) + 0.5)])
    comparison = compare_rollouts(model, reference, write_rollouts(tmp_path / "rollout", [rolled]))
    found = comparison.errors
    assert found is not None
    assert found.energy_source == "stored"
    assert not found.energy_aligned
    assert any("Herr compares the energies stored" in text for text in comparison.warnings)
    kinetic = 0.5 * np.sum(rolled.v**2 * start.masses[:, None], axis=(1, 2))
    energy = np.array(exact) + kinetic
    expected = 0.5 / (np.abs(energy + 0.5) + np.abs(energy))
    assert found.herr[0] == pytest.approx(expected, rel=1e-5)
    # where the model does not know its constant, the first frame sets it
    unknown = replace(model, constants=np.full(2, np.nan))
    aligned = compare_rollouts(unknown, reference, write_rollouts(tmp_path / "again", [rolled])).errors
    assert aligned is not None
    assert aligned.energy_aligned
    assert aligned.herr.max() < 1e-7


@pytest.mark.parametrize("known", [True, False], ids=["true law", "stored energies"])
def test_energies_of_frames_without_momenta_are_unknown(known: bool, ring: Ring) -> None:
    frame = ring.reference.trajectories[0].frame(0)
    still = replace(frame, qdot=None, p=None)
    truth = truth_of(ring.reference.attrs)
    assert truth is not None
    energies = true_energies(truth, frame) if known else stored_energies(ring.model, frame, frame)
    for energy in (energies.of_reference, energies.of_rollout):
        assert np.isfinite(energy(frame))
        assert np.isnan(energy(still))


def test_a_rollout_that_ran_away_counts_as_lost_from_there_on(ring: Ring, tmp_path: Path) -> None:
    with DatasetWriter.create(tmp_path / "b", units="lj", labels=("1",), bond_labels=("bond",)) as writer:
        for trajectory in ring.rollouts.trajectories:
            stop = 11 if trajectory.name == "run-0001.0" else trajectory.n_frames
            origin = trajectory.attrs["rollout"]
            if stop == 11:
                origin["first_non_finite"] = 55
            frames = trajectory.frames(0, stop)
            writer.add_trajectory(
                trajectory.name,
                q=np.array([f.q for f in frames]),
                velocity=np.array([f.qdot for f in frames]),
                potential_energy=np.array([f.potential_energy for f in frames]),
                time=trajectory.time[:stop],
                species=trajectory.species,
                masses=trajectory.masses,
                bonds=trajectory.bonds,
                bond_types=trajectory.bond_types,
                attrs={"rollout": origin},
            )
    comparison = compare_rollouts(ring.model, ring.reference, Dataset.open(tmp_path / "b"))
    found = comparison.errors
    assert found is not None
    row = found.names.index("run-0001.0")
    # frames 0, 2, .., 10 have counterparts at times 0 to 0.5
    assert (found.zerr[row, 6:] == 1.0).all()
    assert (found.herr[row, 6:] == 1.0).all()
    assert np.isnan(found.perr[row, 6:]).all()
    assert found.zerr[row, 1:6].max() < 1e-2
    assert [d.first_non_finite for d in comparison.drifts].count(11) == 1
    assert "1 of 6 rollouts reached values that are not finite, run-0001.0 first, at frame 11" in comparison.warnings[0]
