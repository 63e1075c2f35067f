"""Rollouts along a reference: the same starts and the same times, or one sentence about why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes

from hamfit.comparison import compare_rollouts
from hamfit.data import Dataset, DatasetWriter
from hamfit.errors import DataError, SpecError
from hamfit.frames import Frame
from hamfit.rollouts.following import follow, smooth_integrator
from hamfit.systems import simulate
from worlds import write


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two rings of a size never seen, a frame every 0.1."""
    return simulate("nspring", tmp_path_factory.mktemp("ref") / "d", n_trajectories=2, n_frames=12, seed=9, n_bodies=7)


def test_every_frame_of_the_reference_has_a_counterpart(reference: Dataset, tmp_path: Path) -> None:
    result = follow(scenes.ring_model(), reference, out=tmp_path / "r", threads=2)
    assert result.report["integrator"] == "kahanli8"
    for ours, theirs in zip(result.dataset.trajectories, reference.trajectories, strict=True):
        np.testing.assert_allclose(ours.time, theirs.time, rtol=1e-12)
        assert ours.frame(0).q.tobytes() == theirs.frame(0).q.tobytes()
    comparison = compare_rollouts(scenes.ring_model(), reference, result.dataset)
    assert [match.why for match in comparison.matches] == [None, None]
    assert comparison.errors is not None
    # learned from rings of five, run with seven
    assert comparison.errors.overall("zerr") < 1e-3


@pytest.mark.parametrize(("dt", "between"), [(0.1, 1), (0.05, 2), (0.033, 4), (0.1 * (1 - 1e-12), 1), (7.0, 1)])
def test_a_given_step_is_the_largest(dt: float, between: int, reference: Dataset, tmp_path: Path) -> None:
    report = follow(scenes.ring_model(), reference, out=tmp_path / "r", dt=dt, threads=1).report
    assert report["every"] == between
    assert report["dt"] == pytest.approx(0.1 / between)
    assert report["steps"] == 11 * between


def test_trajectories_of_other_lengths_are_followed_as_far_as_the_longest(reference: Dataset, tmp_path: Path) -> None:
    short, long = (t.frames() for t in reference.trajectories)
    data = timed(tmp_path / "d", [short[:4], long], 0.1)
    result = follow(scenes.ring_model(), data, out=tmp_path / "r", threads=1)
    assert [t.n_frames for t in result.dataset.trajectories] == [12, 12]
    errors = compare_rollouts(scenes.ring_model(), data, result.dataset).errors
    assert errors is not None


def test_the_order_is_high_unless_forces_end() -> None:
    assert smooth_integrator(scenes.ring_model()) == "kahanli8"
    assert smooth_integrator(scenes.bodies().model) == "kahanli8"
    assert smooth_integrator(scenes.liquid_model()) == "verlet"
    assert smooth_integrator(scenes.crowd().model) == "verlet"


def timed(path: Path, trajectories: list[list[Frame]], spacing: float, jump: float = 0.0) -> Dataset:
    """The frames at even times, but for a jump before the last one."""
    first = trajectories[0][0]
    with DatasetWriter.create(path, units="lj", labels=first.labels, bond_labels=first.bond_labels) as writer:
        for number, frames in enumerate(trajectories):
            time = spacing * np.arange(len(frames))
            time[-1] += jump
            writer.add_trajectory(
                f"run-{number}",
                q=[f.q for f in frames],
                velocity=[f.qdot for f in frames],
                species=first.species,
                masses=first.masses,
                bonds=first.bonds,
                bond_types=first.bond_types,
                time=time,
            )
    return Dataset.open(path)


@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), float("inf")])
def test_a_step_that_goes_nowhere_along_the_reference_is_refused(dt: float, reference: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"dt is .*, where a rollout along a reference goes forwards: give a finite"):
        follow(scenes.ring_model(), reference, out=tmp_path / "r", dt=dt)
    assert list(tmp_path.iterdir()) == []


def test_a_reference_that_cannot_be_followed_is_refused(reference: Dataset, tmp_path: Path) -> None:
    frames = reference.trajectories[0].frames()
    cases: list[tuple[Dataset, str]] = [
        (timed(tmp_path / "uneven", [frames], 0.1, jump=0.03), "uneven: frames are 0.1 to 0.13 apart in time"),
        (timed(tmp_path / "one", [frames[:1]], 0.1), "one, trajectory run-0: has one frame, so there is nothing to"),
        (write(tmp_path / "timeless", [frames]), "timeless, trajectory run-0: the times of its frames are unknown"),
        (write(tmp_path / "still", [frames], velocities=False), "still, trajectory run-0: has no velocities to start"),
    ]
    for data, words in cases:
        with pytest.raises(DataError, match=words) as caught:
            follow(scenes.ring_model(), data, out=tmp_path / "r", threads=1)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_options_of_a_rollout_are_passed_on(reference: Dataset, tmp_path: Path) -> None:
    how: dict[str, Any] = {"threads": 1, "forces": True, "integrator": "verlet", "dt": 0.02}
    result = follow(scenes.ring_model(), reference, out=tmp_path / "r", **how)
    assert all(t.has_forces for t in result.dataset.trajectories)
    assert result.report["integrator"] == "verlet"
    again = follow(scenes.ring_model(), reference, out=tmp_path / "r", **how)
    assert again.report["resumed"]
