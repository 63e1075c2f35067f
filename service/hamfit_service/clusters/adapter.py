"""The one capability asked of a cluster, and the choice among the kinds there are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from hamfit.checked_options import available_cores, threads_per_process
from hamfit.errors import SpecError
from hamfit_service.clusters.gpus import GpuOptions, LocalGpus
from hamfit_service.clusters.local import LocalProcesses, RunningScheduler, ThreadsOnly

if TYPE_CHECKING:
    from distributed import Client


ClusterName: TypeAlias = Literal["local", "local-cuda"]
"""Clusters that a command can start on this machine."""


class ClusterAdapter(Protocol):
    """A place where tasks run."""

    def connect(self) -> AbstractContextManager[Client | None]:
        """A context whose value is a client with workers, or None for threads in this process.

        On leaving it, everything the adapter started is stopped and removed, whatever happened inside.
        """


def choose_cluster(
    *, workers: int | None, threads: int | None, scheduler: str | None, cluster: ClusterName | None = None
) -> ClusterAdapter:
    """The cluster that the flags `--cluster`, `--workers`, `--threads` and `--scheduler` ask for.

    ``threads`` are those of each local worker, None to leave the choice to the kind of cluster; beside GPUs it is one.

    Raises:
        SpecError: both workers of this command and a running scheduler are asked for.

    """
    if scheduler is not None:
        if workers is not None or cluster is not None:
            flag = "--workers" if workers is not None else "--cluster"
            raise SpecError(f"{flag} starts processes and --scheduler uses running ones; give one of them")
        return RunningScheduler(address=scheduler)
    if cluster == "local-cuda":
        return LocalGpus(workers=workers, threads=threads or 1, options=GpuOptions.from_environment())
    if workers is None and cluster is None:
        return ThreadsOnly()
    workers = workers or max(1, available_cores() // 4)
    return LocalProcesses(workers=workers, threads=threads or threads_per_process({"workers": workers}))
