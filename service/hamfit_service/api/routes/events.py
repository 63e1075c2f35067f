"""Streams of server-sent events."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Header
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hamfit_service.api.operations import AnyCall, Call, JobId, operation
from hamfit_service.api.streams import MEDIA_TYPE, EventStream

router = APIRouter(tags=["events"])

LastEventId: TypeAlias = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=2**53 - 1, description="Id of the last event that the client has."),
]

_EVENT = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "id": {"type": "string", "description": "Number of a kept event; absent with progress."},
        "event": {"enum": ["state", "phase", "retry", "handover", "progress"]},
        "data": {"type": "string", "contentMediaType": "application/json", "description": "What happened."},
    },
    "required": ["event", "data"],
}
_CONTENT = {MEDIA_TYPE: {"schema": _EVENT}}


@operation(
    router,
    "GET",
    "/v1/jobs/{job_id}/events",
    scope="read",
    answers=None,
    content=_CONTENT,
    summary="Watch a job.",
    refusals=(404,),
    others={204: "The job is over, and the client has seen all of it."},
)
async def watch_job(call: AnyCall, job_id: JobId, last_event_id: LastEventId = None) -> Response:
    """Server-sent events `state`, `phase`, `retry` and `handover`, each with an id, and `progress` without one.

    Data are JSON objects with `job` and `at`. The stream begins with every event after Last-Event-ID (all, without it),
    and ends after the event that ends the job; then there is nothing left to watch, and the answer is 204.
    """
    store, after = call.service.store, last_event_id or 0
    job = await run_in_threadpool(store.get, job_id)
    if job.is_final and not await run_in_threadpool(store.events, job_id, after, 1):
        return Response(status_code=204)
    return _stream(call, job_id, after)


@operation(
    router, "GET", "/v1/events", scope="read", answers=None, content=_CONTENT, summary="Watch all jobs from now on."
)
async def watch_all(call: AnyCall) -> Response:
    """Server-sent events of all jobs, as those of one job; what was before is not told again. It has no end."""
    return _stream(call, None, 0)


def _stream(call: Call, job_id: str | None, after: int) -> Response:
    call.service.hub.check_room()
    stream = EventStream(call.service, call.request, after, job_id)
    # a proxy that gathers an answer before it passes it on would hold events back
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream.chunks(), headers=headers, media_type=MEDIA_TYPE)
