"""The service's side of a runner: begin it, hear what it tells, stop it for certain."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from hamfit_service.clusters.local import ONE_THREAD_ENVIRONMENT
from hamfit_service.jobs.job import JobProgress

#: A line of progress is a few hundred bytes.
_LONGEST_LINE = 2**20


class RunnerProcess:
    """One child process that is loading, waiting for its job, or running it. Used from one event loop."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._stopping = False
        self.stopped_for: str | None = None

    @classmethod
    async def begin(cls) -> RunnerProcess:
        """Start the process; it loads the library and waits for `run`."""
        environment = {**os.environ, **ONE_THREAD_ENVIRONMENT}
        # numba's kernels in this process take as many threads as the task says
        del environment["NUMBA_NUM_THREADS"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hamfit_service.jobs.runner"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            limit=_LONGEST_LINE,
            # Ctrl-C in the terminal of the service is for the service, which hands running jobs over
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

    async def run(self, task: Mapping[str, Any], on_progress: Callable[[JobProgress], None]) -> int:
        """Give the process its job and listen until it ends; returns its exit code."""
        await self._send(task)
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                message = json.loads(line)
                if "progress" in message:
                    on_progress(JobProgress.from_json(message["progress"]))
        return await self._process.wait()

    async def stop(self, reason: str, grace_seconds: float) -> None:
        """Ask the process to stop, and kill it when it has not ended after the grace; returns when it is gone."""
        if self._stopping:
            await self._process.wait()
            return
        self._stopping, self.stopped_for = True, reason
        await self._send({"stop": reason})
        try:
            await asyncio.wait_for(self._process.wait(), grace_seconds)
        except TimeoutError:
            self.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End the process and all that it began, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _send(self, message: Mapping[str, Any]) -> None:
        """Write one line; a process that is gone has nothing to hear, which `run` finds out."""
        assert self._process.stdin is not None
        if self.has_ended:
            return
        # uvloop says RuntimeError of a pipe whose reader is gone
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()


class RunnerPool:
    """Begins runners ahead of need: the next one has the library loaded when its job comes."""

    def __init__(self) -> None:
        self._spare: RunnerProcess | None = None
        self._closed = False

    async def take(self) -> RunnerProcess:
        """A runner without a job."""
        spare, self._spare = self._spare, None
        if spare is not None and not spare.has_ended:
            return spare
        return await RunnerProcess.begin()

    async def refill(self) -> None:
        """Begin a spare one, where there is none."""
        if self._closed or (self._spare is not None and not self._spare.has_ended):
            return
        self._spare = await RunnerProcess.begin()

    async def close(self) -> None:
        """End the spare one."""
        self._closed = True
        if self._spare is not None:
            self._spare.kill()
            await self._spare.stop("closing", 0.1)
