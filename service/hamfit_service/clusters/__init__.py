"""Where the work of a fit runs: each kind of cluster is an adapter that yields a Dask client.

`hamfit` itself takes a client or none and knows nothing of processes, machines or queues.
"""

from __future__ import annotations

from hamfit_service.clusters.adapter import ClusterAdapter, choose_cluster
from hamfit_service.clusters.local import LocalProcesses, RunningScheduler, ThreadsOnly

__all__ = ["ClusterAdapter", "LocalProcesses", "RunningScheduler", "ThreadsOnly", "choose_cluster"]
