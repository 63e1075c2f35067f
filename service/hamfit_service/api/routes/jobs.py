"""Jobs: one, all, their logs and their end."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from hamfit_service.api.documents import job_document, redacted_text
from hamfit_service.api.links import JOB_LINKS
from hamfit_service.api.operations import AnyCall, JobId, answer, operation
from hamfit_service.api.problems import Refusal
from hamfit_service.jobs.logs import read_log
from hamfit_service.jobs.rows import JobNotFound
from hamfit_service.processes.references import JOB_ID_PATTERN
from hamfit_service.wire import JobDocument, JobList, LogPage, ProblemField
from hamfit_service.wire.documents import State

router = APIRouter(tags=["jobs"])

_OWNER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$"
_NO_FILE_BYTES = 2**53 - 1


@operation(router, "GET", "/v1/jobs", scope="read", answers=JobList, summary="Jobs, the newest first.")
def list_jobs(
    call: AnyCall,
    status: Annotated[list[State] | None, Query(max_length=5, description="Only in these states.")] = None,
    process: Annotated[
        Literal["fit", "rollout", "evaluate", "ingest", "simulate"] | None, Query(description="Only of this process.")
    ] = None,
    owner: Annotated[str | None, Query(pattern=_OWNER_PATTERN, description="Only of this owner.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Most jobs of one page.")] = 50,
    after: Annotated[str | None, Query(pattern=JOB_ID_PATTERN, description="`next` of the page before.")] = None,
) -> Response:
    """A page of jobs. `next` is absent on the last one."""
    try:
        page = call.service.store.page(
            owner=owner, states=tuple(status or ()), process=process, limit=limit, after=after
        )
    except JobNotFound:
        message = f"there is no job {after}; give the `next` of a page before"
        raise Refusal(422, f"after: {message}", [ProblemField(field="after", message=message)]) from None
    redact = call.service.confinement.redacted
    return answer(JobList(jobs=[job_document(job, redact) for job in page.jobs], next=page.next))


@operation(
    router,
    "GET",
    "/v1/jobs/{job_id}",
    scope="read",
    answers=JobDocument,
    summary="A job.",
    refusals=(404,),
    links=JOB_LINKS,
)
def get_job(call: AnyCall, job_id: JobId) -> Response:
    """Where a job is, how far, and why it failed if it did."""
    return answer(job_document(call.service.store.get(job_id), call.service.confinement.redacted))


@operation(
    router,
    "DELETE",
    "/v1/jobs/{job_id}",
    scope="submit",
    answers=JobDocument,
    summary="Stop a job and remove what it made.",
    refusals=(404, 409),
)
def dismiss_job(call: AnyCall, job_id: JobId) -> Response:
    """A job that waits is dismissed at once; one that runs is `dismissing` until its work has stopped.

    Only its owner may, or an administrator. What a finished job made is kept (409).
    """
    return answer(job_document(call.service.dismiss(job_id, call.identity), call.service.confinement.redacted))


@operation(
    router,
    "GET",
    "/v1/jobs/{job_id}/logs",
    scope="read",
    answers=LogPage,
    summary="What a job told.",
    refusals=(404,),
)
def get_logs(
    call: AnyCall,
    job_id: JobId,
    after: Annotated[int, Query(ge=0, le=_NO_FILE_BYTES, description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Most lines of one page.")] = 200,
) -> Response:
    """Lines of the job's log. The same `next` as was given means that there is nothing new."""
    call.service.store.get(job_id)
    page = read_log(call.service.folders.job(job_id).log, after, limit)
    redact = call.service.confinement.redacted
    lines = [line.model_copy(update={"message": redacted_text(line.message, redact)}) for line in page.lines]
    return answer(LogPage(lines=lines, next=page.next))
