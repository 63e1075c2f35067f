"""From what the service knows to what it says: one function for each document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from hamfit_service.jobs.job import Job, JobEvent
from hamfit_service.processes import Process
from hamfit_service.wire import (
    FailureDocument,
    JobDocument,
    Link,
    ProcessDocument,
    ProgressDocument,
    ResultsDocument,
)

JSON = "application/json"

REPORT = "report.json"
"""The output of every job that holds its report."""

Redact = Callable[[str], str]


def job_document(job: Job, redact: Redact) -> JobDocument:
    """A job."""
    at = f"/v1/jobs/{job.id}"
    failure = None
    if job.failure is not None:
        failure = FailureDocument(
            kind=job.failure.kind, type=job.failure.type, message=redacted_text(job.failure.message, redact)
        )
    return JobDocument(
        id=job.id,
        process=job.process,
        owner=job.owner,
        status=job.state,
        dismissing=job.target == "dismiss" and not job.is_final,
        progress=progress_document(job, redact),
        attempts=job.attempts,
        failure=failure,
        inputs=dict(job.inputs),
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        updated_at=job.updated_at,
        links=[
            Link(href=at, rel="self", type=JSON),
            Link(href=f"{at}/results", rel="results", type=JSON),
            Link(href=f"{at}/logs", rel="logs", type=JSON),
            Link(href=f"{at}/events", rel="events", type="text/event-stream"),
        ],
    )


def progress_document(job: Job, redact: Redact) -> ProgressDocument:
    """How far a job is."""
    found = job.progress.to_json()
    return ProgressDocument(**{**found, "message": redacted_text(found["message"], redact)})


def results_document(found: ResultsDocument, redact: Redact) -> ResultsDocument:
    """What a job made, with its report as it is told to clients, and the size of that."""
    if found.report is None:
        return found
    size = len(report_content(found.report, redact))
    outputs = [one.model_copy(update={"bytes": size}) if one.name == REPORT else one for one in found.outputs]
    return found.model_copy(update={"report": redacted(found.report, redact), "outputs": outputs})


def report_content(report: Mapping[str, Any], redact: Redact) -> bytes:
    """The file `REPORT` as it is sent: on the disk it names places of this machine."""
    return json.dumps(redacted(report, redact)).encode()


def process_document(process: Process) -> ProcessDocument:
    """A process and the schema of its inputs."""
    at = f"/v1/processes/{process.name}"
    return ProcessDocument(
        id=process.name,
        title=process.summary,
        inputs=process.inputs.model_json_schema(),
        links=[
            Link(href=at, rel="self", type=JSON),
            Link(href=f"{at}/execution", rel="http://www.opengis.net/def/rel/ogc/1.0/execute", type=JSON),
        ],
    )


def event_data(event: JobEvent, redact: Redact) -> dict[str, Any]:
    """What a kept event says of its job."""
    return {"job": event.job_id, "at": event.at.isoformat(), **redacted(dict(event.data), redact)}


def progress_data(job: Job, redact: Redact) -> dict[str, Any]:
    """What is said of a job's progress between two kept events."""
    progress = progress_document(job, redact).model_dump()
    return {"job": job.id, "at": job.updated_at.isoformat(), "status": job.state, **progress}


def redacted_text(text: str, redact: Redact) -> str:
    """``text`` without paths of the server; most texts hold none, and are not searched."""
    return redact(text) if "/" in text else text


def redacted(value: Any, redact: Redact) -> Any:
    """A JSON value whose texts hold no paths of the server."""
    if isinstance(value, str):
        return redacted_text(value, redact)
    if isinstance(value, Mapping):
        return {key: redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, redact) for item in value]
    return value
