"""Performs effects by blocking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from hamfit_service.client.connection import Server, answer_of, request_of, translated
from hamfit_service.client.effects import Answer, Call, Effect, Emit, Open, Pause, Read, Steps, Work
from hamfit_service.client.http import httpx


class BlockingDriver:
    """Speaks to one server; may be used by several threads."""

    def __init__(self, server: Server, transport: httpx.BaseTransport | None) -> None:
        self._server = server
        self._http = httpx.Client(transport=transport, **server.settings())

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def iterate(self, steps: Steps[Any]) -> Iterator[Any]:
        """Perform a flow, and yield what it emits."""
        with closing(_Stream(self._http, self._server)) as stream, closing(steps):
            while steps.effect is not None:
                if isinstance(steps.effect, Emit):
                    yield steps.effect.value
                    steps.answer(None)
                    continue
                try:
                    found = self._perform(steps.effect, stream)
                except Exception as error:
                    steps.fail(error)
                else:
                    steps.answer(found)

    def _perform(self, effect: Effect, stream: _Stream) -> Any:
        match effect:
            case Call():
                with translated(self._server):
                    response = self._http.send(request_of(self._http, effect))
                return answer_of(response, response.content)
            case Open():
                return stream.open(effect.call)
            case Read():
                return stream.read()
            case Pause():
                return time.sleep(effect.seconds)
            case Work():
                return effect.do()


class _Stream:
    """The one answer that is open."""

    def __init__(self, http: httpx.Client, server: Server) -> None:
        self._http = http
        self._server = server
        self._response: httpx.Response | None = None
        self._pieces: Iterator[bytes] = iter(())

    def open(self, call: Call) -> Answer:
        self.close()
        with translated(self._server):
            self._response = self._http.send(request_of(self._http, call), stream=True)
            if self._response.status_code != 200:
                return answer_of(self._response, self._response.read())
        self._pieces = self._response.iter_bytes()
        return answer_of(self._response, b"")

    def read(self) -> bytes | None:
        with translated(self._server):
            return next(self._pieces, None)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._response, self._pieces = None, iter(())
