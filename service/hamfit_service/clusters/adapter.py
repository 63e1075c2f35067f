"""The one capability asked of a cluster, and the choice among the kinds there are."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from hamfit.errors import SpecError
from hamfit_service.clusters.local import LocalProcesses, RunningScheduler, ThreadsOnly

if TYPE_CHECKING:
    from distributed import Client


class ClusterAdapter(Protocol):
    """A place where tasks run."""

    def connect(self) -> AbstractContextManager[Client | None]:
        """A context whose value is a client with workers, or None for threads in this process.

        On leaving it, everything the adapter started is stopped and removed, whatever happened inside.
        """


def choose_cluster(*, workers: int | None, threads: int, scheduler: str | None) -> ClusterAdapter:
    """The cluster that the flags `--workers`, `--threads` and `--scheduler` ask for.

    Raises:
        SpecError: both local workers and a running scheduler are asked for.

    """
    if scheduler is not None:
        if workers is not None:
            raise SpecError("--workers starts processes and --scheduler uses running ones; give one of them")
        return RunningScheduler(address=scheduler)
    if workers is None:
        return ThreadsOnly()
    return LocalProcesses(workers=workers, threads=threads)
