"""The steps of jobs that the service itself makes: what can run, is claimed, goes on, ends and is cleaned up.

Every method is one transaction. All may be called from any thread and raise `DatabaseAway` while the database does not
answer. What a method returned is on disk. Only one service works on a database (see `jobs.ownership`), so a job is
claimed by one reconciler; the state is checked in each transaction all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from hamfit_service.jobs.database import Database
from hamfit_service.jobs.job import Failure, Job, JobEvent, JobProgress, State
from hamfit_service.jobs.rows import WrongState, as_job, find_row, move, record, utc_now
from hamfit_service.jobs.tables import JobRow

_DISMISSED = JobProgress("dismissed", 0.0, message="dismissed")
#: More than any owner can have begun in one look at the jobs.
_RUNNABLE_OF_AN_OWNER = 16
#: Left-overs looked at in one go.
_LEFT_OVERS = 500

Listener = Callable[[JobEvent | None, Job], None]
"""Hears of every change after it is on disk: the event, or None where only progress changed. Must not block."""


@dataclass(frozen=True, slots=True)
class LeftOver:
    """A job that ended and has left something behind."""

    job_id: str
    """Its name."""
    state: State
    """How it ended."""
    finished_at: datetime
    """When, UTC."""


class JobSteps:
    """The jobs of a service as its reconciler sees them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every change, in the thread that made it."""
        self._listeners.append(listener)

    def reclaim(self) -> Sequence[Job]:
        """Jobs that are running in the database. Of those without a runner the caller takes the outcome, or runs them
        again: an earlier service left them, or they could not be begun.
        """
        with self._database.reading() as connection:
            query = select(JobRow.__table__).where(JobRow.state == "running").order_by(JobRow.submitted_at, JobRow.id)
            return [as_job(row) for row in connection.execute(query)]

    def runnable(self) -> Sequence[Job]:
        """Jobs that may run now, in the order they were submitted: the first ones of every owner, who take turns."""
        with self._database.reading() as connection:
            place = func.row_number().over(partition_by=JobRow.owner, order_by=(JobRow.submitted_at, JobRow.id))
            first = (
                select(JobRow.id, place.label("place"))
                .where(
                    JobRow.state == "accepted",
                    JobRow.target == "run",
                    or_(JobRow.not_before.is_(None), JobRow.not_before <= utc_now()),
                )
                .subquery()
            )
            query = (
                select(JobRow.__table__)
                .join(first, JobRow.id == first.c.id)
                .where(first.c.place <= _RUNNABLE_OF_AN_OWNER)
                .order_by(JobRow.submitted_at, JobRow.id)
            )
            return [as_job(row) for row in connection.execute(query)]

    def to_dismiss(self) -> Sequence[Job]:
        """Running jobs that should stop."""
        with self._database.reading() as connection:
            query = select(JobRow.__table__).where(JobRow.state == "running", JobRow.target == "dismiss")
            return [as_job(row) for row in connection.execute(query)]

    def claim(self, job_id: str) -> Job:
        """accepted -> running. Raises WrongState when it is not waiting to run any more."""
        with self._database.writing() as session:
            row = find_row(session, job_id)
            if row.state != "accepted" or row.target != "run":
                raise WrongState(f"job {job_id} is {row.state} and wanted to {row.target}; it cannot be begun")
            row.started_at = row.started_at or utc_now()
            row.not_before = None
            percent = float(row.progress.get("percent", 0.0))
            event = move(session, row, "running", JobProgress("provisioning", percent, message="getting ready"))
            job = as_job(row)
        self._tell(event, job)
        return job

    def report(self, job_id: str, progress: JobProgress) -> None:
        """Keep the progress of a running job; a new phase is an event. Of a job that does not run it is dropped."""
        with self._database.writing() as session:
            row = find_row(session, job_id)
            if row.state != "running":
                return
            now = utc_now()
            new = progress.phase != row.progress["phase"]
            row.progress = progress.to_json()
            row.updated_at = now
            event = record(session, job_id, "phase", progress.to_json(), now) if new else None
            job = as_job(row)
        self._tell(event, job)

    def requeue(
        self,
        job_id: str,
        *,
        kind: Literal["retry", "handover"],
        message: str,
        failure: Failure | None = None,
        not_before: datetime | None = None,
        counts: bool = True,
    ) -> Job:
        """running -> accepted, to be taken up where it was; ``counts`` says whether this was a failed attempt.

        A job that is wanted gone becomes dismissed instead, as it does in `succeed` and `fail`.
        """
        with self._database.writing() as session:
            row = find_row(session, job_id)
            again = None
            if row.target == "dismiss":
                event = move(session, row, "dismissed", _DISMISSED)
            else:
                if counts:
                    stalls = as_job(row).stalls_at_failure
                    if stalls == 1:
                        row.stalled_at = float(row.progress["percent"])
                    row.attempts, row.stalls = row.attempts + 1, stalls
                row.failure = None if failure is None else failure.to_json()
                row.not_before = not_before
                again = record(session, job_id, kind, {"message": message, "attempts": row.attempts}, utc_now())
                percent = float(row.progress.get("percent", 0.0))
                event = move(session, row, "accepted", JobProgress("queued", percent, message=message))
            job = as_job(row)
        if again is not None:
            self._tell(again, job)
        self._tell(event, job)
        return job

    def succeed(
        self,
        job_id: str,
        result: Mapping[str, Any],
        also: Callable[[Session, datetime], object] = lambda session, now: None,
    ) -> Job:
        """running -> succeeded; ``also`` writes more in the same transaction, such as a published model."""
        with self._database.writing() as session:
            row = find_row(session, job_id)
            if row.target == "dismiss":
                event = move(session, row, "dismissed", _DISMISSED)
            else:
                row.result = dict(result)
                row.failure = None
                also(session, utc_now())
                event = move(session, row, "succeeded", JobProgress("finished", 100.0, message="done"))
            job = as_job(row)
        self._tell(event, job)
        return job

    def fail(self, job_id: str, failure: Failure) -> Job:
        """running -> failed."""
        with self._database.writing() as session:
            row = find_row(session, job_id)
            if row.target == "dismiss":
                event = move(session, row, "dismissed", _DISMISSED)
            else:
                row.failure = failure.to_json()
                percent = float(row.progress.get("percent", 0.0))
                event = move(session, row, "failed", JobProgress("failed", percent, message=failure.message))
            job = as_job(row)
        self._tell(event, job)
        return job

    def dismissed(self, job_id: str) -> Job:
        """running -> dismissed, once its work has really stopped."""
        with self._database.writing() as session:
            row = find_row(session, job_id)
            event = move(session, row, "dismissed", _DISMISSED)
            job = as_job(row)
        self._tell(event, job)
        return job

    def uncleaned(self) -> Sequence[LeftOver]:
        """Jobs that ended and whose left-overs are still to be removed, the first to end first; not all at once."""
        with self._database.reading() as connection:
            query = (
                select(JobRow.id, JobRow.state, JobRow.finished_at)
                .where(JobRow.cleaned.is_(False), JobRow.finished_at.is_not(None))
                .order_by(JobRow.finished_at)
                .limit(_LEFT_OVERS)
            )
            return [
                LeftOver(job_id, cast(State, state), finished_at)
                for job_id, state, finished_at in connection.execute(query)
                if finished_at is not None
            ]

    def cleaned(self, job_id: str) -> None:
        """Note that the left-overs of a final job are gone."""
        with self._database.writing() as session:
            find_row(session, job_id).cleaned = True

    def _tell(self, event: JobEvent | None, job: Job) -> None:
        for listener in self._listeners:
            listener(event, job)
