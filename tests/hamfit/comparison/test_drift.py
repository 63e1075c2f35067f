from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamfit.comparison.drift import drift_of
from hamfit.data import Dataset
from hamfit.frames import Frame
from rolled import Ring, Rolled, roll, write_rollouts


def stored(path: Path, start: Frame, energy: np.ndarray, v: np.ndarray) -> Dataset:
    n = len(energy)
    q = np.broadcast_to(start.q, (n, *start.q.shape)) + 1e-3 * np.arange(n)[:, None, None]
    return write_rollouts(path, [Rolled("a", start, q, v, energy, 0.2 * np.arange(n))])


def test_energies_are_the_stored_potential_and_the_kinetic_ones(ring: Ring) -> None:
    rollout = ring.rollouts.trajectories[0]
    drift = drift_of(ring.model, rollout)
    potential = np.array([frame.potential_energy for frame in rollout.frames()])
    kinetic = np.array([0.5 * np.sum(np.asarray(frame.qdot) ** 2) for frame in rollout.frames()])
    total = potential + kinetic
    constant = float(np.nan_to_num(ring.model.constants).sum()) * rollout.n_particles
    expected = (total - total[0]) / max(abs(total[0] - constant), kinetic[0])
    assert drift.energy == pytest.approx(expected, abs=1e-12)
    assert drift.fluctuation == pytest.approx(expected.std(), rel=1e-6)
    assert drift.largest == pytest.approx(np.abs(expected).max(), rel=1e-6)
    assert drift.first_non_finite is None
    assert drift.momentum is not None
    assert drift.momentum < 1e-14
    assert drift.trend is not None
    assert not drift.trend.is_significant


def test_a_drift_of_energy_and_of_momentum_has_its_size(ring: Ring, tmp_path: Path) -> None:
    start = ring.reference.trajectories[0].frame(0)
    n, noise = 100, np.random.default_rng(1).normal(size=100)
    v = np.zeros((n, *start.q.shape))
    v[:, 0, 0], v[:, 1, 0] = 1.0, -1.0 + 1e-3 * np.arange(n)
    kinetic = 0.5 * np.sum(v**2, axis=(1, 2))
    constant = float(np.nan_to_num(ring.model.constants).sum()) * len(start.q)
    energy = constant + 8.0 + 1e-3 * 0.2 * np.arange(n) + 1e-5 * noise - kinetic
    drift = drift_of(ring.model, stored(tmp_path / "a", start, energy, v).trajectories[0])
    assert drift.trend is not None
    assert drift.trend.slope == pytest.approx(1e-3 / 8.0, rel=2e-3)
    assert drift.trend.is_significant
    # |P(t) - P(0)| = 0.099 over |p_0| + |p_1| = 2 at its largest
    assert drift.momentum == pytest.approx(0.099 / 2.0, rel=1e-9)


def test_constants_of_the_model_change_no_drift(ring: Ring, tmp_path: Path) -> None:
    drifts = []
    for constant in (np.nan, 0.0, -1e4):
        model = replace(ring.model, constants=np.array([constant]))
        rolled = roll(model, ring.reference.trajectories[0].frame(0), "a", dt=0.01, steps=60, every=3)
        # rounding of 1e4 an atom is all that may differ
        drifts.append(drift_of(model, write_rollouts(tmp_path / str(constant), [rolled]).trajectories[0]))
    assert drifts[0].largest is not None
    assert drifts[0].largest > 1e-4
    for drift in drifts[1:]:
        assert drift.energy == pytest.approx(drifts[0].energy, abs=1e-9)


def test_a_rollout_that_explodes_drifts_far_beyond_its_first_energy(ring: Ring, tmp_path: Path) -> None:
    start = ring.reference.trajectories[0].frame(0)
    constant = float(np.nan_to_num(ring.model.constants).sum()) * len(start.q)
    v = np.zeros((40, *start.q.shape))
    v[:, 0, 0] = 10.0 ** np.linspace(0.0, 4.0, 40)
    drift = drift_of(ring.model, stored(tmp_path / "a", start, np.full(40, constant), v).trajectories[0])
    # from K = 1/2 to 1e8 / 2, the first being the scale
    assert drift.largest == pytest.approx(1e8, rel=1e-6)


def test_free_particles_at_rest_are_judged_by_the_largest_kinetic_energy(ring: Ring, tmp_path: Path) -> None:
    start = ring.reference.trajectories[0].frame(0)
    constant = float(np.nan_to_num(ring.model.constants).sum()) * len(start.q)
    v = np.zeros((40, *start.q.shape))
    v[20, 0, 0], v[30:, 0, 0] = 2.0, 1.0
    drift = drift_of(ring.model, stored(tmp_path / "a", start, np.full(40, constant), v).trajectories[0])
    assert drift.energy[[0, 19, 20, 39]] == pytest.approx([0.0, 0.0, 1.0, 0.25], rel=1e-6)


def test_the_first_energy_that_overflows_is_named(ring: Ring, tmp_path: Path) -> None:
    start = ring.reference.trajectories[0].frame(0)
    v = np.zeros((30, *start.q.shape))
    v[17:] = 1e200
    drift = drift_of(ring.model, stored(tmp_path / "a", start, np.full(30, 2.0), v).trajectories[0])
    assert drift.first_non_finite == 17
    assert drift.trend is not None
    assert drift.trend.slope == 0.0
    assert drift.largest == 0.0


def test_without_velocities_positions_alone_are_judged(ring: Ring, tmp_path: Path) -> None:
    from hamfit.data import DatasetWriter

    frame = replace(ring.reference.trajectories[0].frame(0), p=None, qdot=None)
    with DatasetWriter.create(tmp_path / "a", units="lj", labels=("1",)) as writer:
        writer.add_trajectory("a", q=np.array([frame.q] * 5), species=frame.species, masses=1.0)
    drift = drift_of(ring.model, Dataset.open(tmp_path / "a").trajectories[0])
    assert (drift.fluctuation, drift.largest, drift.momentum, drift.trend) == (None, None, None, None)
    assert drift.first_non_finite is None
