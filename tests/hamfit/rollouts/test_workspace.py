"""Whose a place is: finished, interrupted, of another plan, being written, replaced."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes

from hamfit.data import Dataset
from hamfit.errors import RolloutError, StoreError
from hamfit.rollouts import RolloutResult, rollout
from hamfit.rollouts.running import _Rollout
from hamfit.rollouts.workspace import LEFT, Abandoned, Workspace, opened

pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.RolloutWarning")

HOW: dict[str, Any] = {"steps": 12, "dt": 0.01, "every": 4, "threads": 1, "checkpoint_seconds": 0.0}


def run(out: Path, **changes: Any) -> RolloutResult:
    scene = scenes.pair_of_rings()
    return rollout(scene.model, scene.initial, out=out, **{**HOW, **changes})


class StopError(BaseException):
    """Comes as Ctrl-C does."""


@contextmanager
def stopping() -> Iterator[None]:
    """Rollouts end at their second stop."""

    def pause(self: _Rollout, on_step: Any) -> None:
        self.keep()
        if self.step >= 8:
            raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "_pause", pause)
        with pytest.raises(StopError):
            yield


@contextmanager
def never_running() -> Iterator[None]:
    """Whoever runs a rollout here has done too much."""

    def begin(self: _Rollout) -> None:
        raise AssertionError(self.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "begin", begin)
        yield


def test_the_same_rollout_again_gives_what_is_there(tmp_path: Path) -> None:
    first = run(tmp_path / "r")
    stamp = os.stat(tmp_path / "r" / "_manifest.json").st_mtime_ns
    with never_running():
        again = run(tmp_path / "r", threads=2, checkpoint_seconds=9.0)
    assert again.dataset.digest == first.dataset.digest
    assert again.report["resumed"]
    assert not first.report["resumed"]
    # how fast it was made is not known any more
    lost = {"seconds", "steps_per_second", "tau_per_hour", "peak_bytes"}
    assert first.report.keys() == again.report.keys()
    assert {k for k, v in first.report.items() if v != again.report[k]} == {"resumed", *lost}
    assert all(again.report[k] is None for k in lost)
    assert os.stat(tmp_path / "r" / "_manifest.json").st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("other", [{"steps": 13}, {"dt": 0.02}, {"seed": 5}, {"forces": True}, {"resume": False}])
def test_another_rollout_does_not_replace_what_is_there_unasked(other: dict[str, Any], tmp_path: Path) -> None:
    digest = run(tmp_path / "r").dataset.digest
    with pytest.raises(StoreError, match="r: something is there already: choose another path or ask to overwrite it"):
        run(tmp_path / "r", **other)
    assert Dataset.open(tmp_path / "r").digest == digest
    replaced = run(tmp_path / "r", overwrite=True, **other)
    assert (replaced.dataset.digest == digest) == (other in ({"resume": False}, {"seed": 5}))
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_what_is_no_store_is_never_replaced_and_that_is_said_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("precious")
    with never_running(), pytest.raises(StoreError, match="thesis: what is there is not a Zarr store"):
        run(tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]


def test_an_interrupted_rollout_waits_for_its_own_plan(tmp_path: Path) -> None:
    with stopping():
        run(tmp_path / "r")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"r: an interrupted rollout of another plan is there \(.r.rollout\)"):
            run(tmp_path / "r", steps=16)
    resumed = run(tmp_path / "r")
    assert resumed.report["resumed"]
    assert resumed.dataset.digest == run(tmp_path / "s").dataset.digest


def test_an_interrupted_rollout_is_dropped_on_request(tmp_path: Path) -> None:
    with stopping():
        run(tmp_path / "r")
    result = run(tmp_path / "r", steps=16, overwrite=True)
    assert not result.report["resumed"]
    assert result.dataset.digest == run(tmp_path / "s", steps=16).dataset.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r", "s"]


def test_without_resuming_work_begins_afresh(tmp_path: Path) -> None:
    with stopping():
        run(tmp_path / "r")
    steps = []
    begin = _Rollout.begin

    def counting(self: _Rollout) -> None:
        steps.append(self.step)
        begin(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "begin", counting)
        result = run(tmp_path / "r", resume=False)
    assert steps == [0, 0]
    assert not result.report["resumed"]


@pytest.mark.parametrize("note", ["", "{}", '{"fingerprint": 3}', None])
def test_a_workspace_whose_plan_cannot_be_read_is_made_anew(note: str | None, tmp_path: Path) -> None:
    with stopping():
        run(tmp_path / "r")
    plan = tmp_path / ".r.rollout" / "plan.json"
    if note is None:
        plan.unlink()
    else:
        plan.write_text(note)
    result = run(tmp_path / "r")
    assert not result.report["resumed"]
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_a_second_driver_is_refused_and_the_first_is_unharmed(tmp_path: Path) -> None:
    running, refused = threading.Event(), threading.Event()
    pause = _Rollout._pause

    def waiting(self: _Rollout, on_step: Any) -> None:
        running.set()
        assert refused.wait(60)
        pause(self, on_step)

    results: list[RolloutResult] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "_pause", waiting)
        first = threading.Thread(target=lambda: results.append(run(tmp_path / "r")))
        first.start()
        assert running.wait(60)
        try:
            for how in ({}, {"steps": 13}, {"overwrite": True}, {"resume": False}):
                with pytest.raises(StoreError, match=r"r: the store is being written by process \d+ on .*: wait"):
                    run(tmp_path / "r", **how)
        finally:
            refused.set()
            first.join()
    assert results[0].dataset.digest == run(tmp_path / "s").dataset.digest


def test_a_workspace_that_is_taken_away_ends_the_rollout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(self: _Rollout, on_step: Any) -> None:
        (self.workspace.home / "owner").write_text("another")
        self.workspace.check_owner()

    monkeypatch.setattr(_Rollout, "_pause", taken)
    with pytest.raises(RolloutError, match="r: another rollout took over: wait for it, or choose another path"):
        run(tmp_path / "r")


def test_an_orphan_of_dropped_work_writes_where_nobody_reads(tmp_path: Path) -> None:
    out = tmp_path / "r"
    with opened(out, "plan", resume=True, overwrite=False) as (old, _):
        pass
    with opened(out, "plan", resume=False, overwrite=False) as (new, resumed):
        assert not resumed
        assert old.home != new.home
        assert not old.home.exists()
        with pytest.raises(Abandoned):
            old.check_owner()
        with pytest.raises(Abandoned), old.writing("run-0"):
            pass


def test_an_orphan_of_work_that_goes_on_keeps_others_waiting_until_it_ends(tmp_path: Path) -> None:
    out = tmp_path / "r"
    got = threading.Event()
    with opened(out, "plan", resume=True, overwrite=False) as (old, _):
        pass
    with opened(out, "plan", resume=True, overwrite=False) as (new, resumed):
        assert resumed
        assert new.home == old.home
        old_again = Workspace(old.home, old.out, new.token)

        def follow() -> None:
            with new.writing("run-0"):
                got.set()

        with old_again.writing("run-0"):
            follower = threading.Thread(target=follow)
            follower.start()
            assert not got.wait(0.5)
        assert got.wait(10)
        follower.join()
        with pytest.raises(Abandoned):
            old.check_owner()


def test_what_rollouts_say_of_their_progress_is_forgotten_by_the_next_driver(tmp_path: Path) -> None:
    with opened(tmp_path / "r", "plan", resume=True, overwrite=False) as (space, _):
        assert space.told("run-0") is None
        space.tell("run-0", 41)
        assert space.told("run-0") == 41
    with opened(tmp_path / "r", "plan", resume=True, overwrite=False) as (space, _):
        assert space.told("run-0") is None


def test_finished_rollouts_and_checkpoints_are_known_by_their_names(tmp_path: Path) -> None:
    with opened(tmp_path / "r", "plan", resume=True, overwrite=False) as (space, _):
        assert space.finished("run-0") is None
        assert space.steps_and_frames("run-0") == (0, 0)
        written = {"n_frames": 4}, {"position": np.ones((1, 2))}
        space.keep("run-0", 12, written, {"more": 1}, {"q": np.zeros(3)})
        assert space.steps_and_frames("run-0") == (12, 4)
        step, (writer, pending), attrs, state = space.kept("run-0")
        assert (step, writer, attrs["more"]) == (12, written[0], 1)
        assert [list(arrays) for arrays in (pending, state)] == [["position"], ["q", "pending/position"]]
        space.finish("run-0", {"summary": {}})
        assert space.finished("run-0") == {"summary": {}}
        assert space.steps_and_frames("run-0") == (0, 0)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match=r"r: cannot be written \(.*\): choose another place"):
        run(tmp_path / "file" / "r")
    assert "kept" in LEFT
