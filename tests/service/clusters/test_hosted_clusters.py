"""The service's own cluster: whatever dies, what should live comes back and what should not is gone."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
from distributed import Client
from distributed.core import rpc

from hamfit.errors import ClusterError
from hamfit_service.clusters import hosted
from hamfit_service.clusters.connection import connection_arguments
from hamfit_service.clusters.host import connect
from hamfit_service.clusters.hosted import HostedCluster
from watching import all_gone, family, until

Run = Callable[[Coroutine[Any, Any, None]], None]


@asynccontextmanager
async def running(workers: int = 1) -> AsyncIterator[HostedCluster]:
    """A cluster that is up."""
    cluster = HostedCluster(kind="local", workers=workers, threads=1)
    await cluster.start()
    try:
        await until(lambda: cluster.address)
        yield cluster
    finally:
        await cluster.stop()


def processes(cluster: HostedCluster) -> list[psutil.Process]:
    assert cluster.pid is not None
    return family(cluster.pid)


async def summed(cluster: HostedCluster) -> int:
    """A small task on the cluster, as a runner would give it."""

    def work() -> int:
        with connect(cluster.connection()) as client:
            return int(client.submit(sum, [3, 5]).result(timeout=60))

    return await asyncio.to_thread(work)


def test_it_runs_tasks_tells_how_it_fares_and_leaves_nothing(run: Run, scratch: Path) -> None:
    async def work() -> None:
        async with running(workers=2) as cluster:
            assert await summed(cluster) == 8
            state = await cluster.state()
            assert (state.kind, state.alive, state.workers, state.threads, state.restarts) == ("local", True, 2, 2, 0)
            assert state.memory_bytes > 2**30
            alive = processes(cluster)
            assert len(alive) >= 3
        assert all_gone(alive)
        assert list(scratch.iterdir()) == []
        assert (cluster.address, (await cluster.state()).alive) == (None, False)
        with pytest.raises(ClusterError, match="is being started"):
            cluster.connection()
        await cluster.stop()

    run(work())


@pytest.mark.faults
def test_a_process_that_is_killed_is_replaced_and_its_workers_are_gone(scratch: Path) -> None:
    async def work() -> None:
        async with running() as cluster:
            address, alive = cluster.address, processes(cluster)
            os.kill(alive[0].pid, signal.SIGKILL)
            await until(lambda: cluster.generation == 1)
            assert cluster.address != address
            await until(lambda: all_gone(alive), 10.0)
            await until(lambda: cluster.address)
            assert cluster.address != address
            assert await summed(cluster) == 8
            assert (await cluster.state()).restarts == 1
            assert len(list(scratch.iterdir())) == 1

    asyncio.run(work())


@pytest.mark.faults
@pytest.mark.usefixtures("scratch")
def test_a_worker_that_is_killed_is_replaced_and_nothing_counts_as_lost() -> None:
    async def work() -> None:
        async with running() as cluster:

            def kill_and_ask() -> int:
                with connect(cluster.connection()) as client:
                    first = client.submit(os.getpid, pure=False).result(timeout=60)
                    os.kill(first, signal.SIGKILL)
                    second = client.submit(os.getpid, pure=False).result(timeout=60)
                    assert second != first
                    return int(client.submit(sum, [7, 11]).result(timeout=60))

            assert await asyncio.to_thread(kill_and_ask) == 18
            assert cluster.generation == 0

    asyncio.run(work())


@pytest.mark.faults
@pytest.mark.usefixtures("scratch")
def test_a_scheduler_that_a_client_shuts_down_is_replaced() -> None:
    async def work() -> None:
        async with running() as cluster:
            connection = cluster.connection()

            scheduler = rpc(connection["address"], connection_args=connection_arguments(connection))
            with suppress(OSError):  # it does not stay for an answer
                await scheduler.terminate()
            await scheduler.close_rpc()
            await until(lambda: cluster.generation == 1)
            await until(lambda: cluster.address)
            assert await summed(cluster) == 8

    asyncio.run(work())


@pytest.mark.faults
def test_a_process_that_is_frozen_is_replaced(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "FROZEN_SECONDS", 3.0)
    monkeypatch.setattr(hosted, "STOP_SECONDS", 0.5)

    async def work() -> None:
        async with running() as cluster:
            alive = processes(cluster)
            os.kill(alive[0].pid, signal.SIGSTOP)
            state = await asyncio.wait_for(cluster.state(), 5.0)
            assert state.alive in (True, False)
            await until(lambda: cluster.generation == 1)
            await until(lambda: all_gone(alive), 10.0)

    asyncio.run(work())
    assert list(scratch.iterdir()) == []


def test_a_cluster_that_cannot_start_is_tried_again_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[float] = []
    real = asyncio.create_subprocess_exec

    async def count(*words: Any, **more: Any) -> asyncio.subprocess.Process:
        began.append(asyncio.get_running_loop().time())
        return await real(sys.executable, "-c", "raise SystemExit(1)", **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", count)

    async def work() -> None:
        cluster = HostedCluster(kind="local", workers=1, threads=1)
        await cluster.start()
        await until(lambda: len(began) == 4)
        assert (cluster.address, cluster.generation, (await cluster.state()).alive) == (None, 0, False)
        await cluster.stop()

    asyncio.run(work())
    waits = [later - earlier for earlier, later in itertools.pairwise(began)]
    assert waits[2] > waits[1] > waits[0]


@pytest.mark.faults
def test_a_machine_without_space_or_processes_keeps_the_cluster_away_only_for_so_long(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_folder, real_process = tempfile.mkdtemp, asyncio.create_subprocess_exec
    failures: list[OSError] = [OSError(errno.EAGAIN, "no process"), OSError(errno.ENOSPC, "no space")]

    def folder(*words: Any, **more: Any) -> str:
        if len(failures) == 2:
            raise failures.pop()
        return str(real_folder(*words, **more))

    async def begun(*words: Any, **more: Any) -> asyncio.subprocess.Process:
        if failures:
            raise failures.pop()
        return await real_process(*words, **more)

    monkeypatch.setattr("tempfile.mkdtemp", folder)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", begun)

    async def work() -> None:
        cluster = HostedCluster(kind="local", workers=1, threads=1)
        await cluster.start()
        await until(lambda: len(failures) == 1)
        assert "no space" in cluster.last_error
        await until(lambda: cluster.address)
        assert (failures, cluster.last_error) == ([], "")
        await cluster.stop()

    asyncio.run(work())
    assert list(scratch.iterdir()) == []


def test_the_dashboard_is_told_where_bokeh_is_installed() -> None:
    pytest.importorskip("bokeh")

    async def work() -> None:
        async with running() as cluster:
            link = (await cluster.state()).dashboard
            assert link is not None
            assert link.startswith("http://127.0.0.1:")
            page = await asyncio.to_thread(lambda: urlopen(link, timeout=20).read())
            assert b"bokeh" in page.lower()

    asyncio.run(work())


def test_only_who_holds_the_certificate_is_let_in_and_only_on_loopback(scratch: Path) -> None:
    async def work() -> None:
        async with running() as cluster:
            connection = cluster.connection()
            for name in ("tls_ca", "tls_cert", "tls_key"):
                assert Path(connection[name]).stat().st_mode & 0o077 == 0

            def intrude() -> None:
                plain = connection["address"].replace("tls://", "tcp://")
                with pytest.raises(OSError, match=r"reset by peer|[Tt]imed out"):
                    Client(plain, timeout=2)

            await asyncio.to_thread(intrude)
            for process in processes(cluster):
                for socket in process.net_connections(kind="inet"):
                    assert socket.laddr.ip in ("127.0.0.1", "::1")

    asyncio.run(work())
    assert list(scratch.iterdir()) == []


SERVICE = """
import asyncio, json, sys
import uvloop
from hamfit_service.clusters.host import connect
from hamfit_service.clusters.hosted import HostedCluster

def stuck():
    import re
    # holds the interpreter's lock for ages: such a worker cannot hear of anything
    re.match(r"(a+)+$", "a" * 64 + "b")

async def main():
    cluster = HostedCluster(kind="local", workers=2, threads=1)
    await cluster.start()
    while cluster.address is None:
        await asyncio.sleep(0.05)
    # what a service also has: other children, which must not keep the pipe of the first one open
    other = await asyncio.create_subprocess_exec("sleep", "1000", stdin=asyncio.subprocess.PIPE)
    def keep_busy():
        with connect(cluster.connection()) as client:
            future = client.submit(stuck)
            while not any(client.processing().values()):
                pass
            print(json.dumps([cluster.pid, other.pid]), flush=True)
            future.result()
    await asyncio.to_thread(keep_busy)

uvloop.run(main())
"""


@pytest.mark.faults
@pytest.mark.parametrize("victims", ["service", "hosting", "both"])
def test_no_orphan_survives_a_kill_not_even_a_worker_that_cannot_listen(scratch: Path, victims: str) -> None:
    service = subprocess.Popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE, text=True)
    other = None
    try:
        assert service.stdout is not None
        pid, other = json.loads(service.stdout.readline())
        alive = family(pid)
        assert len(alive) >= 3
        if victims in ("hosting", "both"):
            os.kill(pid, signal.SIGKILL)
        if victims in ("service", "both"):
            service.kill()
        # without the service, nobody but the kernel can end a worker whose host died at the same moment
        asyncio.run(until(lambda: all_gone(alive), 15.0))
    finally:
        service.kill()
        service.wait()
        if other is not None:
            os.kill(other, signal.SIGKILL)
    if victims == "service":
        asyncio.run(until(lambda: not any(scratch.iterdir()), 10.0))
