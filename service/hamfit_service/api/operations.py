"""How an operation of the interface is declared: who may call it, what it answers, how it may be refused.

One declaration gives the route, the check of the scope before anything else, and the entry in the OpenAPI document, so
that none of them can be forgotten. Handlers are plain functions that run in a thread; they return a response that is
serialised once, and the framework checks nothing again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from hamfit_service.api.access import admit
from hamfit_service.api.problems import MEDIA_TYPE, Refusal
from hamfit_service.processes.references import JOB_ID_PATTERN
from hamfit_service.wire import ProblemField, Scope

if TYPE_CHECKING:
    from hamfit_service.security.tokens import Identity
    from hamfit_service.service import Service

JSON = "application/json"

ALWAYS = (400, 401, 403, 422, 429, 500, 503)
"""How every operation may be refused."""

REFUSALS: Mapping[int, str] = {
    400: "The request cannot be read, or comes from another site.",
    408: "The body took too long.",
    401: "A valid token is needed.",
    403: "The token does not allow this.",
    404: "There is no such thing.",
    409: "It is in a state that does not allow this.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "Fields are wrong; `errors` names each of them and how to mend it.",
    429: "Too many requests, or too many unfinished jobs; wait as long as Retry-After says.",
    500: "The service failed; its log has the reason under the id in `instance`.",
    503: "The database, the disk or the cluster is away; try again after Retry-After.",
}


@dataclass(slots=True)
class Call:
    """One call of an operation."""

    request: Request
    service: Service
    body: bytes = b""
    _identity: Identity | None = None

    @property
    def identity(self) -> Identity:
        """Who calls; known once they are admitted."""
        assert self._identity is not None
        return self._identity


async def _open(request: Request) -> Call:
    return Call(request, request.app.state.service)


async def _open_with_body(request: Request) -> Call:
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if kind.strip().lower() != JSON or charset not in ("", "charset=utf-8"):
        raise _other_type("Content-Type", "the body has to be JSON in UTF-8; send Content-Type: application/json")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise _other_type("Content-Encoding", "compressed bodies are not read; send the body as it is")
    try:
        body = await request.body()
    except ClientDisconnect:
        raise Refusal(400, "the request ended before its body did; send it again") from None
    return Call(request, request.app.state.service, body)


def _other_type(header: str, message: str) -> Refusal:
    return Refusal(415, message, [ProblemField(field=header, message=message)])


AnyCall: TypeAlias = Annotated[Call, Depends(_open)]
"""A call without a body."""

CallWithBody: TypeAlias = Annotated[Call, Depends(_open_with_body)]
"""A call with a JSON body, not read yet."""

JobId: TypeAlias = Annotated[str, Path(pattern=JOB_ID_PATTERN, description="Name of the job.")]
"""Name of a job in a path."""

Handler = Callable[..., Any]


def operation(
    router: APIRouter,
    method: str,
    path: str,
    *,
    scope: Scope,
    answers: type[BaseModel] | None,
    summary: str,
    status: int = 200,
    refusals: Sequence[int] = (),
    body: type[BaseModel] | None = None,
    examples: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    links: Mapping[str, Any] | None = None,
    content: Mapping[str, Any] | None = None,
    others: Mapping[int, str] | None = None,
    title: str = "",
) -> Callable[[Handler], Handler]:
    """Register a handler, whose parameter ``call`` is a `Call`.

    Args:
        router: where.
        method: of HTTP.
        path: with {parameters}.
        scope: that a caller needs.
        answers: the document of a success; None where ``content`` says what is sent.
        summary: one line.
        status: of a success.
        refusals: statuses beside those that every operation may have.
        body: model of the JSON body.
        examples: of the body, by name.
        headers: of a success, with what they say.
        links: OpenAPI links of a success.
        content: media types of a success and their schemas.
        others: further statuses without a document.
        title: id of the operation; by default the name of the handler.

    """

    def register(handler: Handler) -> Handler:
        def admit_call(call: Call) -> None:
            # before anything else, and in a thread, for it may ask the database
            call._identity = admit(call.request, scope)
            _check_query(call.request, known)

        @wraps(handler)
        def admitted(*, call: Call, **kwargs: Any) -> Response:
            admit_call(call)
            answer: Response = handler(call=call, **kwargs)
            return answer

        @wraps(handler)
        async def admitted_async(*, call: Call, **kwargs: Any) -> Response:
            await run_in_threadpool(admit_call, call)
            answer: Response = await handler(call=call, **kwargs)
            return answer

        success: dict[str, Any] = {"description": summary, "headers": _headers(headers or {})}
        if links:
            success["links"] = dict(links)
        if content is not None:
            success["content"] = dict(content)
        extra: dict[str, Any] = {"x-scope": scope}
        with_body = () if body is None else (408, 413, 415)
        if body is not None:
            media: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}
            if examples:
                media["examples"] = {name: {"value": value} for name, value in examples.items()}
            extra["requestBody"] = {"required": True, "content": {JSON: media}}
            BODIES[body.__name__] = body
        router.add_api_route(
            path,
            admitted_async if iscoroutinefunction(handler) else admitted,
            methods=[method],
            status_code=status,
            response_model=answers,
            response_class=Response if answers is None else JSONResponse,
            responses={
                status: success,
                **{other: {"description": text} for other, text in (others or {}).items()},
                **{code: refused(code) for code in sorted({*ALWAYS, *with_body, *refusals})},
            },
            summary=summary,
            description=handler.__doc__,
            operation_id=title or handler.__name__,
            openapi_extra=extra,
        )
        route: Any = router.routes[-1]
        known = frozenset(field.alias for field in route.dependant.query_params)
        return handler

    return register


BODIES: dict[str, type[BaseModel]] = {}
"""Models of bodies by name, for the OpenAPI document."""


def answer(document: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as it is sent."""
    return Response(document.model_dump_json(), status, dict(headers or {}), JSON)


def refused(status: int) -> dict[str, Any]:
    """The entry of the OpenAPI document for a problem."""
    entry: dict[str, Any] = {
        "description": REFUSALS[status],
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        entry["headers"] = _headers({"Retry-After": "Seconds to wait."})
    if status == 401:
        entry["headers"] = _headers({"WWW-Authenticate": "How to sign in."})
    return entry


def _headers(headers: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}


def _check_query(request: Request, known: frozenset[str]) -> None:
    """Refuse parameters that nobody reads: a misspelt filter would otherwise show everything."""
    if not request.scope["query_string"]:
        return
    errors = []
    names = [name for name, _ in request.query_params.multi_items()]
    for name in dict.fromkeys(names):
        if name not in known:
            hint = f"use {', '.join(sorted(known))}" if known else "leave it out"
            errors.append(ProblemField(field=name[:60], message=f"is no parameter of this path; {hint}"))
        elif names.count(name) > 1 and name != "status":
            errors.append(ProblemField(field=name, message="is given more than once; give it once"))
    if errors:
        detail = "; ".join(f"{error.field}: {error.message}" for error in errors[:3])
        raise Refusal(422, detail, errors)
