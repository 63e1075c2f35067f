"""The reconciler: moves every job from where it is to where it should be, as long as the service lives.

It claims waiting jobs in a fair order, gives each a runner, keeps what the runner tells, and records how it ended. It
changes the database before it acts and trusts only what is on disk, so that it can be killed at any moment: the next
one finds jobs that are running without a runner, takes their outcome where there is one, and else begins them again
where their checkpoints are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import structlog

from hamfit.errors import ClusterError, DiskError, HamfitError
from hamfit_service.jobs.database import DatabaseAway
from hamfit_service.jobs.endings import Attempt, Endings
from hamfit_service.jobs.fairness import next_to_run
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.housekeeping import Housekeeping
from hamfit_service.jobs.job import Failure, Job, JobProgress
from hamfit_service.jobs.logs import JobLog
from hamfit_service.jobs.rows import JobNotFound, WrongState
from hamfit_service.jobs.runner_process import RunnerPool, RunnerProcess
from hamfit_service.jobs.store import JobStore
from hamfit_service.processes import find_process
from hamfit_service.security.confinement import Confinement
from hamfit_service.settings import Settings

if TYPE_CHECKING:
    from hamfit_service.clusters.host import ClusterHost

T = TypeVar("T")

_LOOK_SECONDS = 1.0
_AWAY_SECONDS = 1.0
_TOLD_SECONDS = 0.5
#: A dismissed job has nothing to keep; it only lets go of the cluster in this time.
_DISMISS_GRACE_SECONDS = 3.0
#: Share of the machine's memory that the process of one job may take.
_MEMORY_SHARE = 0.8

log = structlog.get_logger("hamfit.supervisor")


@dataclass(slots=True)
class _Running:
    """A job that has a runner."""

    job: Job
    runner: RunnerProcess
    generation: int
    """Of the cluster, when it began."""
    watcher: asyncio.Task[None] | None = None
    progress: JobProgress | None = None


class Supervisor:
    """Runs jobs. Lives in one event loop; calls of the database happen in threads."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        folders: Folders,
        confinement: Confinement,
        cluster: ClusterHost,
        endings: Endings,
        running_limits: Callable[[], Mapping[str, int]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._folders = folders
        self._confinement = confinement
        self._cluster = cluster
        self._endings = endings
        self._running_limits = running_limits
        self._pool = RunnerPool()
        self._running: dict[str, _Running] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.housekeeping = Housekeeping(settings, store, folders, confinement, endings)
        """Removes left-overs, and knows whether the disk keeps jobs from starting."""

    async def start(self) -> None:
        """Take over what an earlier service left, and begin to work."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._work())

    def accepted(self) -> None:
        """A job was accepted: see whether it may begin, unless every place is taken; from any thread."""
        # the end of a job looks at those that wait, and forgets its own first
        if len(self._running) < self._settings.running_jobs:
            self.wake()

    def wake(self) -> None:
        """Look at the jobs now; from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    async def stop(self) -> None:
        """Hand running jobs over: they keep what they have done, and wait for the next service."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        grace = self._settings.stop_grace_seconds
        await asyncio.gather(*(running.runner.stop("handover", grace) for running in self._running.values()))
        watchers = [running.watcher for running in self._running.values() if running.watcher is not None]
        if watchers:
            # a database that is away must not keep the service from ending: the next one finds the jobs running
            await asyncio.wait(watchers, timeout=grace)
        await self.housekeeping.stop(grace)
        await self._pool.close()

    @property
    def running(self) -> int:
        """Jobs that have a runner now."""
        return len(self._running)

    async def _work(self) -> None:
        while not self._closing:
            self._wake.clear()
            try:
                await self._recover()
                await self._reconcile()
                await self._pool.refill()
                wait = _LOOK_SECONDS
            except (DatabaseAway, DiskError, ClusterError, OSError) as error:
                log.warning("waiting", reason=str(error))
                wait = _AWAY_SECONDS
            except Exception:
                # one job that cannot be handled must not stop the others
                log.exception("reconciling failed")
                wait = _AWAY_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)

    async def _recover(self) -> None:
        """Jobs that run without a runner: record their outcome, or let them run again.

        An earlier service left them, or this one could not begin them because disk, database or cluster went away.
        """
        known = set(self._running)
        for job in await asyncio.to_thread(self._store.reclaim):
            if job.id not in known:
                try:
                    await self._endings.without_runner(job)
                except (DatabaseAway, DiskError, OSError):
                    raise
                except Exception:
                    log.exception("a job without a runner could not be taken up", job=job.id)

    async def _reconcile(self) -> None:
        for job in await asyncio.to_thread(self._store.to_dismiss):
            running = self._running.get(job.id)
            if running is None:
                await self._endings.dismissed(job)
            else:
                self._stop(running, "dismiss")
        for running in self._running.values():
            if running.generation != self._cluster.generation:
                self._stop(running, "cluster")
        await self.housekeeping.look()
        if self.housekeeping.storage_problem is None and self._cluster.address is not None:
            await self._begin_jobs()

    async def _begin_jobs(self) -> None:
        if len(self._running) >= self._settings.running_jobs:
            return
        waiting = await asyncio.to_thread(self._store.runnable)
        if not waiting:
            return
        limits = await asyncio.to_thread(self._running_limits)
        owners = [running.job.owner for running in self._running.values()]
        free = self._settings.running_jobs - len(self._running)
        for job in next_to_run(waiting, owners, free, self._settings.running_jobs_per_owner, limits):
            if not self._closing:
                await self._begin(job)

    async def _begin(self, job: Job) -> None:
        with suppress(WrongState):
            # dismissed a moment ago
            job = await asyncio.to_thread(self._store.claim, job.id)
            folder = self._folders.job(job.id)
            try:
                task = await asyncio.to_thread(self._task_of, job)
            except HamfitError as error:
                if isinstance(error, DatabaseAway | DiskError | ClusterError):
                    raise
                await self._endings.failed(job, Failure("user", type(error).__name__, str(error)))
                return
            runner = await self._pool.take()
            JobLog(folder.log).write("info", f"attempt {job.attempts + 1} begins")
            running = _Running(job, runner, self._cluster.generation)
            self._running[job.id] = running
            running.watcher = asyncio.create_task(self._watch(running, task))

    def _task_of(self, job: Job) -> dict[str, Any]:
        """What the runner is told; the references are confined again, for what they point to may have changed."""
        folder = self._folders.job(job.id)
        folder.make()
        folder.forget_outcome()
        inputs = find_process(job.process).inputs.build(job.inputs)
        _, threads = self._settings.local_workers
        return {
            "job": job.id,
            "process": job.process,
            "inputs": dict(job.inputs),
            "paths": [
                [kind, reference, str(self._confinement(kind, reference))] for _, kind, reference in inputs.references()
            ],
            "folder": str(folder.path),
            "cluster": dict(self._cluster.connection()),
            "threads": threads,
            "memory_bytes": int(psutil.virtual_memory().total * _MEMORY_SHARE),
            "attempt": job.attempts + 1,
            "percent": job.progress.percent,
            "log_format": self._settings.log_format,
        }

    async def _watch(self, running: _Running, task: Mapping[str, Any]) -> None:
        """From the beginning of an attempt to its record in the database."""
        job = running.job
        teller = asyncio.create_task(self._tell(running))
        try:
            code = await running.runner.run(task, lambda progress: setattr(running, "progress", progress))
            teller.cancel()
            await asyncio.wait({teller})
            # the last word: whether the job got on decides how often it is tried again
            await self._persistently(lambda: self._keep_progress(running))
            outcome = await self._persistently(lambda: asyncio.to_thread(self._folders.job(job.id).outcome))
            attempt = Attempt(outcome, code, running.runner.stopped_for, running.generation)
            await self._persistently(lambda: self._endings.of_attempt(job.id, attempt))
        except (WrongState, JobNotFound):
            log.exception("a job ended in a state that it should not be in", job=job.id)
        except Exception:
            log.exception("the end of a job could not be recorded", job=job.id)
        finally:
            teller.cancel()
            running.runner.kill()
            del self._running[job.id]
            self.wake()

    async def _tell(self, running: _Running) -> None:
        """Keep the newest progress, twice a second; while the database is away it is dropped."""
        last = None
        while True:
            if running.progress is not last:
                last = running.progress
                keeping = asyncio.create_task(self._keep_progress(running))
                try:
                    await asyncio.shield(keeping)
                except (DatabaseAway, JobNotFound):
                    pass
                except asyncio.CancelledError:
                    # nothing older may be written after the last word
                    await asyncio.wait({keeping})
                    raise
            await asyncio.sleep(_TOLD_SECONDS)

    async def _keep_progress(self, running: _Running) -> None:
        if running.progress is None:
            return
        try:
            await asyncio.to_thread(self._store.report, running.job.id, running.progress)
        except (DatabaseAway, JobNotFound):
            raise
        except Exception:
            # what is told is worth less than what is done
            log.exception("progress could not be kept", job=running.job.id)

    def _stop(self, running: _Running, reason: str) -> None:
        """Stop a runner without waiting for it."""
        if running.runner.stopped_for is None:
            grace = self._settings.stop_grace_seconds if reason != "dismiss" else _DISMISS_GRACE_SECONDS
            task = asyncio.create_task(running.runner.stop(reason, grace))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    async def _persistently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat a call until the database and the disk take it: an outcome must not be lost to a pause of theirs."""
        while True:
            try:
                return await call()
            except (DatabaseAway, DiskError, OSError) as error:
                if self._closing:
                    raise
                log.warning("waiting to record a job", reason=str(error))
                await asyncio.sleep(_AWAY_SECONDS)
