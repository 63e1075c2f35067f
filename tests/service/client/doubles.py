"""Servers that fail as networks do: what a real one cannot be made to do on command."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import httpx

Handler = Callable[[httpx.Request], httpx.Response]

JOB: dict[str, Any] = {
    "id": "00000000000000ab",
    "process": "fit",
    "owner": "local",
    "status": "running",
    "progress": {"phase": "features", "percent": 40.0, "done": 4, "total": 10},
    "inputs": {"data": ["seen.zarr"]},
    "submitted_at": "2026-01-02T03:04:05Z",
    "updated_at": "2026-01-02T03:04:05Z",
}


def job(**changes: Any) -> httpx.Response:
    """An answer with a job."""
    return httpx.Response(200, json={**JOB, **changes})


def problem(status: int, detail: str, errors: list[dict[str, str]] | None = None, **headers: str) -> httpx.Response:
    """An answer that says why not."""
    body = {"title": "no", "status": status, "detail": detail, "errors": errors or []}
    return httpx.Response(
        status, headers={"content-type": "application/problem+json", **headers}, content=json.dumps(body)
    )


class Script(httpx.MockTransport):
    """Answers requests one after the other as told; an exception instead of an answer is a broken connection."""

    def __init__(self, *steps: httpx.Response | Exception | Handler) -> None:
        self.seen: list[httpx.Request] = []
        self._steps = list(steps)
        super().__init__(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, httpx.Response) else step(request)


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body of some pieces that ends in a broken connection, unless it is whole."""

    def __init__(self, *pieces: bytes, is_whole: bool = False) -> None:
        self._pieces = pieces
        self._is_whole = is_whole

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if not self._is_whole:
            raise httpx.ReadError("connection reset by peer")

    async def __aiter__(self) -> Any:
        for piece in self:
            yield piece


def events(*frames: str, is_whole: bool = True) -> httpx.Response:
    """A stream of server-sent events."""
    pieces = [frame.encode() for frame in frames]
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Broken(*pieces, is_whole=is_whole))


def archive(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    """A tar archive."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def store(body: bytes | httpx.Response) -> Handler:
    """A server with one job that made a model, whose archive is this."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/results"):
            output = {"name": "model", "kind": "model", "bytes": 1, "href": "/elsewhere"}
            return httpx.Response(
                200, json={"id": JOB["id"], "status": "succeeded", "complete": True, "outputs": [output]}
            )
        return body if isinstance(body, httpx.Response) else httpx.Response(200, content=body)

    return answer
