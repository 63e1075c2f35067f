"""What jobs leave behind at their end, and when it is removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from hamfit.errors import DiskError
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.steps import LeftOver
from hamfit_service.jobs.store import JobStore

SETTLING: Final = timedelta(seconds=30)
"""Tasks of a job that ended may still be writing for this long; until then what they write is removed again."""

log = structlog.get_logger("hamfit.jobs")


class Cleaner:
    """Removes workspaces of jobs that succeeded or failed, and everything that dismissed ones made.

    Used by one thread at a time.
    """

    def __init__(self, store: JobStore, folders: Folders) -> None:
        self._store = store
        self._folders = folders
        self._refused: set[str] = set()

    def clean(self) -> None:
        """Remove what is there now; what a disk refuses stays for the next time. Raises DatabaseAway."""
        found = self._store.uncleaned()
        self._refused &= {left.job_id for left in found}
        now = datetime.now(UTC)
        for left in found:
            try:
                self._remove(left)
            except DiskError as error:
                if left.job_id not in self._refused:
                    self._refused.add(left.job_id)
                    log.warning("left-overs stay for now", job=left.job_id, reason=str(error))
                continue
            if now - left.finished_at >= SETTLING:
                self._store.cleaned(left.job_id)

    def _remove(self, left: LeftOver) -> None:
        folder = self._folders.job(left.job_id)
        if left.state == "dismissed":
            folder.remove_results()
        else:
            folder.remove_leftovers()
