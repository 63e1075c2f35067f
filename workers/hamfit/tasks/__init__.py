"""Tasks, a bounded number of them in flight: given out as there is room, told as they end, taken back whatever ends.

task       what is to be done, and the threads of this process that do it
cluster    Dask workers that do it, as many as there are now, and what a task without a result means
"""

from __future__ import annotations

from hamfit.tasks.cluster import ClusterTasks, check_client
from hamfit.tasks.task import Task, ThreadTasks

__all__ = ["ClusterTasks", "Task", "ThreadTasks", "check_client"]
