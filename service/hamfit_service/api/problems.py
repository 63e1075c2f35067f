"""Every way in which a request is refused, as RFC 9457 problem documents; statuses are chosen here and nowhere else.

Only errors that were raised on purpose tell a client anything (`HamfitError`, and what the framework says of a request
that it cannot route or read). All else becomes status 500 with the id of the request and no word about what happened:
that stands in the service's log under the same id. Every detail passes through the confinement's `redacted`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hamfit.errors import ClusterError, DiskError, HamfitError, StoreError
from hamfit_service.api.hub import TooManyReaders
from hamfit_service.jobs.database import DatabaseAway
from hamfit_service.jobs.results import ResultNotFound
from hamfit_service.jobs.rows import JobNotFound, WrongState
from hamfit_service.jobs.store import KeyReused, QueueFull
from hamfit_service.registry.models import ModelNotFound
from hamfit_service.security.tokens import TokenNotFound
from hamfit_service.service import Busy, Forbidden
from hamfit_service.wire import Problem, ProblemField

if TYPE_CHECKING:
    from hamfit_service.service import Service

MEDIA_TYPE = "application/problem+json"

_AGAIN_SECONDS = 5

log = structlog.get_logger("hamfit.api")


@dataclass(eq=False)
class Refusal(Exception):
    """A request is refused, and the client is told exactly this."""

    status: int
    detail: str
    errors: Sequence[ProblemField] = ()
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Kind:
    """What becomes of a class of errors."""

    status: int
    retry_after: int | None = None
    field: str | None = None


ANSWERS: Mapping[type[HamfitError], _Kind] = {
    JobNotFound: _Kind(404),
    ModelNotFound: _Kind(404),
    TokenNotFound: _Kind(404),
    ResultNotFound: _Kind(404),
    Forbidden: _Kind(403),
    WrongState: _Kind(409),
    KeyReused: _Kind(422, field="Idempotency-Key"),
    QueueFull: _Kind(429, retry_after=10),
    TooManyReaders: _Kind(503, retry_after=_AGAIN_SECONDS),
    Busy: _Kind(503, retry_after=_AGAIN_SECONDS),
    DatabaseAway: _Kind(503, retry_after=_AGAIN_SECONDS),
    DiskError: _Kind(503, retry_after=_AGAIN_SECONDS),
    ClusterError: _Kind(503, retry_after=_AGAIN_SECONDS),
    # what a job made is no longer whole: nothing that this request could say otherwise
    StoreError: _Kind(409),
    HamfitError: _Kind(422),
}
"""The status of each error raised on purpose; a class that is not here is answered as its base."""


def problem(
    request_id: str,
    status: int,
    detail: str,
    errors: Sequence[ProblemField] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer that says what is wrong."""
    document = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, instance=request_id or None, errors=list(errors)
    )
    return Response(document.model_dump_json(exclude_none=True), status, dict(headers or {}), MEDIA_TYPE)


def request_id(request: Request) -> str:
    """The id under which this request stands in the log."""
    return str(request.scope.get("hamfit.request_id", ""))


def of_refusal(request: Request, error: Exception) -> Response:
    """A refusal."""
    assert isinstance(error, Refusal)
    hide = _service(request).confinement.redacted
    fields = [ProblemField(field=one.field, message=hide(one.message)) for one in error.errors]
    return problem(request_id(request), error.status, hide(error.detail), fields, error.headers)


def of_hamfit_error(request: Request, error: Exception) -> Response:
    """An error raised on purpose."""
    kind = next(ANSWERS[base] for base in type(error).__mro__ if base in ANSWERS)
    if kind.status >= 500:
        log.warning("request not served", request=request_id(request), error=type(error).__name__, reason=str(error))
    detail = _service(request).confinement.redacted(str(error))
    field = getattr(error, "field", kind.field)
    errors = [] if field is None else [ProblemField(field=field, message=detail)]
    headers = None if kind.retry_after is None else {"Retry-After": str(kind.retry_after)}
    return problem(request_id(request), kind.status, detail, errors, headers)


def of_http_exception(request: Request, error: Exception) -> Response:
    """What the framework refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    detail, headers = str(error.detail), dict(error.headers or {})
    if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = "there is nothing at this path; see /openapi.json for what there is"
    elif error.status_code == 405:
        allowed = sorted(_allowed_methods(request))
        headers["Allow"] = ", ".join(allowed)
        detail = f"{_shown(request.method)} is not possible here; use {' or '.join(allowed)}"
    return problem(request_id(request), error.status_code, detail, (), headers)


def unexpected(request_id: str) -> Response:
    """An error that nobody foresaw; it is in the log."""
    return problem(
        request_id,
        500,
        "the service failed at this request; give its id to whoever runs the service, who finds the reason in its log",
    )


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _shown(method: str) -> str:
    return method if re.fullmatch(r"[A-Z]{1,20}", method) else "this method"


def _allowed_methods(request: Request) -> set[str]:
    """Methods of every route with this path; the framework names those of the first one only."""
    methods: set[str] = set()
    for route in request.app.routes:
        match = getattr(route, "path_regex", None)
        if match is not None and match.match(request.scope["path"]):
            methods |= set(getattr(route, "methods", None) or ())
    if "GET" in methods:
        methods.add("HEAD")
    return methods


Handler = Callable[[Request, Any], Response]
