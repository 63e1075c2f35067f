"""What is seen to once a second beside the jobs: left-overs are removed, and the disk is tried."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from hamfit.errors import DiskError
from hamfit_service.jobs.cleaning import Cleaner
from hamfit_service.jobs.database import DatabaseAway
from hamfit_service.jobs.endings import Endings
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.rows import WrongState
from hamfit_service.jobs.store import JobStore
from hamfit_service.security.confinement import Confinement

if TYPE_CHECKING:
    from hamfit_service.settings import Settings

_EVERY_SECONDS = 1.0
#: How long a job that failed on a full disk may keep what it has written while the disk stays full.
_STORAGE_PATIENCE_SECONDS = 600.0

log = structlog.get_logger("hamfit.jobs")


class Housekeeping:
    """Keeps the root of a service in order. Lives in the loop of the reconciler."""

    def __init__(
        self, settings: Settings, store: JobStore, folders: Folders, confinement: Confinement, endings: Endings
    ) -> None:
        self._settings = settings
        self._store = store
        self._folders = folders
        self._confinement = confinement
        self._endings = endings
        self._cleaner = Cleaner(store, folders)
        self._cleaning: asyncio.Task[None] | None = None
        self._looked_at = -math.inf
        self._failed_at: float | None = None
        self.storage_problem: str | None = None
        """What keeps jobs from starting, in one sentence."""

    async def look(self) -> None:
        """See to it, unless that was done a moment ago. Raises DatabaseAway."""
        if time.monotonic() - self._looked_at < _EVERY_SECONDS:
            return
        self._looked_at = time.monotonic()
        if self._cleaning is None or self._cleaning.done():
            # beside the rest: a large store takes a while to remove
            self._cleaning = asyncio.create_task(self._clean())
        await self._check_storage()

    async def stop(self, seconds: float) -> None:
        """Wait so long for what is being removed: the next service goes on with it."""
        if self._cleaning is not None:
            await asyncio.wait({self._cleaning}, timeout=seconds)

    async def _clean(self) -> None:
        try:
            await asyncio.to_thread(self._cleaner.clean)
        except DatabaseAway:
            return
        except Exception:
            log.exception("cleaning failed")

    async def _check_storage(self) -> None:
        """Hold jobs back while the disk is full or read-only; in the end, let those go that may have filled it."""
        try:
            await asyncio.to_thread(self._folders.check, self._settings.min_free_bytes)
        except (DiskError, OSError) as error:
            self.storage_problem = self._confinement.redacted(str(error))
        else:
            self.storage_problem, self._failed_at = None, None
            return
        now = time.monotonic()
        self._failed_at = self._failed_at or now
        if now - self._failed_at < _STORAGE_PATIENCE_SECONDS:
            return
        for job in await asyncio.to_thread(self._store.runnable):
            if job.failure is not None and job.failure.type == DiskError.__name__:
                with suppress(WrongState):
                    await asyncio.to_thread(self._store.claim, job.id)
                    await self._endings.failed(job, job.failure)
