"""The process of a job: it runs one, tells how far it is, stops when told, and never outlives the service."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hamfit.data import Dataset
from hamfit.errors import ClusterError, DataError, DeviceError, DiskError, TaskError
from hamfit_service.jobs.folders import JobFolder
from hamfit_service.jobs.job import JobProgress
from hamfit_service.jobs.logs import read_log
from hamfit_service.jobs.runner import failure_of
from hamfit_service.jobs.runner_process import RunnerPool, RunnerProcess

SMALL = {"system": "spring", "options": {"shape": "5", "n_trajectories": 2, "n_frames": 3}}
LONG = {"system": "lj", "options": {"shape": "6x6x6", "n_trajectories": 1, "n_frames": 2000, "every": 10}}


def task(folder: Path, inputs: dict[str, Any], memory_bytes: int = 8 * 2**30) -> dict[str, Any]:
    return {
        "job": "0" * 16,
        "process": "simulate",
        "inputs": inputs,
        "paths": [],
        "folder": str(folder),
        "cluster": {},
        "threads": 1,
        "memory_bytes": memory_bytes,
        "attempt": 1,
        "percent": 0.0,
        "log_format": "json",
    }


async def _run(work: dict[str, Any], told: list[JobProgress]) -> int:
    runner = await RunnerProcess.begin()
    return await runner.run(work, told.append)


def test_a_job_leaves_its_output_its_outcome_and_its_report(tmp_path: Path) -> None:
    told: list[JobProgress] = []
    folder = JobFolder(tmp_path / "job")
    assert asyncio.run(_run(task(folder.path, SMALL), told)) == 0
    outcome = folder.outcome()
    assert outcome is not None
    assert outcome["status"] == "succeeded"
    assert json.loads((folder.results / "report.json").read_text()) == outcome["report"]
    assert Dataset.open(folder.results / "dataset.zarr").n_frames == 6
    assert [progress.percent for progress in told] == sorted(progress.percent for progress in told)
    assert told[-1].percent == 100.0


def test_the_failure_of_a_user_is_told_as_one(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    bad = {"system": "spring", "options": {"shape": "5", "dt": 50.0}}
    asyncio.run(_run(task(folder.path, bad), []))
    outcome = folder.outcome()
    assert outcome is not None
    assert outcome["failure"]["kind"] == "user"
    assert "smaller dt" in outcome["failure"]["message"]


def test_a_job_that_wants_too_much_memory_fails_alone_and_says_so(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    wide = {"system": "spring", "options": {"shape": "300000", "n_trajectories": 2000, "n_frames": 2}}
    asyncio.run(_run(task(folder.path, wide, memory_bytes=2**30), []))
    outcome = folder.outcome()
    assert outcome is not None
    assert outcome["failure"]["type"] == "MemoryError"
    assert outcome["failure"]["kind"] == "user"
    assert "more memory" in outcome["failure"]["message"]


def test_a_job_that_is_told_to_stop_ends_soon_without_an_outcome_that_counts(tmp_path: Path) -> None:
    async def scene() -> float:
        runner = await RunnerProcess.begin()
        begun = asyncio.Event()
        running = asyncio.create_task(runner.run(task(tmp_path / "job", LONG), lambda progress: begun.set()))
        await begun.wait()
        before = time.monotonic()
        await runner.stop("dismiss", 5.0)
        await running
        return time.monotonic() - before

    assert asyncio.run(scene()) < 6.0
    outcome = JobFolder(tmp_path / "job").outcome()
    assert outcome is None or outcome["status"] == "stopped"


def test_a_runner_ends_when_its_service_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hamfit_service.jobs.runner"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"ready": True}
        process.stdin.write(json.dumps(task(tmp_path / "job", LONG)).encode() + b"\n")
        process.stdin.flush()
        assert "progress" in json.loads(process.stdout.readline())
        process.stdin.close()
        assert process.wait(timeout=10.0) == 3


def test_a_second_attempt_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    async def scene() -> tuple[int, int]:
        first, second = await RunnerProcess.begin(), await RunnerProcess.begin()
        begun = asyncio.Event()
        one = asyncio.create_task(first.run(task(tmp_path / "job", LONG), lambda progress: begun.set()))
        await begun.wait()
        other = asyncio.create_task(second.run(task(tmp_path / "job", SMALL), lambda progress: None))
        await asyncio.sleep(1.0)
        assert not other.done()
        first.kill()
        return await one, await other

    codes = asyncio.run(scene())
    assert codes == (-9, 0)
    outcome = JobFolder(tmp_path / "job").outcome()
    assert outcome is not None
    assert outcome["status"] == "succeeded"


def test_the_log_tells_what_was_done(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "job")
    asyncio.run(_run(task(folder.path, SMALL), []))
    assert [line.message for line in read_log(folder.log).lines] == ["simulating begins"]


def test_a_spare_runner_that_died_is_replaced() -> None:
    async def scene() -> None:
        pool = RunnerPool()
        await pool.refill()
        first = await pool.take()
        await pool.refill()
        second = await pool.take()
        assert second.pid != first.pid
        await pool.refill()
        first.kill()
        second.kill()
        await asyncio.gather(first.stop("closing", 1.0), second.stop("closing", 1.0))
        await pool.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    "error, kind",
    [
        (DataError("a.zarr: no frames"), "user"),
        (DiskError("full"), "system"),
        (ClusterError("lost"), "system"),
        (TaskError("a worker failed"), "system"),
        (DeviceError("no room"), "system"),
        (MemoryError(), "user"),
        (OSError(5, "I/O error"), "system"),
        (ZeroDivisionError("/secret/path"), "system"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_every_error_is_somebodys_and_a_bug_tells_nothing_of_the_machine(error: Exception, kind: str) -> None:
    failure = failure_of(error)
    assert failure.kind == kind
    assert "secret" not in failure.message
