"""Clusters that need nothing installed: no cluster, processes on this machine, a scheduler already running.

BLAS and numba get one thread in each worker thread: parallelism comes from the tasks, and nested thread
pools would only fight for the same cores. The variables must be in place before a worker imports NumPy, so
they are set here, where workers inherit them: Dask's own `pre-spawn-environ` gives way to what the user's
shell happens to have.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamfit.errors import SpecError
from hamfit_service.clusters.connection import checked_address, connect

if TYPE_CHECKING:
    from distributed import Client

LIFELINE = "hamfit_service.clusters.lifeline"
"""Module that each worker loads first."""

ONE_THREAD_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
}
"""Environment of a worker process."""


@dataclass(frozen=True, slots=True)
class ThreadsOnly:
    """No cluster: the library uses threads of this process."""

    def connect(self) -> AbstractContextManager[None]:
        """A context without a client."""
        return nullcontext()


@dataclass(frozen=True, slots=True)
class LocalProcesses:
    """Worker processes on this machine, reached over the loopback interface only."""

    workers: int
    """Number of processes."""
    threads: int
    """Threads that run tasks in each process."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.threads < 1:
            raise SpecError(f"a local cluster needs a worker and a thread, not {self.workers} x {self.threads}")

    @contextmanager
    def _running(self) -> Iterator[Client]:
        from distributed import Client, LocalCluster

        with (
            worker_home() as scratch,
            LocalCluster(**local_options(scratch), n_workers=self.workers, threads_per_worker=self.threads) as cluster,
            Client(cluster) as client,
        ):
            yield client

    def connect(self) -> AbstractContextManager[Client]:
        """Start the processes, and stop them on leaving."""
        return self._running()


@contextmanager
def worker_home() -> Iterator[str]:
    """A folder for the files of worker processes, and all in place that they read when they are started."""
    import dask

    scratch = tempfile.mkdtemp(prefix="hamfit-workers-")
    try:
        with dask.config.set(worker_settings(scratch)), environment(ONE_THREAD_ENVIRONMENT):
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def worker_settings(scratch: str) -> dict[str, Any]:
    """Dask's settings for worker processes on this machine, in place before they are started."""
    return {
        # A nanny restarts lost workers; a task that kills one worker after another is itself at fault.
        "distributed.scheduler.allowed-failures": 3,
        "temporary-directory": scratch,
        "distributed.worker.preload": [LIFELINE],
        # Sampling every worker's stack a hundred times a second costs a tenth of kernels that last milliseconds.
        "distributed.worker.profile.enabled": False,
    }


def local_options(scratch: str) -> dict[str, Any]:
    """How a cluster on this machine is made: reached over the loopback interface only, without a limit of memory."""
    return {
        "host": "127.0.0.1",
        # Without a dashboard the scheduler opens its HTTP port all the same: any free one.
        "dashboard_address": "127.0.0.1:0",
        # Peak memory is predicted before the run; a limit would kill workers, not tell.
        "memory_limit": 0,
        "local_directory": scratch,
        "silence_logs": logging.ERROR,
    }


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for child processes; this process has read its own already."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass(frozen=True, slots=True)
class RunningScheduler:
    """Workers that somebody else started and will stop."""

    address: str
    """Address of the scheduler: tcp://127.0.0.1:PORT on this machine, tls://HOST:PORT elsewhere."""

    def connect(self) -> AbstractContextManager[Client]:
        """Connect to the scheduler, and leave it running; certificates are those of Dask's own configuration.

        Raises:
            SpecError: other machines could send tasks to that address without a certificate, or a certificate is
                missing.
            ClusterError: on entering the context, the scheduler does not answer or has no workers.

        """
        certificates = _configured_certificates()
        address = checked_address(self.address, certificates, _CONFIGURED)
        if not address.startswith("tls://"):
            return connect({"address": address})
        return connect({"address": address} | {name: str(path) for name, path in certificates.items()})


_CONFIGURED = (
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and"
    " DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY in the environment, or the same in Dask's configuration"
)


def _configured_certificates() -> dict[str, Path | None]:
    """What Dask's configuration files and its variables say of a client's certificates."""
    # its defaults come with the import of distributed
    from distributed import Security

    security: Any = Security()
    found = {
        "tls_ca": security.tls_ca_file,
        "tls_cert": security.tls_client_cert,
        "tls_key": security.tls_client_key,
    }
    # a key may lie in the file of its certificate
    found["tls_key"] = found["tls_key"] or found["tls_cert"]
    return {name: None if value is None else Path(value) for name, value in found.items()}
