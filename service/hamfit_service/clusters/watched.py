"""A scheduler that somebody else runs: it is watched, never started or stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from hamfit.errors import ClusterError
from hamfit_service.clusters.connection import TLS_NAMES
from hamfit_service.clusters.dashboard import dashboard_link
from hamfit_service.clusters.glance import Glance, state_of
from hamfit_service.wire import ClusterState

LOOK_SECONDS = 1.0

SILENT_LOOKS = 10
"""So many looks without an answer and the scheduler counts as away; it may be busy only, so its work goes on."""

log = structlog.get_logger("hamfit.service")


class SchedulerHost:
    """Watches a scheduler by its identity: another one at the same address is another generation."""

    kind = "scheduler"

    def __init__(self, address: str, certificates: Mapping[str, Path | None]) -> None:
        self._connection = {"address": address}
        if address.startswith("tls://"):
            self._connection.update({name: str(certificates[name]) for name in TLS_NAMES})
        self._glance = Glance()
        self._watching: asyncio.Task[None] | None = None
        self._scheduler: str | None = None
        self._dashboard: str | None = None
        self._is_here = False
        self._generation = 0

    @property
    def address(self) -> str | None:
        """Address of the scheduler; None while it does not answer."""
        return self._connection["address"] if self._is_here else None

    @property
    def generation(self) -> int:
        """Grows whenever the scheduler ended or another took its place."""
        return self._generation

    def connection(self) -> dict[str, str]:
        """What `connect` needs; raises ClusterError while the scheduler does not answer."""
        if not self._is_here:
            raise ClusterError(f"no Dask scheduler answers at '{self._connection['address']}'; see whether it runs")
        return dict(self._connection)

    async def start(self) -> None:
        """Begin to watch."""
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching; the scheduler goes on."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None
        self._is_here = False
        await self._glance.close()

    async def state(self) -> ClusterState:
        """How the cluster fares."""
        try:
            identity = await self._glance.identity(self._connection)
        except Exception as error:
            log.warning("scheduler cannot be asked", reason=str(error))
            identity = None
        return state_of(self.kind, identity, dashboard=self._dashboard if self._is_here else None)

    async def _watch(self) -> None:
        silent = 0
        while True:
            try:
                identity = await self._glance.identity(self._connection, fresh=True)
            except Exception as error:
                # certificates that are being replaced, no descriptor to be had: a look that failed, no more
                log.warning("scheduler cannot be asked; tried again", reason=str(error))
                identity = None
            if identity is not None:
                silent = 0
                if str(identity["id"]) != self._scheduler:
                    self._dashboard = await dashboard_link(self._connection["address"], identity)
                self._met(str(identity["id"]))
            else:
                silent += 1
                if self._glance.refused and silent >= 2:
                    self._lost()
                elif silent >= SILENT_LOOKS:
                    self._is_here = False
            await asyncio.sleep(LOOK_SECONDS)

    def _met(self, scheduler: str) -> None:
        if self._scheduler is not None and scheduler != self._scheduler:
            self._generation += 1
        self._scheduler = scheduler
        self._is_here = True

    def _lost(self) -> None:
        """Nothing listens there any more, so no work of it is left."""
        if self._scheduler is not None:
            self._generation += 1
        self._scheduler = None
        self._is_here = False
