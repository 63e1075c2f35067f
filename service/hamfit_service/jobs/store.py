"""Jobs as clients ask for them: accepted, listed, followed and dismissed.

As in `jobs.steps`, every method is one transaction and may raise `DatabaseAway`; what it returned is on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.exc import IntegrityError

from hamfit.errors import HamfitError
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.job import QUEUED, Job, JobEvent, JobProgress, State, new_job_id
from hamfit_service.jobs.rows import WrongState, as_event, as_job, find_row, move, read_job, record, utc_now
from hamfit_service.jobs.steps import JobSteps
from hamfit_service.jobs.tables import EventRow, JobRow


class QueueFull(HamfitError):
    """An owner has as many unfinished jobs as allowed."""


class KeyReused(HamfitError):
    """An idempotency key came again with another request."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked request for a job."""

    process: str
    inputs: Mapping[str, Any]
    """JSON of the inputs, references pinned."""
    owner: str
    token_id: str | None = None
    idempotency_key: str | None = None
    request: Mapping[str, Any] | None = None
    """What was sent, before references were pinned; by default the inputs. Two requests are the same if this is."""

    @property
    def digest(self) -> str:
        """Digest of the request."""
        content = {"process": self.process, "request": self.inputs if self.request is None else self.request}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, the newest first."""

    jobs: Sequence[Job]
    next: str | None
    """Where the next page begins; None at the end."""


class JobStore(JobSteps):
    """The jobs of a service: what clients may ask, beside the steps that the service makes."""

    def __init__(self, database: Database, *, queued_jobs_per_owner: int = 200) -> None:
        super().__init__(database)
        self._limit = queued_jobs_per_owner

    def submit(self, submission: Submission, *, limit: int | None = None) -> tuple[Job, bool]:
        """Accept a job; with an idempotency key seen before, the job it made, and True.

        Args:
            submission: the checked request.
            limit: unfinished jobs allowed to this owner; by default the store's.

        Raises:
            KeyReused: the key came before with another request.
            QueueFull: the owner has too many unfinished jobs.

        """
        found = self.replay(submission)
        if found is not None:
            return found, True
        now = utc_now()
        try:
            with self._database.writing() as session:
                self._database.take_turn(session, submission.owner)
                active = select(func.count()).where(
                    JobRow.owner == submission.owner, JobRow.state.in_(("accepted", "running"))
                )
                allowed = self._limit if limit is None else limit
                count = session.scalar(active) or 0
                if count >= allowed:
                    raise QueueFull(
                        f"{submission.owner} has {count} unfinished jobs, the most allowed; wait for or dismiss one"
                    )
                row = JobRow(
                    id=new_job_id(),
                    process=submission.process,
                    owner=submission.owner,
                    token_id=submission.token_id,
                    inputs=dict(submission.inputs),
                    idempotency_key=submission.idempotency_key,
                    request_digest=submission.digest,
                    state="accepted",
                    target="run",
                    progress=QUEUED.to_json(),
                    attempts=0,
                    stalls=0,
                    stalled_at=0.0,
                    submitted_at=now,
                    updated_at=now,
                    cleaned=False,
                )
                session.add(row)
                session.flush()
                event = record(session, row.id, "state", {"state": "accepted", "phase": "queued"}, now)
                job = as_job(row)
        except IntegrityError:
            # the same key came twice at once, and the other was first
            found = self.replay(submission)
            if found is None:
                raise
            return found, True
        self._tell(event, job)
        return job, False

    def replay(self, submission: Submission) -> Job | None:
        """The job that this idempotency key has made; None when it is new or there is none. Raises KeyReused."""
        if submission.idempotency_key is None:
            return None
        with self._database.reading() as connection:
            query = select(JobRow.__table__).where(
                JobRow.owner == submission.owner, JobRow.idempotency_key == submission.idempotency_key
            )
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            if row.request_digest != submission.digest:
                raise KeyReused(
                    f"Idempotency-Key '{submission.idempotency_key}' was used for another request (job {row.id});"
                    " send a new key with a new request"
                )
            return as_job(row)

    def get(self, job_id: str) -> Job:
        """The job; raises JobNotFound."""
        with self._database.reading() as connection:
            return read_job(connection, job_id)

    def page(
        self,
        *,
        owner: str | None = None,
        states: Sequence[State] = (),
        process: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> JobPage:
        """Jobs from the newest on; ``after`` is the name of the last job of the page before.

        Raises JobNotFound when ``after`` is no job.
        """
        with self._database.reading() as connection:
            query = select(JobRow.__table__).order_by(JobRow.submitted_at.desc(), JobRow.id.desc()).limit(limit + 1)
            if owner is not None:
                query = query.where(JobRow.owner == owner)
            if states:
                query = query.where(JobRow.state.in_(states))
            if process is not None:
                query = query.where(JobRow.process == process)
            if after is not None:
                last = read_job(connection, after)
                query = query.where(tuple_(JobRow.submitted_at, JobRow.id) < tuple_(last.submitted_at, last.id))
            jobs = [as_job(row) for row in connection.execute(query)]
        more = len(jobs) > limit
        return JobPage(jobs[:limit], jobs[limit - 1].id if more else None)

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> Sequence[JobEvent]:
        """What happened to a job after the event of that sequence number; raises JobNotFound."""
        with self._database.reading() as connection:
            read_job(connection, job_id)
            query = (
                select(EventRow.__table__)
                .where(EventRow.job_id == job_id, EventRow.sequence > after)
                .order_by(EventRow.sequence)
                .limit(limit)
            )
            return [as_event(row) for row in connection.execute(query)]

    def ask_dismissal(self, job_id: str) -> Job:
        """Want the job gone: one that waits is dismissed at once, one that runs as soon as it has stopped.

        Raises:
            JobNotFound: there is no such job.
            WrongState: it has already succeeded or failed.

        """
        with self._database.writing() as session:
            row = find_row(session, job_id)
            if row.state in ("succeeded", "failed"):
                raise WrongState(f"job {job_id} has {row.state}, and what it made is kept; there is nothing to dismiss")
            row.target = "dismiss"
            row.updated_at = utc_now()
            event = None
            if row.state == "accepted":
                event = move(
                    session, row, "dismissed", JobProgress("dismissed", 0.0, message="dismissed while it waited")
                )
                # what never ran has left nothing
                row.cleaned = row.started_at is None
            job = as_job(row)
        self._tell(event, job)
        return job

    def counts(self) -> Mapping[str, int]:
        """Number of jobs in each state."""
        with self._database.reading() as connection:
            query = select(JobRow.state, func.count()).group_by(JobRow.state)
            return {str(row[0]): int(row[1]) for row in connection.execute(query)}
