"""Performs effects by awaiting; what takes a while on this machine goes to a thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from typing import Any

from hamfit_service.client.connection import Server, answer_of, request_of, translated
from hamfit_service.client.effects import Answer, Call, Effect, Emit, Open, Pause, Read, Steps, Work
from hamfit_service.client.http import httpx


class AwaitingDriver:
    """Speaks to one server from one event loop."""

    def __init__(self, server: Server, transport: httpx.AsyncBaseTransport | None) -> None:
        self._server = server
        self._http = httpx.AsyncClient(transport=transport, **server.settings())

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def iterate(self, steps: Steps[Any]) -> AsyncIterator[Any]:
        """Perform a flow, and yield what it emits."""
        async with aclosing(_Stream(self._http, self._server)) as stream:
            with closing(steps):
                while steps.effect is not None:
                    if isinstance(steps.effect, Emit):
                        yield steps.effect.value
                        steps.answer(None)
                        continue
                    try:
                        found = await self._perform(steps.effect, stream)
                    except Exception as error:
                        steps.fail(error)
                    else:
                        steps.answer(found)

    async def _perform(self, effect: Effect, stream: _Stream) -> Any:
        match effect:
            case Call():
                with translated(self._server):
                    response = await self._http.send(request_of(self._http, effect))
                return answer_of(response, response.content)
            case Open():
                return await stream.open(effect.call)
            case Read():
                return await stream.read()
            case Pause():
                return await asyncio.sleep(effect.seconds)
            case Work():
                return await asyncio.to_thread(effect.do)


class _Stream:
    """The one answer that is open."""

    def __init__(self, http: httpx.AsyncClient, server: Server) -> None:
        self._http = http
        self._server = server
        self._response: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def open(self, call: Call) -> Answer:
        await self.aclose()
        with translated(self._server):
            self._response = await self._http.send(request_of(self._http, call), stream=True)
            if self._response.status_code != 200:
                return answer_of(self._response, await self._response.aread())
        self._pieces = self._response.aiter_bytes()
        return answer_of(self._response, b"")

    async def read(self) -> bytes | None:
        if self._pieces is None:
            return None
        with translated(self._server):
            return await anext(self._pieces, None)

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()
        self._response, self._pieces = None, None
