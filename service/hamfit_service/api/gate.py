"""Requests that a foreign page made somebody's browser send go no further than here (see `security.hosts`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from hamfit_service.api.problems import problem
from hamfit_service.wire import ProblemField

if TYPE_CHECKING:
    from hamfit_service.api.metrics import Metrics
    from hamfit_service.security.hosts import AllowedHosts

_SAFE = ("GET", "HEAD", "OPTIONS")


class Gate:
    """Refuses requests to another host, and changes that another site asks for."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts, metrics: Metrics) -> None:
        self._app = app
        self._hosts = hosts
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            status, header, message = refusal
            self._metrics.refused.labels(header).inc()
            fields = [ProblemField(field=header, message=message)]
            answer = problem(scope["hamfit.request_id"], status, f"{header}: {message}", fields)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else None
        if not self._hosts.host(host):
            return (
                400,
                "Host",
                "this service does not go by that name; call it by its address, or add the name to the setting"
                " allowed_hosts",
            )
        if scope["method"] in _SAFE:
            return None
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(origins) > 1 or not self._hosts.origin(origins[0].decode("latin-1") if origins else None, host):
            return 403, "Origin", "another site may not change anything here; use the pages of this service"
        return None
