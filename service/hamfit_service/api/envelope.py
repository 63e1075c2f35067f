"""What surrounds every request: its id, the security headers of its answer, its place in the metrics, and the last net.

Plain ASGI: nothing is read or copied, and an answer passes through as it is made.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hamfit_service.api.problems import unexpected

if TYPE_CHECKING:
    from hamfit_service.api.metrics import Metrics

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self';"
    " frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Headers of every answer that does not bring its own."""

_RAW = tuple((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
_GIVEN_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")

log = structlog.get_logger("hamfit.api")


class _Answered(OSError):
    """The head of an answer is sent, and HEAD asked for no more."""


class Envelope:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _id_of(scope)
        began = time.perf_counter()
        method = scope["method"]
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._metrics.answered(_known(method), _route(inner), status, time.perf_counter() - began)
                _add_headers(message, request_id)
                await send(message)
                if method == "HEAD":
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    raise _Answered
                return
            await send(message)

        # what GET answers without its body; a path that has no GET refuses HEAD with it
        inner = {**scope, "hamfit.request_id": request_id, "method": "GET" if method == "HEAD" else method}
        self._metrics.under_way.inc()
        try:
            await self._app(inner, receive, send_on)
        except _Answered:
            pass
        except Exception as error:
            if _is_end_of_head(error):
                return
            log.exception("request failed", request=request_id, method=_known(method), route=_route(inner))
            if status:
                # the head is sent: the connection is cut, so that nobody takes half an answer for a whole one
                raise
            await unexpected(request_id)(inner, receive, send_on)
        finally:
            self._metrics.under_way.dec()


def _id_of(scope: Scope) -> str:
    """The id that a proxy gave this request, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN_ID.fullmatch(value):
            return str(value.decode())
    return secrets.token_hex(8)


def _add_headers(message: Message, request_id: str) -> None:
    headers = MutableHeaders(raw=message.setdefault("headers", []))
    present = {name for name, _ in headers.raw}
    headers.raw.extend(pair for pair in _RAW if pair[0] not in present)
    headers.raw.append((b"x-request-id", request_id.encode()))


def _route(scope: Scope) -> str:
    """The path of the route with its parameters by name: a label of few values."""
    return str(getattr(scope.get("route"), "path", "other"))


def _known(method: str) -> str:
    return method if method in ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS") else "other"


def _is_end_of_head(error: BaseException) -> bool:
    """Whether an error, or what it came from, is the end of an answer to HEAD."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, _Answered):
            return True
        if isinstance(found, BaseExceptionGroup):
            return all(_is_end_of_head(one) for one in found.exceptions)
        found = found.__cause__ or found.__context__
    return False
