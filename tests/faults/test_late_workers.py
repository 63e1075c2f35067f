"""Workers that join late get their share of the tasks, those of a fit and of a rollout alike, within a moment."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import IO, Any

import pytest
from distributed import Client, LocalCluster
from distributed.diagnostics.plugin import SchedulerPlugin

from hamfit.tasks import ClusterTasks, Task

pytestmark = pytest.mark.faults

N_TASKS, SECONDS = 24, 2.0
LATE = 4

#: A worker process that has loaded all it needs, and joins when it is told to.
PROGRAM = """
import asyncio, sys
from distributed import Worker

async def work():
    async with Worker(sys.argv[1], nthreads=1, memory_limit=0, local_directory=sys.argv[2]) as worker:
        await worker.finished()

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(work())
"""


class Arrivals(SchedulerPlugin):
    """When each worker joined."""

    name = "arrivals"

    def __init__(self) -> None:
        self.times: list[float] = []

    def add_worker(self, *arguments: Any, **about: Any) -> None:
        self.times.append(time.monotonic())


@contextmanager
def one_worker_and_others_later(scratch: Path) -> Iterator[tuple[Client, Arrivals, Callable[[], None]]]:
    """A cluster of one worker of one thread; when the others joined; and what makes them join."""
    arrivals = Arrivals()
    how = {"dashboard_address": "127.0.0.1:0", "local_directory": str(scratch), "silence_logs": 40, "memory_limit": 0}
    with LocalCluster(n_workers=1, threads_per_worker=1, **how) as cluster, Client(cluster) as client:
        client.wait_for_workers(1)
        cluster.scheduler.add_plugin(arrivals)
        command = [sys.executable, "-c", PROGRAM, cluster.scheduler_address, str(scratch)]
        others = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for _ in range(LATE)
        ]
        try:
            assert [pipe(other.stdout).readline() for other in others] == [b"ready\n"] * LATE

            def join() -> None:
                for other in others:
                    pipe(other.stdin).write(b"\n")
                    pipe(other.stdin).flush()

            yield client, arrivals, join
        finally:
            for other in others:
                other.terminate()
                other.wait(timeout=60)
                pipe(other.stdin).close()
                pipe(other.stdout).close()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def shortest(arrivals: list[float]) -> float:
    """Seconds in which all is done when no worker is ever idle, of workers that arrive at these times."""
    done = now = 0.0
    for workers, arrival in enumerate([*sorted(arrivals), float("inf")]):
        if workers and done + workers * (arrival - now) >= N_TASKS * SECONDS:
            return now + (N_TASKS * SECONDS - done) / workers
        done, now = done + workers * (arrival - now), arrival
    raise AssertionError


def test_the_shortest_time_is_that_of_workers_who_are_never_idle() -> None:
    assert shortest([0.0]) == N_TASKS * SECONDS
    assert shortest([0.0, 1.0, 1.0, 1.0, 1.0]) == 1.0 + (N_TASKS * SECONDS - 1.0) / 5


@pytest.mark.parametrize("gather", [True, False], ids=["small results", "large results"])
def test_workers_that_join_late_are_not_idle(gather: bool, tmp_path: Path) -> None:
    with one_worker_and_others_later(tmp_path / "scratch") as (client, arrivals, join):
        joining = Timer(1.0, join)
        began = time.monotonic()
        joining.start()
        with ClusterTasks[int](client, "fit", gather=gather) as tasks:
            naps = (Task(k, "nap", str(k), time.sleep, (SECONDS,)) for k in range(N_TASKS))
            done = [k for k, _ in tasks.results(naps)]
        took = time.monotonic() - began
    assert sorted(done) == list(range(N_TASKS))
    assert len(arrivals.times) == LATE
    ideal = shortest([0.0, *(arrival - began for arrival in arrivals.times)])
    print(f"{took:.1f} s, at best {ideal:.1f} s: {took / ideal:.2f}")
    assert took <= 1.3 * ideal


def test_a_task_that_waits_behind_another_moves_to_a_worker_that_joins(tmp_path: Path) -> None:
    with one_worker_and_others_later(tmp_path / "scratch") as (client, _, join):
        joining = Timer(1.0, join)
        began = time.monotonic()
        joining.start()
        with ClusterTasks[int](client, "rollout") as tasks:
            naps = (Task(k, "long-nap", str(k), time.sleep, (6.0,)) for k in range(2))
            assert sorted(k for k, _ in tasks.results(naps)) == [0, 1]
        took = time.monotonic() - began
    # one after the other they would take 12
    assert took <= 1.3 * 7.0
