"""Clients of a service, hundreds in one process: HTTP spoken by hand, so that they cost the machine little."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

_JOB = {"system": "spring", "options": {"shape": "4", "n_trajectories": 1, "n_frames": 2}}


@dataclass(slots=True)
class Load:
    """What many clients saw."""

    port: int
    until: asyncio.Event
    """Set when they should stop."""
    watched: str
    """Id of the job that everybody looks at."""
    accepted: dict[str, set[str]] = field(default_factory=dict)
    """Ids that came back for each idempotency key."""
    dismissed: set[str] = field(default_factory=set)
    gets: list[float] = field(default_factory=list)
    """Seconds of every GET."""
    posts: list[float] = field(default_factory=list)
    events: int = 0
    bad: list[str] = field(default_factory=list)
    """Answers that should not have come."""

    async def poll(self, draw: random.Random) -> None:
        """A client that looks at a job, at the list and at the models, every two seconds or so."""
        paths = (f"/v1/jobs/{self.watched}", "/v1/jobs?limit=20", f"/v1/jobs/{self.watched}/logs", "/v1/models")
        connection = _Connection(self.port)
        while await self._pause(draw.expovariate(0.5)):
            began = time.perf_counter()
            status, _ = await connection.request("GET", draw.choice(paths))
            self.gets.append(time.perf_counter() - began)
            if status != 200:
                self.bad.append(f"GET {status}")
        connection.close()

    async def submit(self, draw: random.Random) -> None:
        """A client that submits small jobs, sends some requests twice at once, and dismisses some."""
        connection, second = _Connection(self.port), _Connection(self.port)
        while await self._pause(draw.expovariate(0.15)):
            key = uuid.UUID(int=draw.getrandbits(128)).hex
            lines = {"Idempotency-Key": key}
            path = "/v1/processes/simulate/execution"
            twice = draw.random() < 0.25
            began = time.perf_counter()
            answers = await asyncio.gather(
                *(each.request("POST", path, _JOB, lines) for each in ([connection, second] if twice else [connection]))
            )
            self.posts.append(time.perf_counter() - began)
            for status, body in answers:
                if status != 201:
                    self.bad.append(f"POST {status}")
                    continue
                self.accepted.setdefault(key, set()).add(json.loads(body)["id"])
            if draw.random() < 0.8 and key in self.accepted:
                job = next(iter(self.accepted[key]))
                status, _ = await connection.request("DELETE", f"/v1/jobs/{job}")
                if status == 200:
                    self.dismissed.add(job)
                else:
                    self.bad.append(f"DELETE {status}")
        connection.close()
        second.close()

    async def follow(self, draw: random.Random) -> None:
        """A client that listens to the events of a job."""
        await asyncio.sleep(draw.random())
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(_head("GET", f"/v1/jobs/{self.watched}/events", {"Accept": "text/event-stream"}, b""))
        waiting = asyncio.create_task(self.until.wait())
        while not self.until.is_set():
            line = asyncio.create_task(reader.readline())
            await asyncio.wait({line, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not line.done():
                line.cancel()
                break
            text = line.result()
            if not text:
                break
            self.events += text.startswith(b"data:")
        waiting.cancel()
        writer.close()

    async def _pause(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.until.wait(), seconds)
        except TimeoutError:
            return True
        return False


class _Connection:
    """One connection that is kept alive."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(
        self, method: str, path: str, content: Any = None, lines: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body; a connection that the server has closed meanwhile is opened again, once."""
        kept = self._streams is not None
        try:
            return await self._ask(method, path, content, lines)
        except (ConnectionError, asyncio.IncompleteReadError):
            self._streams = None
            if not kept:
                raise
            return await self._ask(method, path, content, lines)

    async def _ask(self, method: str, path: str, content: Any, lines: dict[str, str] | None) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        body = b"" if content is None else json.dumps(content).encode()
        writer.write(_head(method, path, lines or {}, body))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = int(head.split(" ", 2)[1])
        length = int(head.split("content-length:", 1)[1].split("\r\n", 1)[0])
        return status, await reader.readexactly(length)

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()


def _head(method: str, path: str, lines: dict[str, str], body: bytes) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    kind = "Content-Type: application/json\r\n" if body else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}{kind}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def run_clients(port: int, watched: str, clients: int, seed: int, until: asyncio.Event) -> Load:
    """Run so many clients until the event: six of ten poll, three of ten listen, one of ten submits."""
    load = Load(port, until, watched)
    jobs = []
    for number in range(clients):
        draw = random.Random(seed * 1000 + number)
        kind = (load.poll, load.follow, load.submit)[0 if number % 10 < 6 else 1 if number % 10 < 9 else 2]
        jobs.append(asyncio.create_task(kind(draw)))
    await asyncio.gather(*jobs)
    return load
