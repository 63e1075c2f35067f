from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamfit.comparison import drift_of
from hamfit.data import Dataset
from hamfit.frames import Frame
from rolled import Ring, Rolled, write_rollouts


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
    expected = (total - total[0]) / max(abs(total[0]), kinetic.max())
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
    energy = 8.0 + 1e-3 * 0.2 * np.arange(n) + 1e-5 * noise - kinetic
    drift = drift_of(ring.model, stored(tmp_path / "a", start, energy, v).trajectories[0])
    assert drift.trend is not None
    assert drift.trend.slope == pytest.approx(1e-3 / 8.0, rel=2e-3)
    assert drift.trend.is_significant
    # |P(t) - P(0)| = 0.099 over |p_0| + |p_1| = 2 at its largest
    assert drift.momentum == pytest.approx(0.099 / 2.0, rel=1e-9)


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
