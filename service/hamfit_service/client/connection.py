"""Where a server is, and how it is spoken to: addresses, time-outs, and httpx's errors in our words."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import hamfit
from hamfit.errors import SpecError
from hamfit_service.client.effects import Answer, Call, Unreachable
from hamfit_service.client.http import httpx


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long is waited for what, in seconds."""

    connect: float = 5.0
    """For a connection."""
    silence: float = 30.0
    """For a server that has the request and says nothing, and for one that takes nothing."""


@dataclass(frozen=True, slots=True)
class Server:
    """The address of a server, and who asks."""

    url: str
    """http(s)://HOST[:PORT][/PREFIX]."""
    token: str | None = field(default=None, repr=False)
    """Sent with every request, and to nobody else."""
    timeouts: Timeouts = Timeouts()
    """How long is waited for what."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        if not is_url or parts.query or parts.fragment or parts.username is not None:
            raise SpecError(f"'{self.url}' is no address of a server; write it as http://127.0.0.1:8741")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token):
            raise SpecError("the token holds characters that no token has; see whether its file is the right one")

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def settings(self) -> dict[str, Any]:
        """Of an httpx client, blocking or not."""
        headers = {"user-agent": f"hamfit/{hamfit.__version__}"}
        if self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        silence = self.timeouts.silence
        return {
            "base_url": self.url,
            "headers": headers,
            "timeout": httpx.Timeout(connect=self.timeouts.connect, read=silence, write=silence, pool=silence),
            # a redirect could lead the token elsewhere
            "follow_redirects": False,
            # proxies of the environment are for the world outside
            "trust_env": not self.is_loopback,
        }


def request_of(client: httpx.Client | httpx.AsyncClient, call: Call) -> httpx.Request:
    """The request of a call."""
    options: dict[str, Any] = {}
    if call.body is not None:
        options["json"] = call.body
    if call.silence_seconds is not None:
        options["timeout"] = httpx.Timeout(**{**client.timeout.as_dict(), "read": call.silence_seconds})
    params = {name: value for name, value in call.params.items() if value is not None}
    headers = {"accept": "application/json, */*", **call.headers}
    return client.build_request(call.method, call.path, params=params, headers=headers, **options)


def answer_of(response: httpx.Response, body: bytes) -> Answer:
    """The answer in a response."""
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


@contextmanager
def translated(server: Server) -> Iterator[None]:
    """Errors of connections as `Unreachable`."""
    try:
        yield
    except httpx.RequestError as error:
        # where no connection was made, nothing was sent
        was_sent = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unreachable(f"{server.url} does not answer ({reason})", was_sent=was_sent) from error
