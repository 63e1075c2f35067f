"""The service as a whole: its parts, made once from the settings and handed to whoever needs them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from hamfit.errors import DiskError, HamfitError, SpecError
from hamfit_service.api.hub import EventHub
from hamfit_service.api.metrics import Metrics
from hamfit_service.clusters.host import ClusterHost, choose_host
from hamfit_service.jobs.database import Database, DatabaseAway
from hamfit_service.jobs.endings import Endings
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.job import Job
from hamfit_service.jobs.ownership import claim_root, make_root
from hamfit_service.jobs.results import Results
from hamfit_service.jobs.store import JobStore, Submission
from hamfit_service.jobs.supervisor import Supervisor
from hamfit_service.processes import AbstractInputs
from hamfit_service.registry.models import ModelRegistry
from hamfit_service.security.confinement import Confinement
from hamfit_service.security.tokens import Identity, TokenStore
from hamfit_service.wire import Readiness

if TYPE_CHECKING:
    from hamfit_service.settings import Settings

_READY_SECONDS = 1.0

log = structlog.get_logger("hamfit.service")


class Forbidden(HamfitError):
    """Somebody asks for what only an owner or an administrator may do."""


class Busy(HamfitError):
    """The service cannot take a job now; the same request succeeds later."""


@dataclass(slots=True)
class Service:
    """Every part of a service. Made by `create`, begun by `start`, ended by `stop`, in this order and once."""

    settings: Settings
    folders: Folders
    database: Database
    store: JobStore
    tokens: TokenStore
    registry: ModelRegistry
    confinement: Confinement
    cluster: ClusterHost
    supervisor: Supervisor
    hub: EventHub
    metrics: Metrics
    results: Results
    _held: ExitStack = field(default_factory=ExitStack)
    _readiness: tuple[float, Readiness] | None = None
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def create(cls, settings: Settings) -> Service:
        """Open and migrate the database and take hold of the root.

        Raises:
            SpecError: settings that cannot be used; another service works on this root or database; an address that
                others can reach, and no token.
            DatabaseAway, DiskError: the database or the root cannot be used now.

        """
        folders = Folders(settings.root.absolute())
        make_root(folders)
        held = ExitStack()
        try:
            database = Database(settings.database)
            held.callback(database.close)
            held.enter_context(claim_root(folders, database))
            store = JobStore(database, queued_jobs_per_owner=settings.queued_jobs_per_owner)
            tokens = TokenStore(database)
            if not settings.is_loopback and not tokens.any_live():
                raise SpecError(
                    f"{settings.host} can be reached by others and there is no token; make one with `hamfit tokens"
                    " create`, or listen on 127.0.0.1"
                )
            registry = ModelRegistry(database, folders)
            confinement = Confinement(settings.data_roots, folders, store, registry)
            cluster = choose_host(settings)
            hub = EventHub()
            store.listen(hub.publish)
            endings = Endings(store, registry, folders, confinement, cluster, settings.max_attempts)
            supervisor = Supervisor(settings, store, folders, confinement, cluster, endings, tokens.running_limits)
            return cls(
                settings=settings,
                folders=folders,
                database=database,
                store=store,
                tokens=tokens,
                registry=registry,
                confinement=confinement,
                cluster=cluster,
                supervisor=supervisor,
                hub=hub,
                metrics=Metrics(),
                results=Results(folders, store, registry),
                _held=held,
            )
        except BaseException:
            held.close()
            raise

    async def start(self) -> None:
        """Start the cluster, and take up the jobs that wait; to be called in the loop that serves."""
        await self.cluster.start()
        await self.supervisor.start()
        log.info("service started", root=str(self.folders.root), cluster=self.cluster.kind)

    async def stop(self) -> None:
        """Hand running jobs over, stop the cluster, and let go of the database and the root."""
        try:
            await self.supervisor.stop()
        finally:
            try:
                await self.cluster.stop()
            finally:
                await asyncio.to_thread(self.close)
        log.info("service stopped")

    def close(self) -> None:
        """Let go of the database and the root; `stop` does so too."""
        self._held.close()

    def submit(
        self,
        process: str,
        inputs: AbstractInputs,
        identity: Identity,
        *,
        idempotency_key: str | None = None,
        request: Mapping[str, Any] | None = None,
    ) -> tuple[Job, bool]:
        """Accept a job; True beside it when the idempotency key was seen before.

        Raises:
            SpecError: a reference points to nothing that may be read; the message names the field.
            QueueFull, KeyReused: as `JobStore.submit`.
            Busy: the disk of the root cannot take a job now.

        """
        sent = dict(inputs.model_dump(mode="json")) if request is None else dict(request)
        submission = Submission(process, {}, identity.owner, identity.token_id, idempotency_key, sent)
        if (known := self.store.replay(submission)) is not None:
            # what it points to may be gone by now: the answer is the same all the same
            return known, True
        if (problem := self.supervisor.housekeeping.storage_problem) is not None:
            raise Busy(f"no job can be taken now: {problem}")
        pinned = {}
        for name, kind, reference in inputs.references():
            try:
                pinned[reference] = self.confinement.pinned(kind, reference)
                self.confinement(kind, pinned[reference])
            except (DatabaseAway, DiskError):
                raise
            except HamfitError as error:
                raise ReferenceNotUsable(name, str(error)) from error
        final = inputs.replaced(pinned).model_dump(mode="json")
        job, replayed = self.store.submit(
            Submission(process, final, identity.owner, identity.token_id, idempotency_key, sent),
            limit=identity.queued_jobs,
        )
        self.supervisor.accepted()
        return job, replayed

    def dismiss(self, job_id: str, identity: Identity) -> Job:
        """Stop a job and remove what it made.

        Raises:
            JobNotFound, WrongState: as `JobStore.ask_dismissal`.
            Forbidden: it is another's.

        """
        self.check_owner(self.store.get(job_id), identity)
        job = self.store.ask_dismissal(job_id)
        if not job.is_final:
            self.supervisor.wake()
        return job

    def check_owner(self, job: Job, identity: Identity) -> None:
        """Raises Forbidden unless the job is theirs or they are an administrator."""
        if job.owner != identity.owner and "admin" not in identity.scopes:
            raise Forbidden(f"job {job.id} belongs to {job.owner}; ask them, or use a token with the scope admin")

    async def readiness(self) -> Readiness:
        """Whether jobs can be taken and run; looked at once a second, however often it is asked."""
        async with self._looking:
            if self._readiness is None or time.monotonic() - self._readiness[0] >= _READY_SECONDS:
                self._readiness = (time.monotonic(), await self._look())
            return self._readiness[1]

    async def _look(self) -> Readiness:
        checks = {"database": "ok", "storage": "ok", "cluster": "ok"}
        try:
            await asyncio.to_thread(self.database.check)
        except DatabaseAway as error:
            checks["database"] = str(error)
        try:
            await asyncio.to_thread(self.folders.check, self.settings.min_free_bytes)
        except DiskError as error:
            checks["storage"] = self.confinement.redacted(str(error))
        if not (await self.cluster.state()).alive:
            checks["cluster"] = "the cluster is starting, or does not answer; jobs wait for it"
        return Readiness(ready=all(value == "ok" for value in checks.values()), checks=checks)


class ReferenceNotUsable(SpecError):
    """A reference of a request points to nothing that may be read."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
