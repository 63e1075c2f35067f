"""Rollouts on a device: the same paths to rounding, and no trajectory of two devices."""

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
from hamfit.devices import AbstractDevice, choose_device, choosing
from hamfit.errors import DeviceError, RolloutWarning, StoreError
from hamfit.rollouts import RolloutResult, plan_rollout, rollout, running
from hamfit.rollouts.devices import WORTHWHILE_PARTICLES, device_names, device_of
from hamfit.rollouts.executors import Threads
from hamfit.rollouts.running import _Rollout

# Pairs out of range are no subject but of the tests that say so.
pytestmark = pytest.mark.filterwarnings("ignore:.*outside the distances:hamfit.errors.RolloutWarning")
HOW: dict[str, Any] = {"steps": 60, "every": 20, "threads": 1, "checkpoint_seconds": 0.0}
NAME = "emulated GPU"


def run(scene: Scene, out: Path, **changes: Any) -> RolloutResult:
    return rollout(scene.model, scene.initial, out=out, **{"dt": scene.dt, **HOW, **changes})


def devices_of(dataset: Dataset) -> list[str]:
    return [t.attrs["rollout"]["device"] for t in dataset.trajectories]


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
    assert set(devices_of(here.dataset)) == {"cpu"}
    assert set(devices_of(there.dataset)) == {device.name}
    assert device.name in there.report["engine"]
    assert (
        plan_rollout(scene.model, scene.initial, dt=scene.dt, device=device.kind, **HOW)["engine"]
        == (there.report["engine"])
    )


def test_a_step_is_proposed_on_a_device_too(tmp_path: Path) -> None:
    scene = scenes.liquid()
    proposed = [run(scene, tmp_path / d, dt=None, steps=1, device=d).report["dt"] for d in ("cpu", "emulated")]
    assert proposed[0] == proposed[1]


@pytest.mark.parametrize("make", [scenes.rings, scenes.fast, scenes.crowd], ids=lambda make: make.__name__)
def test_what_no_device_runs_is_run_by_the_processor_which_is_said(make: Any, tmp_path: Path) -> None:
    scene = make()
    there = run(scene, tmp_path / "there", steps=4, every=2, device="emulated")
    assert "on the processor" in there.report["engine"]
    assert there.report["devices"] == []
    # so it is the same plan, and complete
    assert run(scene, tmp_path / "there", steps=4, every=2, device="cpu").report["resumed"]


def test_auto_leaves_a_gpu_to_large_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choosing.VARIABLE, raising=False)
    monkeypatch.setattr(choosing, "_cuda", lambda: choose_device("emulated"))
    few, many = WORTHWHILE_PARTICLES - 1, WORTHWHILE_PARTICLES
    assert device_of(few, "auto") is None
    assert device_of(many, "auto") is choose_device("emulated")
    assert device_names([few], "auto") == device_names([many], "cpu") == ()
    assert device_names([few, many, many], "auto") == device_names([few], "cuda") == (NAME,)
    # where a process is told what it is to use, it uses it
    monkeypatch.setenv(choosing.VARIABLE, "emulated")
    assert device_names([few], "auto") == (NAME,)


def test_a_gpu_that_is_not_there_is_missed_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def none() -> AbstractDevice:
        raise DeviceError("no GPU can be used: install one")

    monkeypatch.setattr(choosing, "_cuda", none)
    with pytest.raises(DeviceError, match="no GPU"):
        run(scenes.liquid(), tmp_path / "r", device="cuda")
    assert list(tmp_path.iterdir()) == []


class StopError(Exception):
    """Stops a rollout."""


def interrupted(out: Path, device: str) -> None:
    """A rollout whose first trajectory is finished, and whose second has a checkpoint at step 40."""
    pauses = [0]
    pause = _Rollout._pause

    def stopping(self: _Rollout, on_step: Any) -> None:
        pause(self, on_step)
        pauses[0] += 1
        if pauses[0] == 5:
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


@pytest.mark.parametrize(("first", "then"), [("emulated", "cpu"), ("cpu", "emulated")])
def test_an_interrupted_rollout_is_not_taken_up_on_another_device(first: str, then: str, tmp_path: Path) -> None:
    interrupted(tmp_path / "r", first)
    with pytest.raises(StoreError, match="rollout of another plan"):
        run(scenes.liquid(), tmp_path / "r", device=then)
    # nor is a finished one taken for it
    run(scenes.liquid(), tmp_path / "r", device=first)
    with pytest.raises(StoreError):
        run(scenes.liquid(), tmp_path / "r", device=then)


@pytest.mark.parametrize(("first", "then"), [("emulated", "cpu"), ("cpu", "emulated")])
def test_a_worker_with_another_device_begins_the_trajectory_anew(
    first: str, then: str, tmp_path: Path, began: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver does not know which of its workers will have what."""
    scene = scenes.liquid()
    monkeypatch.setattr(Threads, "devices", lambda *_: ())
    interrupted(tmp_path / "r", first)
    began.clear()
    with pytest.warns(RolloutWarning, match="different devices") as caught:
        # of one size, so that the devices are unlike for no reason of the plan's
        small = run_of_equals(scene, tmp_path, monkeypatch)
    assert len(set(devices_of(small.dataset))) == 2
    assert any(NAME in str(w.message) for w in caught)
    began.clear()
    result = run(scene, tmp_path / "r", device=then)
    assert began == [0]
    names = {"cpu": "cpu", "emulated": NAME}
    assert devices_of(result.dataset) == [names[first], names[then]]
    alone = run(scene, tmp_path / "alone", device=then)
    ours, theirs = (d.trajectories[1].frame(3).q.tobytes() for d in (result.dataset, alone.dataset))
    assert ours == theirs


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


def test_workers_choose_by_what_they_have(tmp_path: Path) -> None:
    scene = scenes.liquid()
    alone = run(scene, tmp_path / "alone", device="emulated")
    with workers(tmp_path / "scratch", "emulated") as client:
        away = run(scene, tmp_path / "away", client=client)
    assert away.report["devices"] == [NAME]
    assert devices_of(away.dataset) == devices_of(alone.dataset) == [NAME, NAME]
    for a, b in zip(away.dataset.trajectories, alone.dataset.trajectories, strict=True):
        assert a.frame(3).q.tobytes() == b.frame(3).q.tobytes()
    assert away.dataset.attrs["rollout"]["fingerprint"] == alone.dataset.attrs["rollout"]["fingerprint"]
