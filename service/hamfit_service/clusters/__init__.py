"""Where the work of a fit runs: each kind of cluster is an adapter that yields a Dask client.

`hamfit` itself takes a client or none and knows nothing of processes, machines or queues.
"""

from __future__ import annotations

from hamfit_service.clusters.adapter import ClusterAdapter, ClusterName, choose_cluster
from hamfit_service.clusters.gpus import GpuOptions, LocalGpus
from hamfit_service.clusters.local import LocalProcesses, RunningScheduler, ThreadsOnly

__all__ = [
    "ClusterAdapter",
    "ClusterName",
    "GpuOptions",
    "LocalGpus",
    "LocalProcesses",
    "RunningScheduler",
    "ThreadsOnly",
    "choose_cluster",
]
