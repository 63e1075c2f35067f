"""The cluster of the service itself, in a process of its own, begun again whenever it dies.

Its own process, because a scheduler shares its event loop with nobody gladly, and because what it dies of should not
be what the service dies of. The process leads a session: the workers belong to it, and whoever ends the cluster, the
service or the process itself, ends all of them with one signal that no worker can put off. See `hosting`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import structlog

from hamfit.errors import ClusterError
from hamfit_service.clusters.glance import Glance, state_of
from hamfit_service.clusters.gpus import GpuOptions
from hamfit_service.wire import ClusterState

LOOK_SECONDS = 2.0

FROZEN_SECONDS = 60.0
"""A scheduler that has not answered for so long is ended; arbitrary, but far above what a busy machine explains."""

BEGIN_SECONDS = 120.0
"""Workers import NumPy and numba before they come; on a busy machine with a cold disk that takes a while."""

STOP_SECONDS = 5.0

_FIRST_WAIT_SECONDS = 0.2
_LONGEST_WAIT_SECONDS = 15.0
_LONG_LIFE_SECONDS = 60.0

log = structlog.get_logger("hamfit.service")


class HostedCluster:
    """Keeps one cluster alive until it is stopped."""

    def __init__(self, *, kind: str, workers: int | None, threads: int, gpus: GpuOptions | None = None) -> None:
        self.kind = kind
        self.last_error = ""
        """Why the cluster is not there, as its process told; empty when it did not."""
        self._task = {
            "kind": kind,
            "workers": workers,
            "threads": threads,
            "gpus": None if gpus is None else gpus.model_dump(),
        }
        self._glance = Glance()
        self._keeping: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._scratch: Path | None = None
        self._connection: dict[str, str] | None = None
        self._dashboard: str | None = None
        self._generation = 0

    @property
    def address(self) -> str | None:
        """Address of the scheduler; None while there is none."""
        return None if self._connection is None else self._connection["address"]

    @property
    def generation(self) -> int:
        """Grows whenever the cluster was lost."""
        return self._generation

    @property
    def pid(self) -> int | None:
        """Process that hosts the cluster; None while there is none."""
        return None if self._process is None else self._process.pid

    def connection(self) -> dict[str, str]:
        """What `connect` needs; raises ClusterError while the cluster is down."""
        if self._connection is None:
            raise ClusterError("the local cluster is being started; try again in a moment")
        return dict(self._connection)

    async def start(self) -> None:
        """Begin the process; returns before the cluster is there."""
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End the cluster and all its workers."""
        if self._keeping is not None:
            self._keeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeping
            self._keeping = None
        # the cancellation may have come in the middle of an end
        await self._end()
        await self._glance.close()

    async def state(self) -> ClusterState:
        """How the cluster fares."""
        identity = None if self._connection is None else await self._glance.identity(self._connection)
        memory = psutil.virtual_memory().total
        return state_of(self.kind, identity, memory_bytes=memory, dashboard=self._dashboard, restarts=self._generation)

    async def _keep(self) -> None:
        """Begin the process again and again, sooner after a long life than after a short one."""
        wait = _FIRST_WAIT_SECONDS
        while True:
            began = time.monotonic()
            try:
                await self._one_life()
            except Exception as error:
                # no space for a folder, no process to be had: tried again like a cluster that died
                self.last_error = f"the {self.kind} cluster cannot be begun ({error})"
                log.warning("cluster cannot be begun; tried again", kind=self.kind, reason=str(error))
            finally:
                await self._end()
            if time.monotonic() - began > _LONG_LIFE_SECONDS:
                wait = _FIRST_WAIT_SECONDS
            await asyncio.sleep(wait)
            wait = min(2.0 * wait, _LONGEST_WAIT_SECONDS)

    async def _one_life(self) -> None:
        """From the beginning of the process to its end, whatever that is."""
        self._scratch = Path(tempfile.mkdtemp(prefix="hamfit-workers-"))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hamfit_service.clusters.hosting",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({**self._task, "scratch": str(self._scratch)}).encode() + b"\n")
            await process.stdin.drain()
            line = await asyncio.wait_for(process.stdout.readline(), BEGIN_SECONDS)
            told: dict[str, Any] = json.loads(line) if line.strip() else {}
        except (OSError, TimeoutError, ValueError):
            return
        self.last_error = str(told.get("error", ""))
        if "connection" not in told:
            return
        self._connection = told["connection"]
        self._dashboard = told.get("dashboard")
        await self._watch(process, told["connection"])

    async def _watch(self, process: asyncio.subprocess.Process, connection: dict[str, str]) -> None:
        """Returns when the process has ended or has been silent for too long."""
        answered = time.monotonic()
        ended = asyncio.create_task(process.wait())
        try:
            while not ended.done() and time.monotonic() - answered < FROZEN_SECONDS:
                await asyncio.wait([ended], timeout=LOOK_SECONDS)
                if not ended.done() and await self._glance.identity(connection, fresh=True) is not None:
                    answered = time.monotonic()
        finally:
            ended.cancel()

    async def _end(self) -> None:
        """Leave nothing of this life: no process, no folder. A cluster that was up counts as lost.

        May be cut short, and goes on where it was when it is called again.
        """
        if self._connection is not None:
            self._connection, self._dashboard = None, None
            self._generation += 1
        process = self._process
        if process is not None:
            # the end of its standard input tells the process to end everything, its scratch folder included
            if process.stdin is not None:
                process.stdin.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            await _end_session(process.pid)
            await process.wait()
            self._process = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None


async def _end_session(leader: int) -> None:
    """Kill the workers too, which may have outlived the process that began them, and wait until they are gone."""
    deadline = time.monotonic() + STOP_SECONDS
    with suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline:
            os.killpg(leader, signal.SIGKILL)
            await asyncio.sleep(0.02)
