"""A rollout that blows up is stopped, told of, and leaves the others alone."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import scenes
from failing import failing

from hamfit.comparison import compare_rollouts
from hamfit.errors import RolloutWarning, SpecError
from hamfit.inference.blocks_engine import BlocksEngine
from hamfit.integrators import NotConverged
from hamfit.rollouts import rollout

# Pairs out of range are no subject but of the tests that say so.
pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.RolloutWarning")


@pytest.mark.parametrize("kind", ["chain", "liquid", "crowd"])
def test_a_replica_that_blows_up_is_stopped_and_the_others_go_on(kind: str, tmp_path: Path) -> None:
    scene = scenes.fragile(kind)
    how = {"steps": 70, "dt": scene.dt, "every": 3, "threads": 2}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = rollout(scene.model, scene.initial, out=tmp_path / "r", **how)
    result.dataset.verify()
    (stopped,) = result.report["first_non_finite"]
    assert stopped["name"] == "run-1-frame-0"
    assert 3 <= stopped["last_stored_step"] < stopped["step"] < 70
    calm, hot, other = result.dataset.trajectories
    assert calm.step[-1] == other.step[-1] == 70
    assert hot.step.tolist() == list(range(0, stopped["last_stored_step"] + 1, 3))
    assert np.isfinite([frame.q for frame in hot.frames()]).all()
    assert hot.attrs["rollout"]["first_non_finite"] == stopped["step"]
    assert calm.attrs["rollout"]["first_non_finite"] is None
    note = "1 of 3 rollouts were stopped when numbers were no longer finite, the first, run-1-frame-0, at step "
    assert f"{note}{stopped['step']}: take a smaller dt" in result.report["warnings"]
    assert any(note in str(w.message) for w in caught if w.category is RolloutWarning)
    assert json.dumps(result.dataset.attrs["rollout"]["report"], allow_nan=False)


@pytest.mark.parametrize("kind", ["chain", "liquid", "crowd"])
def test_what_blows_up_does_so_at_the_same_step_however_it_is_run(kind: str, tmp_path: Path) -> None:
    scene = scenes.fragile(kind)
    how = {"steps": 70, "dt": scene.dt, "every": 7}
    one = rollout(scene.model, scene.initial, out=tmp_path / "a", threads=1, **how)
    two = rollout(scene.model, scene.initial, out=tmp_path / "b", threads=3, **how)
    assert one.report["first_non_finite"] == two.report["first_non_finite"] != []
    assert one.dataset.digest == two.dataset.digest


def test_the_first_step_that_failed_is_told_when_every_state_is_stored(tmp_path: Path) -> None:
    scene = scenes.fragile("chain")
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", steps=70, dt=scene.dt, every=1, threads=1)
    (stopped,) = result.report["first_non_finite"]
    assert stopped["step"] == stopped["last_stored_step"] + 1


def test_a_comparison_counts_what_blew_up(tmp_path: Path) -> None:
    scene = scenes.fragile("liquid")
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", steps=70, dt=scene.dt, every=3, threads=1)
    drifts = {drift.name: drift for drift in compare_rollouts(scene.model, scene.initial, result.dataset).drifts}
    assert drifts["run-1-frame-0"].first_non_finite == drifts["run-1-frame-0"].n_frames
    assert drifts["run-0-frame-0"].first_non_finite is None


def test_an_implicit_step_that_stops_to_converge_stops_that_replica_only(tmp_path: Path) -> None:
    scene = scenes.fragile("liquid")
    how = {"steps": 40, "dt": scene.dt, "every": 4, "integrator": "midpoint", "threads": 1}
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", **how)
    (stopped,) = result.report["first_non_finite"]
    assert stopped["name"] == "run-1-frame-0"
    assert [t.n_frames for t in result.dataset.trajectories][::2] == [11, 11]


def test_a_step_that_does_not_converge_is_told_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlocksEngine, "advance", failing(BlocksEngine.advance, 3, NotConverged("no solution"), False))
    scene = scenes.liquid()
    how = {"steps": 8, "dt": scene.dt, "every": 4, "integrator": "midpoint", "threads": 1, "frames": "0"}
    stopped = rollout(scene.model, scene.initial, out=tmp_path / "r", **how).report["first_non_finite"]
    assert [(one["step"], one["reason"]) for one in stopped] == [(5, "no solution")]


def test_another_refusal_of_an_engine_is_no_state_that_blew_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scenes.liquid()
    how = {"steps": 8, "dt": scene.dt, "every": 4, "integrator": "midpoint", "threads": 1}
    monkeypatch.setattr(BlocksEngine, "advance", failing(BlocksEngine.advance, 3, SpecError("a contradiction"), False))
    with pytest.raises(SpecError, match="a contradiction"):
        rollout(scene.model, scene.initial, out=tmp_path / "r", **how)
