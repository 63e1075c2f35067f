"""The reconciler: moves every job from where it is to where it should be, as long as the service lives.

It claims waiting jobs in a fair order, gives each a runner, keeps what the runner tells, and records how it ended. It
changes the database before it acts and trusts only what is on disk, so that it can be killed at any moment: the next
one finds jobs that are running without a runner, takes their outcome where there is one, and else begins them again
where their checkpoints are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import structlog

from hamfit.errors import ClusterError, DiskError, HamfitError
from hamfit_service.jobs.database import DatabaseAway
from hamfit_service.jobs.fairness import next_to_run
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.job import Failure, Job, JobProgress
from hamfit_service.jobs.logs import JobLog
from hamfit_service.jobs.runner_process import RunnerPool, RunnerProcess
from hamfit_service.jobs.store import JobNotFound, JobStore, WrongState
from hamfit_service.processes import find_process
from hamfit_service.registry.models import ModelRegistry
from hamfit_service.security.confinement import Confinement
from hamfit_service.settings import Settings

if TYPE_CHECKING:
    from hamfit_service.clusters.host import ClusterHost

T = TypeVar("T")

_LOOK_SECONDS = 1.0
_AWAY_SECONDS = 1.0
_TOLD_SECONDS = 0.5
_FIRST_BACKOFF_SECONDS = 2.0
_LONGEST_BACKOFF_SECONDS = 60.0
#: How long a job that failed on a full disk may keep what it has written while the disk stays full.
_STORAGE_PATIENCE_SECONDS = 600.0
#: Tasks of a dismissed job may still be writing for this long; its left-overs are removed once more after that.
_SETTLING = timedelta(seconds=30)
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
    told: float = 0.0
    phase: str = ""
    progress: JobProgress | None = None


class Supervisor:
    """Runs jobs. Lives in one event loop; calls of the database happen in threads."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        registry: ModelRegistry,
        folders: Folders,
        confinement: Confinement,
        cluster: ClusterHost,
        running_limits: Callable[[], Mapping[str, int]],
    ) -> None:
        self._settings = settings
        self._store = store
        self._registry = registry
        self._folders = folders
        self._confinement = confinement
        self._cluster = cluster
        self._running_limits = running_limits
        self._pool = RunnerPool()
        self._running: dict[str, _Running] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._storage_failed_at: float | None = None
        self.storage_problem: str | None = None
        """What keeps jobs from starting, in one sentence."""

    async def start(self) -> None:
        """Take over what an earlier service left, and begin to work."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._work())

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
                    await self._recover_one(job)
                except (DatabaseAway, DiskError, OSError):
                    raise
                except Exception:
                    log.exception("a job without a runner could not be taken up", job=job.id)

    async def _recover_one(self, job: Job) -> None:
        outcome = await asyncio.to_thread(self._folders.job(job.id).outcome)
        if outcome is not None and outcome.get("status") in ("succeeded", "failed"):
            await self._record(job, outcome)
        elif job.target == "dismiss":
            await self._dismissed(job)
        else:
            await self._requeue(job, "handover", "taken up where it was", counts=False)

    async def _reconcile(self) -> None:
        for job in await asyncio.to_thread(self._store.to_dismiss):
            running = self._running.get(job.id)
            if running is None:
                await self._dismissed(job)
            else:
                self._stop(running, "dismiss")
        for running in self._running.values():
            if running.generation != self._cluster.generation:
                self._stop(running, "cluster")
        await self._clean()
        await self._check_storage()
        if self.storage_problem is None and self._cluster.address is not None:
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
                failure = Failure("user", type(error).__name__, str(error))
                await self._record(job, {"status": "failed", "failure": failure.to_json()})
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
        }

    async def _watch(self, running: _Running, task: Mapping[str, Any]) -> None:
        """From the beginning of an attempt to its record in the database."""
        job = running.job
        teller = asyncio.create_task(self._tell(running))
        try:
            code = await running.runner.run(task, lambda progress: setattr(running, "progress", progress))
        finally:
            teller.cancel()
            with suppress(asyncio.CancelledError):
                await teller
        try:
            outcome = await self._persistently(lambda: asyncio.to_thread(self._folders.job(job.id).outcome))
            await self._persistently(lambda: self._ended(running, outcome, code))
        except (WrongState, JobNotFound):
            log.exception("a job ended in a state that it should not be in", job=job.id)
        except Exception:
            log.exception("the end of a job could not be recorded", job=job.id)
        finally:
            del self._running[job.id]
            self.wake()

    async def _tell(self, running: _Running) -> None:
        """Keep the newest progress, twice a second; while the database is away it is dropped."""
        last = None
        while True:
            progress = running.progress
            if progress is not None and progress is not last:
                last = progress
                with suppress(DatabaseAway, JobNotFound):
                    await asyncio.to_thread(self._store.report, running.job.id, progress)
            await asyncio.sleep(_TOLD_SECONDS)

    async def _ended(self, running: _Running, outcome: Mapping[str, Any] | None, code: int) -> None:
        """Record how an attempt ended."""
        job = await asyncio.to_thread(self._store.get, running.job.id)
        if job.is_final:
            return
        status = None if outcome is None else outcome.get("status")
        if job.target == "dismiss":
            await self._dismissed(job)
        elif outcome is not None and status in ("succeeded", "failed"):
            await self._record(job, outcome, lost_cluster=running.generation != self._cluster.generation)
        elif running.runner.stopped_for == "handover":
            await self._requeue(job, "handover", "handed over to the next service", counts=False)
        elif running.runner.stopped_for == "cluster":
            await self._requeue(job, "retry", "the cluster was lost; taken up where it was", counts=False)
        else:
            name = f"signal {-code}" if code < 0 else f"exit code {code}"
            failure = Failure("system", "RunnerLost", f"the job's process ended without a result ({name})")
            await self._try_again(job, failure)

    async def _record(self, job: Job, outcome: Mapping[str, Any], *, lost_cluster: bool = False) -> None:
        if outcome["status"] == "succeeded":
            await self._succeeded(job, outcome["report"])
            return
        failure = Failure.from_json(outcome["failure"])
        failure = Failure(failure.kind, failure.type, self._confinement.redacted(failure.message))
        if failure.kind == "user":
            await self._failed(job, failure)
        elif failure.type == ClusterError.__name__ and lost_cluster:
            await self._requeue(job, "retry", "the cluster was lost; taken up where it was", counts=False)
        else:
            await self._try_again(job, failure)

    async def _succeeded(self, job: Job, report: Mapping[str, Any]) -> None:
        """Publish where asked, and record it in the same transaction."""
        name = job.inputs.get("publish")
        folder = self._folders.job(job.id)
        if name is None:
            await asyncio.to_thread(self._store.succeed, job.id, report)
        else:
            progress = JobProgress("publishing", 99.0, message=f"publishing as {name}")
            await asyncio.to_thread(self._store.report, job.id, progress)
            prepared = await asyncio.to_thread(self._registry.prepare, name, folder, job.id)
            await asyncio.to_thread(
                self._store.succeed, job.id, report, partial(self._registry.insert, prepared=prepared, owner=job.owner)
            )
        JobLog(folder.log).write("info", "succeeded")
        log.info("job succeeded", job=job.id, process=job.process)

    async def _failed(self, job: Job, failure: Failure) -> None:
        await asyncio.to_thread(self._store.fail, job.id, failure)
        JobLog(self._folders.job(job.id).log).write("error", failure.message)
        log.warning("job failed", job=job.id, process=job.process, kind=failure.kind, type=failure.type)

    async def _try_again(self, job: Job, failure: Failure) -> None:
        """Wait a little longer after each failure of the system, and give up after some."""
        if job.attempts + 1 >= self._settings.max_attempts:
            await self._failed(job, failure)
            return
        wait = min(_FIRST_BACKOFF_SECONDS * 2**job.attempts, _LONGEST_BACKOFF_SECONDS)
        await self._requeue(
            job,
            "retry",
            f"{failure.message}; tried again in {wait:.0f} s",
            failure=failure,
            not_before=datetime.now(UTC) + timedelta(seconds=wait),
            counts=True,
        )

    async def _requeue(self, job: Job, kind: Any, message: str, **more: Any) -> None:
        await asyncio.to_thread(lambda: self._store.requeue(job.id, kind=kind, message=message, **more))
        JobLog(self._folders.job(job.id).log).write("warning", message)
        log.info("job waits again", job=job.id, reason=message)

    async def _dismissed(self, job: Job) -> None:
        """Its runner is gone: remove what it made, and say so."""
        await asyncio.to_thread(self._folders.job(job.id).remove_results)
        await asyncio.to_thread(self._store.dismissed, job.id)
        JobLog(self._folders.job(job.id).log).write("info", "dismissed")
        log.info("job dismissed", job=job.id)

    async def _clean(self) -> None:
        """Remove what jobs at their end left: workspaces of failed ones, everything of dismissed ones."""
        for job_id in await asyncio.to_thread(self._store.uncleaned):
            job = await asyncio.to_thread(self._store.get, job_id)
            folder = self._folders.job(job_id)
            if job.state == "dismissed":
                await asyncio.to_thread(folder.remove_results)
                if job.finished_at is not None and datetime.now(UTC) - job.finished_at < _SETTLING:
                    continue
            else:
                await asyncio.to_thread(folder.remove_leftovers)
            await asyncio.to_thread(self._store.cleaned, job_id)

    async def _check_storage(self) -> None:
        """Hold jobs back while the disk is full or read-only; in the end, let those go that may have filled it."""
        try:
            await asyncio.to_thread(self._folders.check, self._settings.min_free_bytes)
        except (DiskError, OSError) as error:
            self.storage_problem = self._confinement.redacted(str(error))
        else:
            self.storage_problem, self._storage_failed_at = None, None
            return
        now = time.monotonic()
        self._storage_failed_at = self._storage_failed_at or now
        if now - self._storage_failed_at < _STORAGE_PATIENCE_SECONDS:
            return
        for job in await asyncio.to_thread(self._store.runnable):
            if job.failure is not None and job.failure.type == DiskError.__name__:
                await asyncio.to_thread(self._store.claim, job.id)
                await self._failed(job, job.failure)

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
