"""A state that is none to start from ends its own rollout, with its reason, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scenes
from distributed import Client, LocalCluster

from hamfit.data import Dataset
from hamfit.errors import GraphError, RolloutWarning
from hamfit.frames import Frame
from hamfit.rollouts import RolloutResult, plan_rollout, rollout
from hamfit.rollouts.watching import open_running, watched
from hamfit.rollouts.workspace import workspace_of
from worlds import liquids, write

# Pairs out of range are no subject here.
pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.RolloutWarning")

WHY = "particles 3 and 7 are at the same place"
HOW: dict[str, Any] = {"steps": 8, "every": 4, "frames": "all", "dt": 0.002}


def coincident(frame: Frame) -> Frame:
    q = frame.q.copy()
    q[3] = q[7]
    return replace(frame, q=q)


def states(path: Path, *bad: int) -> Dataset:
    """Four frames, those given with two particles at one place."""
    frames = liquids(2, 4, n_species=2, jitter=0.05)
    return write(path, [[coincident(frame) if k in bad else frame for k, frame in enumerate(frames)]])


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    how = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**how) as cluster, Client(cluster) as client:
        yield client


def assert_all_but(result: RolloutResult, *bad: int) -> None:
    """The rollouts of all states but these ran to their ends, and of these the report says why."""
    result.dataset.verify()
    assert [t.name for t in result.dataset.trajectories] == [f"run-0-frame-{k}" for k in range(4) if k not in bad]
    assert all(t.step.tolist() == [0, 4, 8] for t in result.dataset.trajectories)
    stopped = result.report["first_non_finite"]
    assert [(s["name"], s["step"], s["last_stored_step"]) for s in stopped] == [
        (f"run-0-frame-{k}", 0, None) for k in bad
    ]
    for k, one in zip(bad, stopped, strict=True):
        assert f"trajectory run-0, frame {k}: {WHY}" in one["reason"]
    note = f"{len(bad)} of 4 states are none to start from and have no trajectory, the first, run-0-frame-{bad[0]}: "
    assert any(note in warning and WHY in warning for warning in result.report["warnings"])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("bad", [(0,), (2,), (0, 3)], ids=str)
def test_a_bad_state_among_good_ones_stops_its_own_rollout(bad: tuple[int, ...], threads: int, tmp_path: Path) -> None:
    out = tmp_path / "r"
    with pytest.warns(RolloutWarning, match="are none to start from"):
        result = rollout(scenes.liquid_model(), states(tmp_path / "d", *bad), out=out, threads=threads, **HOW)
    assert_all_but(result, *bad)
    # and nothing of it lies about
    folders = {entry.name for entry in out.iterdir() if entry.is_dir()}
    assert folders == {t.name for t in result.dataset.trajectories}


def test_a_step_is_proposed_from_the_others(tmp_path: Path) -> None:
    how = {**HOW, "dt": None}
    good = plan_rollout(scenes.liquid_model(), states(tmp_path / "good"), **how)["dt"]
    proposed = plan_rollout(scenes.liquid_model(), states(tmp_path / "bad", 0, 3), **how)["dt"]
    assert 0.5 * good < proposed < 2.0 * good


def test_a_first_state_that_flies_apart_is_run_beside_the_others(tmp_path: Path) -> None:
    frames = liquids(2, 3, n_species=2, jitter=0.05)
    q = frames[0].q.copy()
    q[3] = q[7] + 1e-3
    data = write(tmp_path / "d", [[replace(frames[0], q=q), *frames[1:]]])
    result = rollout(scenes.liquid_model(), data, out=tmp_path / "r", threads=1, **HOW)
    assert [t.step[-1] for t in result.dataset.trajectories][1:] == [8, 8]
    assert any("run-0-frame-0" in note for note in result.report["warnings"])


def test_on_a_cluster_too(client: Client, tmp_path: Path) -> None:
    here = rollout(scenes.liquid_model(), states(tmp_path / "d", 1), out=tmp_path / "here", threads=1, **HOW)
    there = rollout(scenes.liquid_model(), tmp_path / "d", out=tmp_path / "there", client=client, **HOW)
    assert_all_but(there, 1)
    assert there.dataset.digest == here.dataset.digest


@pytest.mark.parametrize("frames", ["all", "0"])
def test_where_no_state_is_good_the_first_says_why(frames: str, tmp_path: Path) -> None:
    data = states(tmp_path / "d", 0, 1, 2, 3)
    with pytest.raises(GraphError, match=rf"d, trajectory run-0, frame 0: {WHY}"):
        rollout(scenes.liquid_model(), data, out=tmp_path / "r", threads=1, **{**HOW, "frames": frames})
    assert [entry.name for entry in tmp_path.iterdir()] == ["d"]


def test_an_interrupted_rollout_does_not_try_it_again(tmp_path: Path) -> None:
    data = states(tmp_path / "d", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hamfit.rollouts.driver.publish_folder", stopping)
        with pytest.raises(KeyboardInterrupt):
            rollout(scenes.liquid_model(), data, out=tmp_path / "r", threads=1, **HOW)
    workspace = workspace_of(tmp_path / "r")
    assert workspace is not None
    seen = watched(workspace, "run-0-frame-1")
    assert (seen.finished, seen.n_frames, seen.step) == (True, 0, 0)
    assert seen.summary is not None
    assert WHY in seen.summary["reason"]
    assert open_running(workspace, "run-0-frame-1") is None
    result = rollout(scenes.liquid_model(), data, out=tmp_path / "r", threads=1, **HOW)
    assert result.report["resumed"]
    assert_all_but(result, 1)


def stopping(*arguments: Any, **options: Any) -> None:
    raise KeyboardInterrupt
