"""Rollouts on a device: the same paths to rounding, taken up on whatever device is at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
from distributed import Client, Nanny, Scheduler
from distributed.deploy.spec import SpecCluster
from scenes import Scene

from hamfit.data import Dataset
from hamfit.devices import AbstractDevice, choose_device, selection
from hamfit.errors import DeviceError, RolloutWarning
from hamfit.rollouts import RolloutResult, plan_rollout, rollout, running
from hamfit.rollouts.options import RolloutOptions
from hamfit.rollouts.plan import make_plan
from hamfit.rollouts.running import WORTHWHILE_PARTICLES, _Rollout, device_of
from hamfit.rollouts.starts import initial_states

# Pairs out of range are no subject but of the tests that say so.
pytestmark = pytest.mark.filterwarnings("ignore:.*outside the distances:hamfit.errors.RolloutWarning")
HOW: dict[str, Any] = {"steps": 60, "every": 20, "threads": 1, "checkpoint_seconds": 0.0}
NAME = "emulated GPU"
NAMES = {"cpu": "cpu", "emulated": NAME}


def run(scene: Scene, out: Path, **changes: Any) -> RolloutResult:
    return rollout(scene.model, scene.initial, out=out, **{"dt": scene.dt, **HOW, **changes})


def devices_of(dataset: Dataset) -> list[list[str]]:
    return [t.attrs["rollout"]["devices"] for t in dataset.trajectories]


@pytest.mark.parametrize("make", [scenes.liquid, scenes.plane], ids=lambda make: make.__name__)
def test_a_rollout_on_a_device_is_that_of_the_processor_to_rounding(
    make: Any, device: AbstractDevice, tmp_path: Path
) -> None:
    scene = make()
    here = run(scene, tmp_path / "here", device="cpu", forces=True)
    there = run(scene, tmp_path / "there", device=device.kind, forces=True)
    there.dataset.verify()
    for a, b in zip(here.dataset.trajectories, there.dataset.trajectories, strict=True):
        for one, other in zip(a.frames(), b.frames(), strict=True):
            for name in ("q", "p", "force"):
                x, y = (np.asarray(getattr(f, name if name != "force" else "pdot")) for f in (one, other))
                np.testing.assert_allclose(y, x, rtol=0, atol=1e-9 * max(1.0, np.abs(x).max()))
            assert other.potential_energy == pytest.approx(one.potential_energy, rel=1e-9, abs=1e-9)
    assert here.report["devices"] == []
    assert there.report["devices"] == [device.name]
    assert all(devices == ["cpu"] for devices in devices_of(here.dataset))
    assert all(devices == [device.name] for devices in devices_of(there.dataset))
    assert device.name in there.report["engine"]
    assert device.name not in here.report["engine"]
    assert not any("different devices" in note for note in here.report["warnings"] + there.report["warnings"])


def test_a_plan_is_made_on_the_processor_whatever_devices_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened() -> AbstractDevice:
        raise AssertionError

    scene = scenes.liquid()
    states = initial_states(scene.model, scene.initial, RolloutOptions(steps=5))
    for name in ("_cuda", "_emulated"):
        monkeypatch.setattr(selection, name, opened)
    plans = [
        make_plan(scene.model, states, RolloutOptions.build({"steps": 5, "device": device}))[0]
        for device in ("cpu", "cuda", "emulated", "auto")
    ]
    assert len({(plan.dt, plan.segment, plan.fingerprint, plan.engine) for plan in plans}) == 1
    said = plan_rollout(scene.model, scene.initial, dt=scene.dt, device="cuda", **HOW)
    assert said["engine"] == plans[0].engine


@pytest.mark.parametrize("make", [scenes.rings, scenes.fast, scenes.crowd], ids=lambda make: make.__name__)
def test_what_no_device_runs_is_run_by_the_processor_which_is_said(make: Any, tmp_path: Path) -> None:
    scene = make()
    there = run(scene, tmp_path / "there", steps=4, every=2, device="emulated")
    assert "on the processor" in there.report["engine"]
    assert there.report["devices"] == []
    assert run(scene, tmp_path / "there", steps=4, every=2, device="cpu").report["resumed"]


def test_auto_leaves_a_gpu_to_large_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(selection.VARIABLE, raising=False)
    monkeypatch.setattr(selection, "_cuda", lambda: choose_device("emulated"))
    few, many = WORTHWHILE_PARTICLES - 1, WORTHWHILE_PARTICLES
    assert device_of(few, "auto") is None
    assert device_of(many, "auto") is choose_device("emulated")
    assert device_of(many, "cpu") is None
    assert device_of(few, "cuda") is choose_device("emulated")
    # where a process is told what it is to use, it uses it
    monkeypatch.setenv(selection.VARIABLE, "emulated")
    assert device_of(few, "auto") is choose_device("emulated")


def test_a_gpu_that_is_not_there_is_missed_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def none() -> AbstractDevice:
        raise DeviceError("no GPU can be used: install one")

    monkeypatch.setattr(selection, "_cuda", none)
    with pytest.raises(DeviceError, match="no GPU"):
        run(scenes.liquid(), tmp_path / "r", device="cuda")
    assert list(tmp_path.iterdir()) == []
    # what is there already needs none
    run(scenes.liquid(), tmp_path / "r", device="cpu")
    assert run(scenes.liquid(), tmp_path / "r", device="cuda").report["resumed"]


class StopError(Exception):
    """Stops a rollout."""


def interrupted(out: Path, device: str, pauses: int = 5) -> None:
    """A rollout that is stopped after so many stretches, three of which make a trajectory.

    Of five the first trajectory is finished, and the second has a checkpoint at step 40.
    """
    made = [0]
    pause = _Rollout._pause

    def stopping(self: _Rollout, on_step: Any) -> None:
        pause(self, on_step)
        made[0] += 1
        if made[0] == pauses:
            raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "_pause", stopping)
        with pytest.raises(StopError):
            run(scenes.liquid(), out, device=device)


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps at which rollouts begin or go on."""
    steps: list[int] = []
    begin = _Rollout.begin

    def counting(self: _Rollout) -> None:
        steps.append(self.step)
        begin(self)

    monkeypatch.setattr(_Rollout, "begin", counting)
    return steps


def test_an_interrupted_rollout_goes_on_on_its_device_to_the_same_bits(tmp_path: Path, began: list[int]) -> None:
    whole = run(scenes.liquid(), tmp_path / "whole", device="emulated").dataset.digest
    interrupted(tmp_path / "r", "emulated")
    began.clear()
    assert run(scenes.liquid(), tmp_path / "r", device="emulated").dataset.digest == whole
    assert began == [40]


both_ways = pytest.mark.parametrize(("first", "then"), [("emulated", "cpu"), ("cpu", "emulated")])
unlike = pytest.mark.filterwarnings("ignore:.*different devices:hamfit.errors.RolloutWarning")


@unlike
@both_ways
def test_an_interrupted_rollout_is_taken_up_on_another_device(
    first: str, then: str, tmp_path: Path, began: list[int]
) -> None:
    choose_device("emulated")  # without a compiler there is no second device
    scene = scenes.liquid()
    interrupted(tmp_path / "r", first)
    began.clear()
    with pytest.warns(RolloutWarning, match=rf"different devices \(cpu, {NAME}\).* as valid.* not give the same bits"):
        result = run(scene, tmp_path / "r", device=then)
    assert began == [40]
    result.dataset.verify()
    # in the order in which they made it; the first trajectory was finished before
    assert devices_of(result.dataset) == [[NAMES[first]], [NAMES[first], NAMES[then]]]
    assert result.report["devices"] == [NAME]
    alone = {device: run(scene, tmp_path / device, device=device) for device in (first, then)}
    assert result.report["engine"] == "; also ".join(alone[device].report["engine"] for device in (first, then))
    ours, theirs = (r.dataset.trajectories[1] for r in (result, alone[first]))
    for frame in (0, 1, 2):
        assert ours.frame(frame).q.tobytes() == theirs.frame(frame).q.tobytes()
    np.testing.assert_allclose(ours.frame(3).q, theirs.frame(3).q, rtol=0, atol=1e-9)
    assert ours.n_frames == 4
    # and a finished one is what was asked for, on any device
    assert run(scene, tmp_path / "r", device=first).report["resumed"]


@unlike
@both_ways
def test_a_rollout_that_goes_to_and_fro_lists_each_device_once(
    first: str, then: str, tmp_path: Path, began: list[int]
) -> None:
    interrupted(tmp_path / "r", first, pauses=4)
    interrupted(tmp_path / "r", then, pauses=1)
    began.clear()
    result = run(scenes.liquid(), tmp_path / "r", device=first)
    assert began == [40]
    assert devices_of(result.dataset)[1] == [NAMES[first], NAMES[then]]


def test_a_device_that_only_finishes_a_trajectory_did_not_make_it(tmp_path: Path, began: list[int]) -> None:
    interrupted(tmp_path / "r", "emulated", pauses=3)
    began.clear()
    result = run(scenes.liquid(), tmp_path / "r", device="cpu")
    assert began == [60, 0]
    assert devices_of(result.dataset) == [[NAME], ["cpu"]]


def test_trajectories_of_one_size_from_different_devices_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_device("emulated")  # without a compiler there is no second device
    with pytest.warns(RolloutWarning, match=rf"different devices \(cpu, {NAME}\).* as valid"):
        result = run_of_equals(scenes.liquid(), tmp_path, monkeypatch)
    assert sorted(devices_of(result.dataset)) == [["cpu"], ["cpu"], [NAME], [NAME]]


def run_of_equals(scene: Scene, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RolloutResult:
    """Two replicas of each system, on different devices."""
    turns = [0]

    def by_turns(particles: int, choice: Any) -> AbstractDevice | None:
        turns[0] += 1
        return choose_device("emulated") if turns[0] % 2 else None

    with monkeypatch.context() as patch:
        patch.setattr(running, "device_of", by_turns)
        return run(scene, folder / "equals", frames="0,1", steps=2, every=1)


@contextmanager
def workers(scratch: Path, *devices: str) -> Iterator[Client]:
    """A worker process for each, whose HAMFIT_DEVICE says so."""
    shared = {"nthreads": 1, "memory_limit": 0, "local_directory": str(scratch), "host": "127.0.0.1"}
    specs = {name: {"cls": Nanny, "options": {**shared, "env": {"HAMFIT_DEVICE": name}}} for name in devices}
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    with SpecCluster(workers=specs, scheduler=scheduler, silence_logs=40) as cluster, Client(cluster) as client:
        client.wait_for_workers(len(devices), timeout=60)
        yield client


def test_workers_choose_by_what_they_have_and_their_driver_opens_no_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: Any) -> AbstractDevice:
        raise AssertionError

    scene = scenes.liquid()
    alone = run(scene, tmp_path / "alone", device="emulated")
    monkeypatch.setattr(running, "device_for", opened)
    with workers(tmp_path / "scratch", "emulated") as client:
        away = run(scene, tmp_path / "away", client=client)
    assert away.report["devices"] == [NAME]
    assert away.report["engine"] == alone.report["engine"]
    assert devices_of(away.dataset) == devices_of(alone.dataset) == [[NAME], [NAME]]
    for a, b in zip(away.dataset.trajectories, alone.dataset.trajectories, strict=True):
        assert a.frame(3).q.tobytes() == b.frame(3).q.tobytes()
    assert away.dataset.attrs["rollout"]["fingerprint"] == alone.dataset.attrs["rollout"]["fingerprint"]
