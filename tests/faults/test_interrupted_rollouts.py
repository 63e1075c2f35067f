"""Rollouts whose workers, driver or disk fail half-way: the trajectories are the same to the last bit, or not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from hamfit.data import Dataset
from hamfit.errors import StoreError
from hamfit.fitting import fit
from hamfit.options import FitOptions
from hamfit.progress import Event
from hamfit.rollouts import RolloutResult, rollout
from hamfit.rollouts.running import _Rollout
from hamfit_service.clusters import LocalProcesses, RunningScheduler
from worlds import liquids, write

# Warnings about accuracy and range are not the subject here.
pytestmark = [
    pytest.mark.faults,
    pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning"),
    pytest.mark.filterwarnings("ignore::hamfit.errors.RolloutWarning"),
]

BIN = Path(sys.executable).parent
# A many-body model, whose steps take a millisecond, so that rollouts take seconds and can be hit in the middle.
OPTIONS = FitOptions(cutoff=1.75, blocks=("kinetic", "manybody"), features=32, radial=8, l_max=1, threads=1)
HOW: dict[str, Any] = {
    "steps": 1500,
    "dt": 0.002,
    "every": 50,
    "replicas": 2,
    "temperature": 0.4,
    "frames": "0,1,2",
    "seed": 5,
}
N = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and data to start from."""
    folder = tmp_path_factory.mktemp("place")
    write(folder / "data", [liquids(1, 16, jitter=0.08)])
    fit(folder / "data", options=OPTIONS, checkpoint=False, out=folder / "model")
    return folder


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> str:
    return run(place, place / "undisturbed", threads=2).dataset.digest


def run(place: Path, out: Path, **changes: Any) -> RolloutResult:
    return rollout(
        place / "model", place / "data", out=out, **{**HOW, "threads": 1, "checkpoint_seconds": 0.1, **changes}
    )


@contextmanager
def driver(place: Path, out: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own."""
    command = [str(BIN / "hamfit"), "rollout", str(place / "model"), "--initial", str(place / "data"), "--json"]
    settings = [word for name, value in HOW.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [*command, *settings, "--out", str(out), "--checkpoint-seconds", "0.1", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=60)


def kept(out: Path, what: str) -> set[str]:
    """Names of finished rollouts, or of those with a checkpoint."""
    found = out.with_name(f".{out.name}.rollout").glob(f"*/{what}/[!.]*")
    return {path.name.removesuffix(".json") for path in found if path.suffix != ".partial"}


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180.0
    while not condition():
        assert process.poll() is None, "the rollout ended before it could be hit"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def taken_up(place: Path, out: Path, **changes: Any) -> tuple[RolloutResult, list[int]]:
    """The rollout repeated in this process, and the steps from which its rollouts went on."""
    steps: list[int] = []
    begin = _Rollout.begin

    def counting(self: _Rollout) -> None:
        steps.append(self.step)
        begin(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "begin", counting)
        return run(place, out, **changes), steps


@pytest.mark.parametrize(
    "flags", [("--threads", "2"), ("--workers", "2", "--threads", "1")], ids=["threads", "workers"]
)
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_driver_that_dies_leaves_no_trajectories_and_its_successor_runs_only_what_is_missing(
    place: Path, undisturbed: str, tmp_path: Path, flags: tuple[str, ...], blow: signal.Signals
) -> None:
    out = tmp_path / "r"
    with driver(place, out, *flags) as process:
        wait_until(lambda: bool(kept(out, "finished")) and bool(kept(out, "checkpoints")), process)
        process.send_signal(blow)
        _, said = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if blow is signal.SIGKILL else 130)
    assert blow is signal.SIGKILL or said.splitlines()[-1] == "hamfit: interrupted"
    assert not out.exists()
    # workers of a killed driver end by themselves, a moment later
    time.sleep(1.0)
    finished = kept(out, "finished")
    begun = kept(out, "checkpoints") - finished
    assert 1 <= len(finished) < N
    result, steps = taken_up(place, out)
    assert result.report["resumed"]
    assert len(steps) == N - len(finished)
    assert sum(step > 0 for step in steps) == len(begun)
    assert result.dataset.digest == undisturbed
    result.dataset.verify()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_the_same_command_again_goes_on_on_workers_too(place: Path, undisturbed: str, tmp_path: Path) -> None:
    out = tmp_path / "r"
    with driver(place, out, "--threads", "1") as process:
        wait_until(lambda: bool(kept(out, "finished")) and bool(kept(out, "checkpoints")), process)
        process.send_signal(signal.SIGKILL)
    with driver(place, out, "--workers", "2", "--threads", "1") as process:
        told, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    assert json.loads(told)["resumed"]
    assert Dataset.open(out).digest == undisturbed


class KillOnce:
    """A listener that kills a process when some steps are made."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.killed = False

    def __call__(self, event: Event, /) -> None:
        if event.done > event.total // 4 and not self.killed:
            os.kill(self.pid, signal.SIGKILL)
            self.killed = True


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_killed_costs_nothing_but_time(
    workers: int, place: Path, undisturbed: str, tmp_path: Path
) -> None:
    with LocalProcesses(workers=workers, threads=1).connect() as client:
        killer = KillOnce(next(iter(client.run(os.getpid).values())))
        result = run(place, tmp_path / "r", client=client, progress=killer)
    assert killer.killed
    assert result.dataset.digest == undisturbed
    result.dataset.verify()
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_bits_of_threads(
    workers: int, place: Path, undisturbed: str, tmp_path: Path
) -> None:
    with LocalProcesses(workers=workers, threads=1).connect() as client:
        result = run(place, tmp_path / "r", client=client, checkpoint_seconds=120.0)
    assert result.dataset.digest == undisturbed
    assert run(place, tmp_path / "s", threads=1, checkpoint_seconds=0.0).dataset.digest == undisturbed


@contextmanager
def external_cluster(folder: Path) -> Iterator[str]:
    """A scheduler and a worker that nobody's driver owns; their address."""
    file = folder / "scheduler.json"
    loopback = ["--host", "127.0.0.1", "--no-dashboard"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    commands = [
        ["scheduler", "--port", "0", "--scheduler-file", str(file), *loopback],
        ["worker", "--scheduler-file", str(file), "--nthreads", "1", "--memory-limit", "0", *loopback],
    ]
    processes = []
    try:
        for command in commands:
            processes.append(subprocess.Popen([str(BIN / "dask"), *command], **quiet))
            deadline = time.monotonic() + 60.0
            while not file.exists() or not file.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        address = str(json.loads(file.read_text())["address"])
        with Client(address, timeout=60) as client:
            client.wait_for_workers(1, timeout=60)
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=60)


@pytest.mark.parametrize("how", [{}, {"resume": False}], ids=["taken up", "begun anew"])
def test_an_orphan_whose_driver_died_ends_by_itself_and_harms_nothing(
    how: dict[str, Any], place: Path, undisturbed: str, tmp_path: Path
) -> None:
    out = tmp_path / "work" / "r"
    with external_cluster(tmp_path) as address:
        with driver(place, out, "--scheduler", address) as process:
            wait_until(lambda: bool(kept(out, "checkpoints")), process)
            process.send_signal(signal.SIGKILL)
        # at once, while the orphan runs
        result, steps = taken_up(place, out, **how)
        assert result.dataset.digest == undisturbed
        assert (max(steps) > 0) == (how == {})
        assert result.report["resumed"] == (how == {})
        with RunningScheduler(address=address).connect() as client:
            deadline = time.monotonic() + 30.0
            while any(client.call_stack().values()):
                assert time.monotonic() < deadline, "the orphan goes on"
                time.sleep(0.1)
            # the cluster is as good as before
            again = run(place, tmp_path / "work" / "again", client=client)
    assert again.dataset.digest == undisturbed
    result.dataset.verify()
    # at most what the orphan of dropped work wrote at its end
    assert {path.name for path in out.parent.iterdir()} - {".r.rollout"} == {"r", "again"}


def test_a_second_driver_is_refused_while_the_first_runs(place: Path, undisturbed: str, tmp_path: Path) -> None:
    out = tmp_path / "r"
    with driver(place, out, "--threads", "1") as first:
        wait_until(lambda: bool(kept(out, "checkpoints")), first)
        with driver(place, out, "--threads", "1") as second:
            told, said = second.communicate(timeout=120)
        assert (second.returncode, told) == (2, "")
        assert "r: the store is being written by process" in said
        told, _ = first.communicate(timeout=240)
    assert first.returncode == 0
    assert Dataset.open(out).digest == undisturbed


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own: enough for a few frames, not for a rollout."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_reported_and_the_rollout_goes_on_when_there_is_room(
    place: Path, undisturbed: str, disk: Path
) -> None:
    with pytest.raises(StoreError, match="the disk is full: free space or choose another place"):
        run(place, disk / "r")
    assert not (disk / "r").exists()
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    result, steps = taken_up(place, disk / "r")
    assert result.dataset.digest == undisturbed
    assert len(steps) <= N
    result.dataset.verify()
    assert [path.name for path in disk.iterdir()] == ["r"]


def test_a_full_disk_is_reported_from_workers_in_the_same_words(place: Path, disk: Path) -> None:
    with (
        LocalProcesses(workers=2, threads=1).connect() as client,
        pytest.raises(StoreError, match="the disk is full: free space or choose another place"),
    ):
        run(place, disk / "r", client=client)
    assert not (disk / "r").exists()


def test_a_read_only_disk_is_reported(place: Path, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match=r"r: cannot be written|writing is not permitted"):
        run(place, disk / "r")
