"""The cluster that a service runs its jobs on: what is asked of it, and the choice among the kinds there are.

A service asks little: where the scheduler is now, whether it is still the one of a moment ago, and how it fares.
Scaling, queueing and the loss of workers are the cluster's own affair.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from hamfit_service.clusters.connection import checked_address, connect
from hamfit_service.clusters.gpus import GpuOptions, check_installed
from hamfit_service.clusters.hosted import HostedCluster
from hamfit_service.clusters.watched import SchedulerHost
from hamfit_service.wire import ClusterState

if TYPE_CHECKING:
    from hamfit_service.settings import Settings

__all__ = ["ClusterHost", "choose_host", "come_up", "connect"]


_LOOK_SECONDS = 0.05


class ClusterHost(Protocol):
    """A cluster for as long as the service lives. All methods belong to the event loop that called `start`."""

    kind: str
    """local, local-cuda or scheduler."""

    async def start(self) -> None:
        """Begin; returns before the scheduler is there."""

    async def stop(self) -> None:
        """End, with everything that was started; may be called again."""

    @property
    def address(self) -> str | None:
        """Address of the scheduler; None while there is none."""

    @property
    def generation(self) -> int:
        """Grows whenever the scheduler was lost or replaced: what an older one was computing is gone."""

    def connection(self) -> dict[str, str]:
        """What `connect` needs: address and, with TLS, tls_ca, tls_cert, tls_key. Raises ClusterError while down."""

    async def state(self) -> ClusterState:
        """How the cluster fares. Never raises, answers within seconds, and may be asked often."""


async def come_up(cluster: ClusterHost, seconds: float) -> bool:
    """Wait for a cluster that was started, at most so long; whether it is there."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while cluster.address is None and loop.time() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
    return cluster.address is not None


def choose_host(settings: Settings) -> ClusterHost:
    """The cluster that the settings ask for; nothing is started.

    Raises:
        SpecError: the setting `cluster` is none of those there are, or cannot be used as it is.

    """
    if settings.cluster == "local-cuda":
        gpus = GpuOptions(gpu_pool=settings.gpu_pool, gpu_ucx=settings.gpu_ucx)
        check_installed(gpus)
        # one worker for each GPU, unless fewer are asked for; a second thread would only share the device
        return HostedCluster(kind="local-cuda", workers=settings.workers, threads=settings.threads or 1, gpus=gpus)
    if settings.cluster == "local":
        workers, threads = settings.local_workers
        return HostedCluster(kind="local", workers=workers, threads=threads)
    certificates = {"tls_ca": settings.tls_ca, "tls_cert": settings.tls_cert, "tls_key": settings.tls_key}
    return SchedulerHost(checked_address(settings.cluster, certificates), certificates)
