"""A look at a scheduler from within the service's event loop: who it is and how it fares, quickly, or nothing."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from hamfit_service.clusters.connection import connection_arguments
from hamfit_service.wire import ClusterState

ANSWER_SECONDS = 2.0
"""A scheduler that is busy with thousands of tasks answers in less."""

CONNECT_SECONDS = 1.0
"""Below the time for an answer, so that it is known which of both failed."""

KEPT_SECONDS = 1.0
"""The state is asked by pages and probes; one question a second is enough for all of them."""

Identity = Mapping[str, Any]


class Glance:
    """Asks one scheduler after another; belongs to one event loop."""

    def __init__(self) -> None:
        self._rpc: Any = None
        self._reached: Mapping[str, str] = {}
        self._kept: tuple[float, Identity | None] = (float("-inf"), None)
        self._asking = asyncio.Lock()
        self.refused = False
        """Whether the last question failed because nothing listens at the address."""

    async def identity(self, connection: Mapping[str, str], *, fresh: bool = False) -> Identity | None:
        """What the scheduler says of itself, at most a second old unless ``fresh``; None when it does not answer."""
        async with self._asking:
            if connection != self._reached:
                await self._let_go()
                self._reached = dict(connection)
            at, found = self._kept
            if fresh or time.monotonic() - at > KEPT_SECONDS:
                found = await self._ask(connection)
                self._kept = time.monotonic(), found
            return found

    async def close(self) -> None:
        """Let go of the connection."""
        async with self._asking:
            await self._let_go()

    async def _ask(self, connection: Mapping[str, str]) -> Identity | None:
        # the first import takes a good part of a second, which the loop need not stand still for
        rpc = (await asyncio.to_thread(import_module, "distributed.core")).rpc
        self.refused = False
        try:
            if self._rpc is None:
                arguments = connection_arguments(connection)
                self._rpc = rpc(connection["address"], timeout=CONNECT_SECONDS, connection_args=arguments)
            answer: Identity = await asyncio.wait_for(self._rpc.identity(), ANSWER_SECONDS)
            return answer
        except (OSError, TimeoutError, ValueError, RuntimeError):
            # distributed tries until its time is up, and tells of the last try only, which may have had no time left
            self.refused = await asyncio.to_thread(_is_refused, connection["address"])
            # a comm that was left in the middle of an answer must not be used again
            await self._let_go()
            return None

    async def _let_go(self) -> None:
        self._kept = (float("-inf"), None)
        if self._rpc is not None:
            held, self._rpc = self._rpc, None
            await held.close_rpc()


def _is_refused(address: str) -> bool:
    """Whether the machine is there and nothing listens on the port."""
    place = urlsplit(address)
    try:
        with socket.create_connection((place.hostname, place.port), CONNECT_SECONDS):
            return False
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False


def state_of(kind: str, identity: Identity | None, **others: Any) -> ClusterState:
    """What the service tells of a cluster."""
    if identity is None:
        return ClusterState(kind=kind, alive=False, **others)
    workers = list(identity["workers"].values())
    limits = sum(int(worker["memory_limit"] or 0) for worker in workers)
    return ClusterState(
        kind=kind,
        alive=True,
        workers=len(workers),
        threads=sum(int(worker["nthreads"]) for worker in workers),
        memory_bytes=limits or int(others.pop("memory_bytes", 0)),
        tasks=sum(int(worker["metrics"].get("task_counts", {}).get("executing", 0)) for worker in workers),
        **{name: value for name, value in others.items() if name != "memory_bytes"},
    )
