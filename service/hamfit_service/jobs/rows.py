"""Rows of jobs and events: found, moved along the table of transitions, and turned into what the service works with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, cast

from sqlalchemy import Connection, Row, bindparam, select
from sqlalchemy.orm import Session

from hamfit.errors import HamfitError
from hamfit_service.jobs.job import FINAL, TRANSITIONS, Failure, Job, JobEvent, JobProgress, State, Target
from hamfit_service.jobs.tables import EventRow, JobRow

_ONE_JOB = select(JobRow.__table__).where(JobRow.__table__.c.id == bindparam("job_id"))


class JobNotFound(HamfitError):
    """There is no job of that name."""


class WrongState(HamfitError):
    """A job is in a state that the call does not allow."""


def utc_now() -> datetime:
    """The time that is kept in rows."""
    return datetime.now(UTC)


def find_row(session: Session, job_id: str) -> JobRow:
    """The job, to be changed: nobody else changes it between our look at its state and our change."""
    row = session.get(JobRow, job_id, with_for_update=True)
    if row is None:
        raise _not_found(job_id)
    return row


def read_job(connection: Connection, job_id: str) -> Job:
    """The job as it is now; raises JobNotFound."""
    row = connection.execute(_ONE_JOB, {"job_id": job_id}).one_or_none()
    if row is None:
        raise _not_found(job_id)
    return as_job(row)


def _not_found(job_id: str) -> JobNotFound:
    return JobNotFound(f"there is no job {job_id}; see the list of jobs for their names")


def move(session: Session, row: JobRow, state: State, progress: JobProgress) -> JobEvent:
    """Change the state and keep the event; raises WrongState where the table of transitions has no such step."""
    if state not in TRANSITIONS[cast(State, row.state)]:
        raise WrongState(f"job {row.id} is {row.state} and cannot become {state}")
    now = utc_now()
    row.state = state
    row.progress = progress.to_json()
    row.updated_at = now
    if state in FINAL:
        row.finished_at = now
    data = {"state": state, "phase": progress.phase, "message": progress.message}
    return record(session, row.id, "state", data, now)


def record(session: Session, job_id: str, kind: str, data: Mapping[str, Any], now: datetime) -> JobEvent:
    """Keep an event of a job."""
    row = EventRow(job_id=job_id, at=now, kind=kind, data=dict(data))
    session.add(row)
    session.flush()
    return as_event(row)


def as_event(row: EventRow | Row[Any]) -> JobEvent:
    """The event that a row keeps."""
    kind = cast(Literal["state", "phase", "retry", "handover"], row.kind)
    return JobEvent(row.sequence, row.job_id, row.at, kind, row.data)


def as_job(row: JobRow | Row[Any]) -> Job:
    """The job that a row keeps."""
    return Job(
        id=row.id,
        process=row.process,
        owner=row.owner,
        inputs=row.inputs,
        state=cast(State, row.state),
        target=cast(Target, row.target),
        progress=JobProgress.from_json(row.progress),
        attempts=row.attempts,
        stalls=row.stalls,
        stalled_at=row.stalled_at,
        not_before=row.not_before,
        failure=None if row.failure is None else Failure.from_json(row.failure),
        result=row.result,
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        updated_at=row.updated_at,
    )
