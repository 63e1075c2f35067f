"""How an attempt at a job ends: what of it is recorded, and whether there is another.

The outcome that a runner left on disk counts before anything else. All methods may raise `DatabaseAway` or `DiskError`,
and may then be called again: they look at what is recorded before they record.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from hamfit.errors import ClusterError, DiskError, HamfitError
from hamfit_service.jobs.database import DatabaseAway
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.job import Failure, Job, JobProgress
from hamfit_service.jobs.logs import JobLog
from hamfit_service.jobs.store import JobStore
from hamfit_service.registry.models import ModelRegistry
from hamfit_service.security.confinement import Confinement

if TYPE_CHECKING:
    from hamfit_service.clusters.host import ClusterHost

_FIRST_BACKOFF_SECONDS = 2.0
_LONGEST_BACKOFF_SECONDS = 60.0
#: A runner may see that its cluster is gone before the service does.
_NOTICE_SECONDS = 5.0

_CLUSTER_LOST = "the cluster was lost; taken up where it was"

log = structlog.get_logger("hamfit.jobs")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that is over."""

    outcome: Mapping[str, Any] | None
    """What the runner left; None when it left nothing."""
    exit_code: int
    """Of the runner; negative for a signal."""
    stopped_for: str | None
    """Why the service stopped it, if it did: `dismiss`, `handover` or `cluster`."""
    generation: int
    """Of the cluster, when the attempt began."""


def _is_end(outcome: Mapping[str, Any], job: Job) -> bool:
    """Whether an outcome is of this attempt, and one that ends it; that of an earlier one has been recorded."""
    return outcome.get("status") in ("succeeded", "failed") and outcome.get("attempt") == job.attempts + 1


class Endings:
    """Records how attempts end."""

    def __init__(
        self,
        store: JobStore,
        registry: ModelRegistry,
        folders: Folders,
        confinement: Confinement,
        cluster: ClusterHost,
        max_attempts: int,
    ) -> None:
        self._store = store
        self._registry = registry
        self._folders = folders
        self._confinement = confinement
        self._cluster = cluster
        self._max_attempts = max_attempts

    async def of_attempt(self, job_id: str, attempt: Attempt) -> None:
        """Record the end of an attempt whose runner is gone."""
        job = await asyncio.to_thread(self._store.get, job_id)
        if job.is_final:
            return
        if job.target == "dismiss":
            await self.dismissed(job)
        elif attempt.outcome is not None and _is_end(attempt.outcome, job):
            await self._record(job, attempt.outcome, attempt.generation)
        elif attempt.stopped_for == "handover":
            await self._requeue(job, "handover", "handed over to the next service", counts=False)
        elif attempt.stopped_for == "cluster":
            await self._requeue(job, "retry", _CLUSTER_LOST, counts=False)
        else:
            code = attempt.exit_code
            name = f"signal {-code}" if code < 0 else f"exit code {code}"
            failure = Failure("system", "RunnerLost", f"the job's process ended without a result ({name})")
            await self._try_again(job, failure)

    async def without_runner(self, job: Job) -> None:
        """Record the outcome of a job that an earlier service left running, or let it run again."""
        outcome = await asyncio.to_thread(self._folders.job(job.id).outcome)
        if job.target == "dismiss":
            await self.dismissed(job)
        elif outcome is not None and _is_end(outcome, job):
            await self._record(job, outcome, None)
        else:
            await self._requeue(job, "handover", "taken up where it was", counts=False)

    async def failed(self, job: Job, failure: Failure) -> None:
        """running -> failed."""
        await asyncio.to_thread(self._store.fail, job.id, failure)
        JobLog(self._folders.job(job.id).log).write("error", failure.message)
        log.warning("job failed", job=job.id, process=job.process, kind=failure.kind, type=failure.type)

    async def dismissed(self, job: Job) -> None:
        """running -> dismissed: its runner is gone; remove what it made, and then say so.

        Whoever is told that a job is dismissed finds nothing of it, unless the disk refused. A service that ends
        between the two finds the job running, and wanted gone.
        """
        with suppress(DiskError):
            # what the disk refuses now is removed later, see `cleaning`
            await asyncio.to_thread(self._folders.job(job.id).remove_results)
        await asyncio.to_thread(self._store.dismissed, job.id)
        JobLog(self._folders.job(job.id).log).write("info", "dismissed")
        log.info("job dismissed", job=job.id)

    async def _record(self, job: Job, outcome: Mapping[str, Any], generation: int | None) -> None:
        if outcome["status"] == "succeeded":
            await self._succeeded(job, outcome["report"])
            return
        failure = Failure.from_json(outcome["failure"])
        failure = Failure(failure.kind, failure.type, self._confinement.redacted(failure.message))
        if failure.kind == "user":
            await self.failed(job, failure)
        elif failure.type == ClusterError.__name__ and await self._cluster_was_lost(generation):
            await self._requeue(job, "retry", _CLUSTER_LOST, counts=False)
        else:
            await self._try_again(job, failure)

    async def _cluster_was_lost(self, generation: int | None) -> bool:
        """Whether the whole cluster went away since that generation, and not only what this job did on it."""
        deadline = time.monotonic() + _NOTICE_SECONDS
        while generation == self._cluster.generation and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        return generation != self._cluster.generation

    async def _succeeded(self, job: Job, report: Mapping[str, Any]) -> None:
        """Publish where asked, and record it in the same transaction."""
        name = job.inputs.get("publish")
        folder = self._folders.job(job.id)
        if name is None:
            await asyncio.to_thread(self._store.succeed, job.id, report)
        else:
            progress = JobProgress("publishing", 99.0, message=f"publishing as {name}")
            await asyncio.to_thread(self._store.report, job.id, progress)
            try:
                prepared = await asyncio.to_thread(self._registry.prepare, name, folder, job.id)
            except (DatabaseAway, DiskError):
                raise
            except HamfitError as error:
                message = self._confinement.redacted(f"the model was fitted but cannot be published: {error}")
                await self.failed(job, Failure("system", type(error).__name__, message))
                return
            await asyncio.to_thread(
                self._store.succeed, job.id, report, partial(self._registry.insert, prepared=prepared, owner=job.owner)
            )
        JobLog(folder.log).write("info", "succeeded")
        log.info("job succeeded", job=job.id, process=job.process)

    async def _try_again(self, job: Job, failure: Failure) -> None:
        """Wait a little longer after each failure of the system, and give up after some that got no further.

        So a long job outlives any number of lost machines, and one that ends its own process does not run for ever.
        """
        stalls = job.stalls_at_failure
        if stalls >= self._max_attempts:
            await self.failed(job, failure)
            return
        wait = min(_FIRST_BACKOFF_SECONDS * 2 ** (stalls - 1), _LONGEST_BACKOFF_SECONDS)
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
