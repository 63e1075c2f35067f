"""How the service itself fares: the cluster, health, metrics."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from hamfit_service.api.documents import redacted
from hamfit_service.api.metrics import CONTENT_TYPE
from hamfit_service.api.operations import AnyCall, answer, operation
from hamfit_service.jobs.database import DatabaseAway
from hamfit_service.wire import ClusterState, Readiness

router = APIRouter(tags=["system"])


@operation(router, "GET", "/v1/cluster", scope="read", answers=ClusterState, summary="The cluster that jobs run on.")
async def get_cluster(call: AnyCall) -> Response:
    """Whether it lives, and how large it is."""
    return answer(await call.service.cluster.state())


@router.get("/healthz", summary="Whether the service answers.", operation_id="get_health")
async def get_health() -> dict[str, str]:
    """Says ok for as long as requests are answered at all; needs no token."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Whether jobs can be taken and run.",
    operation_id="get_readiness",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not now; `checks` says why."}},
)
async def get_readiness(request: Request) -> Response:
    """Looks at the database, the disk and the cluster; needs no token."""
    service = request.app.state.service
    found: Readiness = await service.readiness()
    checks = redacted(found.checks, service.confinement.redacted)
    return answer(found.model_copy(update={"checks": checks}), 200 if found.ready else 503)


@operation(
    router,
    "GET",
    "/metrics",
    scope="read",
    answers=None,
    content={"text/plain": {"schema": {"type": "string"}}},
    summary="Metrics for Prometheus.",
)
async def get_metrics(call: AnyCall) -> Response:
    """Requests, jobs and the cluster. While the database is away, the numbers of jobs are left out."""
    service = call.service
    try:
        counts = await run_in_threadpool(service.store.counts)
    except DatabaseAway:
        counts = None
    text = service.metrics.text(counts, await service.cluster.state(), service.hub.readers)
    return Response(text, media_type=CONTENT_TYPE)
