"""No body is larger than allowed, and none takes for ever: counted while it comes, not when it is there."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATIENCE_SECONDS = 30.0
"""How long a client may take for its whole body."""


class BodyLimit:
    """Refuses bodies above a number of bytes, announced or not."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._most = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "DELETE", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        too_large = announced.isascii() and announced.isdigit() and int(announced[:20]) > self._most
        seen = 0
        ended = False
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS

        async def counted() -> Message:
            nonlocal seen, ended
            if too_large:
                raise self._refusal()
            if ended:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body took longer than {PATIENCE_SECONDS:g} s; send it again") from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                ended = not message.get("more_body", False)
                if seen > self._most:
                    raise self._refusal()
            return message

        await self._app(scope, counted, send)

    def _refusal(self) -> HTTPException:
        # what is left of the body would be read as the next request
        return HTTPException(
            413, f"the body has more than the {self._most} bytes allowed; send less", {"Connection": "close"}
        )
