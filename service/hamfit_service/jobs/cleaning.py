"""What jobs leave behind at their end, and when it is removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from hamfit.errors import DiskError
from hamfit_service.jobs.database import DatabaseAway
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.steps import LeftOver
from hamfit_service.jobs.store import JobStore

SETTLING: Final = timedelta(seconds=30)
"""Tasks of a dismissed job may still be writing for this long; what it made is removed once more after that."""

log = structlog.get_logger("hamfit.jobs")


class Cleaner:
    """Removes workspaces of jobs that succeeded or failed, and everything that dismissed ones made.

    Used by one thread at a time.
    """

    def __init__(self, store: JobStore, folders: Folders) -> None:
        self._store = store
        self._folders = folders
        self._emptied: set[str] = set()

    def clean(self) -> None:
        """Remove what can be removed now; what a disk refuses stays for the next time. Raises DatabaseAway."""
        found = self._store.uncleaned()
        self._emptied &= {left.job_id for left in found}
        now = datetime.now(UTC)
        for left in found:
            try:
                if self._is_removed(left, now):
                    self._store.cleaned(left.job_id)
            except (DatabaseAway, DiskError, OSError) as error:
                log.warning("left-overs stay for now", job=left.job_id, reason=str(error))

    def _is_removed(self, left: LeftOver, now: datetime) -> bool:
        """Remove them; whether that is the last of it."""
        folder = self._folders.job(left.job_id)
        if left.state != "dismissed":
            folder.remove_leftovers()
            return True
        is_settled = now - left.finished_at >= SETTLING
        if is_settled or left.job_id not in self._emptied:
            folder.remove_results()
            self._emptied.add(left.job_id)
        return is_settled
