"""Workers beside the GPUs of this machine: one process for each, made by dask-cuda.

dask-cuda shows each worker its own GPU, near which it keeps the worker's threads. Memory comes from a pool of RMM where
that is installed, and CuPy takes it from there; elsewhere CuPy keeps its own pool, which asks the driver when it grows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from hamfit.checked_options import CheckedOptions
from hamfit.errors import ClusterError, SpecError
from hamfit_service.clusters.local import LIFELINE, local_options, worker_home

if TYPE_CHECKING:
    from distributed import Client

_INSTALL = "pip install 'hamfit[gpu,cuda-cluster]'"


class GpuOptions(CheckedOptions):
    """How workers beside GPUs hold memory and reach each other."""

    gpu_pool: float = Field(
        default=0.8,
        ge=0.0,
        le=0.95,
        description="Share of each GPU's memory that RMM takes when a worker starts, where RMM is installed; 0 leaves"
        " memory to CuPy's own pool.",
    )
    gpu_ucx: bool = Field(
        default=False,
        description="Let workers beside GPUs speak UCX (NVLink, InfiniBand) instead of TCP. UCX knows no certificates:"
        " only for machines whose users all trust each other. Needs distributed-ucxx.",
    )

    @classmethod
    def from_environment(cls) -> Self:
        """What the variables HAMFIT_GPU_POOL and HAMFIT_GPU_UCX say; SpecError for what is not allowed."""
        variables = {name: f"HAMFIT_{name.upper()}" for name in cls.model_fields}
        given = {name: os.environ[variable] for name, variable in variables.items() if variable in os.environ}
        return cls.build(given, source=" and ".join(variables[name] for name in given) or "options")


def check_installed(options: GpuOptions) -> None:
    """SpecError where a package is missing that workers beside GPUs need."""
    needed = {"dask_cuda": "dask-cuda", "cupy": "CuPy"}
    if options.gpu_ucx:
        needed["distributed_ucxx"] = "distributed-ucxx"
    missing = [name for module, name in needed.items() if find_spec(module) is None]
    if missing:
        remedy = "pip install distributed-ucxx-cu12" if missing == ["distributed-ucxx"] else _INSTALL
        raise SpecError(f"cluster 'local-cuda' needs {' and '.join(missing)}, which is not installed: {remedy}")


def cuda_cluster(scratch: str, workers: int | None, threads: int, options: GpuOptions, **others: Any) -> Any:
    """A running ``dask_cuda.LocalCUDACluster``; its settings are those of ``worker_home``, in place before."""
    wanted: dict[str, Any] = {
        **local_options(scratch),
        "n_workers": workers,
        "threads_per_worker": threads,
        # the settings' preloads are replaced by those given here
        "preload": [LIFELINE],
        # tasks return host arrays and keep their memory within bounds by themselves: there is nothing to spill
        "device_memory_limit": None,
        **others,
    }
    if options.gpu_pool and find_spec("rmm") is not None:
        wanted.update(rmm_pool_size=options.gpu_pool, rmm_allocator_external_lib_list=["cupy"])
    if options.gpu_ucx:
        wanted["protocol"] = "ucx"
    return import_module("dask_cuda").LocalCUDACluster(**wanted)


@dataclass(frozen=True, slots=True)
class LocalGpus:
    """A worker process for each GPU of this machine, reached over the loopback interface only."""

    workers: int | None = None
    """Number of processes; None for one for each GPU that CUDA_VISIBLE_DEVICES leaves."""
    threads: int = 1
    """Threads that run tasks in each process; a GPU computes one panel at a time, so more only read ahead."""
    options: GpuOptions = field(default_factory=GpuOptions)
    """How they hold memory and reach each other."""

    def connect(self) -> AbstractContextManager[Client]:
        """Start the processes, and stop them on leaving.

        Raises:
            SpecError: a package is missing.
            ClusterError: on entering the context, the processes do not come up.

        """
        check_installed(self.options)
        return self._running()

    @contextmanager
    def _running(self) -> Iterator[Client]:
        from distributed import Client

        with worker_home() as scratch:
            try:
                started = cuda_cluster(scratch, self.workers, self.threads, self.options)
            except Exception as error:
                # of the driver, of NVML, of RMM: each has its own exceptions
                raise ClusterError(
                    f"workers beside GPUs cannot be started ({error}); see what `hamfit doctor` says of the GPUs"
                ) from error
            with started as cluster, Client(cluster) as client:
                yield client
