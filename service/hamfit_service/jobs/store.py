"""Jobs in the database: every method is one transaction, and every state is reached by the table of transitions.

All methods may be called from any thread and raise `DatabaseAway` while the database does not answer. What a method
returned is on disk. Only one service works on a database (see `jobs.ownership`), so a job is claimed by one reconciler;
the state is checked in each transaction all the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from hamfit.errors import HamfitError
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.job import (
    FINAL,
    QUEUED,
    TRANSITIONS,
    Failure,
    Job,
    JobEvent,
    JobProgress,
    State,
    Target,
    new_job_id,
)
from hamfit_service.jobs.tables import EventRow, JobRow


class JobNotFound(HamfitError):
    """There is no job of that name."""


class QueueFull(HamfitError):
    """An owner has as many unfinished jobs as allowed."""


class KeyReused(HamfitError):
    """An idempotency key came again with another request."""


class WrongState(HamfitError):
    """A job is in a state that the call does not allow."""


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


Listener = Callable[[JobEvent | None, Job], None]
"""Hears of every change after it is on disk: the event, or None where only progress changed. Must not block."""


class JobStore:
    """The jobs of a service."""

    def __init__(self, database: Database, *, queued_jobs_per_owner: int = 200) -> None:
        self._database = database
        self._limit = queued_jobs_per_owner
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every change, in the thread that made it."""
        self._listeners.append(listener)

    # What clients ask for.

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
        now = _now()
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
                    submitted_at=now,
                    updated_at=now,
                    cleaned=False,
                )
                session.add(row)
                session.flush()
                event = _record(session, row.id, "state", {"state": "accepted", "phase": "queued"}, now)
                job = _job(row)
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
        with self._database.reading() as session:
            query = select(JobRow).where(
                JobRow.owner == submission.owner, JobRow.idempotency_key == submission.idempotency_key
            )
            row = session.scalar(query)
            if row is None:
                return None
            if row.request_digest != submission.digest:
                raise KeyReused(
                    f"Idempotency-Key '{submission.idempotency_key}' was used for another request (job {row.id});"
                    " send a new key with a new request"
                )
            return _job(row)

    def get(self, job_id: str) -> Job:
        """The job; raises JobNotFound."""
        with self._database.reading() as session:
            return _job(_row(session, job_id))

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
        with self._database.reading() as session:
            query = select(JobRow).order_by(JobRow.submitted_at.desc(), JobRow.id.desc()).limit(limit + 1)
            if owner is not None:
                query = query.where(JobRow.owner == owner)
            if states:
                query = query.where(JobRow.state.in_(states))
            if process is not None:
                query = query.where(JobRow.process == process)
            if after is not None:
                last = _row(session, after)
                query = query.where(tuple_(JobRow.submitted_at, JobRow.id) < tuple_(last.submitted_at, last.id))
            jobs = [_job(row) for row in session.scalars(query)]
        more = len(jobs) > limit
        return JobPage(jobs[:limit], jobs[limit - 1].id if more else None)

    def events(self, job_id: str, after: int = 0, limit: int = 1000) -> Sequence[JobEvent]:
        """What happened to a job after the event of that sequence number; raises JobNotFound."""
        with self._database.reading() as session:
            _row(session, job_id)
            query = (
                select(EventRow)
                .where(EventRow.job_id == job_id, EventRow.sequence > after)
                .order_by(EventRow.sequence)
                .limit(limit)
            )
            return [_event(row) for row in session.scalars(query)]

    def ask_dismissal(self, job_id: str) -> Job:
        """Want the job gone: one that waits is dismissed at once, one that runs as soon as it has stopped.

        Raises:
            JobNotFound: there is no such job.
            WrongState: it has already succeeded or failed.

        """
        with self._database.writing() as session:
            row = _row(session, job_id, lock=True)
            if row.state in ("succeeded", "failed"):
                raise WrongState(f"job {job_id} has {row.state}, and what it made is kept; there is nothing to dismiss")
            row.target = "dismiss"
            row.updated_at = _now()
            event = None
            if row.state == "accepted":
                event = _move(
                    session, row, "dismissed", JobProgress("dismissed", 0.0, message="dismissed while it waited")
                )
            job = _job(row)
        self._tell(event, job)
        return job

    def counts(self) -> Mapping[str, int]:
        """Number of jobs in each state."""
        with self._database.reading() as session:
            query = select(JobRow.state, func.count()).group_by(JobRow.state)
            return {str(row[0]): int(row[1]) for row in session.execute(query)}

    # What the reconciler does.

    def reclaim(self) -> Sequence[Job]:
        """Jobs that are running in the database. Of those without a runner the caller takes the outcome, or runs them
        again: an earlier service left them, or they could not be begun.
        """
        with self._database.reading() as session:
            query = select(JobRow).where(JobRow.state == "running").order_by(JobRow.submitted_at, JobRow.id)
            return [_job(row) for row in session.scalars(query)]

    def runnable(self) -> Sequence[Job]:
        """Jobs that may run now, in the order they were submitted: the first ones of every owner, who take turns."""
        with self._database.reading() as session:
            place = func.row_number().over(partition_by=JobRow.owner, order_by=(JobRow.submitted_at, JobRow.id))
            first = (
                select(JobRow.id, place.label("place"))
                .where(
                    JobRow.state == "accepted",
                    JobRow.target == "run",
                    or_(JobRow.not_before.is_(None), JobRow.not_before <= _now()),
                )
                .subquery()
            )
            query = (
                select(JobRow)
                .join(first, JobRow.id == first.c.id)
                .where(first.c.place <= _RUNNABLE_OF_AN_OWNER)
                .order_by(JobRow.submitted_at, JobRow.id)
            )
            return [_job(row) for row in session.scalars(query)]

    def to_dismiss(self) -> Sequence[Job]:
        """Running jobs that should stop."""
        with self._database.reading() as session:
            query = select(JobRow).where(JobRow.state == "running", JobRow.target == "dismiss")
            return [_job(row) for row in session.scalars(query)]

    def claim(self, job_id: str) -> Job:
        """accepted -> running. Raises WrongState when it is not waiting to run any more."""
        with self._database.writing() as session:
            row = _row(session, job_id, lock=True)
            if row.state != "accepted" or row.target != "run":
                raise WrongState(f"job {job_id} is {row.state} and wanted to {row.target}; it cannot be begun")
            row.started_at = row.started_at or _now()
            row.not_before = None
            percent = float(row.progress.get("percent", 0.0))
            event = _move(session, row, "running", JobProgress("provisioning", percent, message="getting ready"))
            job = _job(row)
        self._tell(event, job)
        return job

    def report(self, job_id: str, progress: JobProgress) -> None:
        """Keep the progress of a running job; a new phase is an event. Of a job that does not run it is dropped."""
        with self._database.writing() as session:
            row = _row(session, job_id, lock=True)
            if row.state != "running":
                return
            now = _now()
            new = progress.phase != row.progress["phase"]
            row.progress = progress.to_json()
            row.updated_at = now
            event = _record(session, job_id, "phase", progress.to_json(), now) if new else None
            job = _job(row)
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
            row = _row(session, job_id, lock=True)
            again = None
            if row.target == "dismiss":
                event = _move(session, row, "dismissed", _DISMISSED)
            else:
                row.attempts += int(counts)
                row.failure = None if failure is None else failure.to_json()
                row.not_before = not_before
                again = _record(session, job_id, kind, {"message": message, "attempts": row.attempts}, _now())
                percent = float(row.progress.get("percent", 0.0))
                event = _move(session, row, "accepted", JobProgress("queued", percent, message=message))
            job = _job(row)
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
            row = _row(session, job_id, lock=True)
            if row.target == "dismiss":
                event = _move(session, row, "dismissed", _DISMISSED)
            else:
                row.result = dict(result)
                row.failure = None
                also(session, _now())
                event = _move(session, row, "succeeded", JobProgress("finished", 100.0, message="done"))
            job = _job(row)
        self._tell(event, job)
        return job

    def fail(self, job_id: str, failure: Failure) -> Job:
        """running -> failed."""
        with self._database.writing() as session:
            row = _row(session, job_id, lock=True)
            if row.target == "dismiss":
                event = _move(session, row, "dismissed", _DISMISSED)
            else:
                row.failure = failure.to_json()
                percent = float(row.progress.get("percent", 0.0))
                event = _move(session, row, "failed", JobProgress("failed", percent, message=failure.message))
            job = _job(row)
        self._tell(event, job)
        return job

    def dismissed(self, job_id: str) -> Job:
        """running -> dismissed, once its work has really stopped."""
        with self._database.writing() as session:
            row = _row(session, job_id, lock=True)
            event = _move(session, row, "dismissed", _DISMISSED)
            job = _job(row)
        self._tell(event, job)
        return job

    def uncleaned(self) -> Sequence[str]:
        """Final jobs whose left-overs are still to be removed."""
        with self._database.reading() as session:
            query = select(JobRow.id).where(JobRow.state.in_(sorted(FINAL)), JobRow.cleaned.is_(False)).limit(500)
            return list(session.scalars(query))

    def cleaned(self, job_id: str) -> None:
        """Note that the left-overs of a final job are gone."""
        with self._database.writing() as session:
            _row(session, job_id, lock=True).cleaned = True

    def _tell(self, event: JobEvent | None, job: Job) -> None:
        for listener in self._listeners:
            listener(event, job)


_DISMISSED = JobProgress("dismissed", 0.0, message="dismissed")
#: More than any owner can have begun in one look at the jobs.
_RUNNABLE_OF_AN_OWNER = 16


def _now() -> datetime:
    return datetime.now(UTC)


def _row(session: Session, job_id: str, *, lock: bool = False) -> JobRow:
    """The job; ``lock`` keeps others from changing it between our look at its state and our change."""
    row = session.get(JobRow, job_id, with_for_update=lock or None)
    if row is None:
        raise JobNotFound(f"there is no job {job_id}; see the list of jobs for their names")
    return row


def _move(session: Session, row: JobRow, state: State, progress: JobProgress) -> JobEvent:
    """Change the state and keep the event; raises WrongState where the table of transitions has no such step."""
    if state not in TRANSITIONS[cast(State, row.state)]:
        raise WrongState(f"job {row.id} is {row.state} and cannot become {state}")
    now = _now()
    row.state = state
    row.progress = progress.to_json()
    row.updated_at = now
    if state in FINAL:
        row.finished_at = now
    data = {"state": state, "phase": progress.phase, "message": progress.message}
    return _record(session, row.id, "state", data, now)


def _record(session: Session, job_id: str, kind: str, data: Mapping[str, Any], now: datetime) -> JobEvent:
    row = EventRow(job_id=job_id, at=now, kind=kind, data=dict(data))
    session.add(row)
    session.flush()
    return _event(row)


def _event(row: EventRow) -> JobEvent:
    kind = cast(Literal["state", "phase", "retry", "handover"], row.kind)
    return JobEvent(row.sequence, row.job_id, row.at, kind, row.data)


def _job(row: JobRow) -> Job:
    return Job(
        id=row.id,
        process=row.process,
        owner=row.owner,
        inputs=row.inputs,
        state=cast(State, row.state),
        target=cast(Target, row.target),
        progress=JobProgress.from_json(row.progress),
        attempts=row.attempts,
        not_before=row.not_before,
        failure=None if row.failure is None else Failure.from_json(row.failure),
        result=row.result,
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        updated_at=row.updated_at,
    )
