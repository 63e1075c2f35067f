"""Where shards are reduced: the protocol, and the threads of this process.

States are merged within each group along the fixed tree of ``merging``, so every executor gives the same bits. BLAS
runs on one thread everywhere: its results may depend on the number of threads, and the cores are busy with shards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

from hamfit.fitting.merging import MergeTree
from hamfit.fitting.partial import PartialState, merge_partial
from hamfit.fitting.shards import Shard
from hamfit.fitting.stage import Stage, reduce_and_keep
from hamfit.fitting.streaming import reductions_of
from hamfit.processes import single_blas_thread
from hamfit.tasks import Task, ThreadTasks


class AbstractExecutor(ABC):
    """Runs a stage and returns one merged state for each group."""

    @abstractmethod
    def run(self, stage: Stage, shards: Sequence[Shard], on_done: Callable[[Shard], None]) -> dict[int, PartialState]:
        """Reduce all shards; ``on_done`` hears of each as it finishes, in any order."""


class ThreadExecutor(AbstractExecutor):
    """Threads of this process: kernels and BLAS release the GIL."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(self, stage: Stage, shards: Sequence[Shard], on_done: Callable[[Shard], None]) -> dict[int, PartialState]:
        """Reduce all shards; states are merged by the calling thread as they come."""
        tree = MergeTree(shards)
        merge = partial(merge_partial, reductions_of(stage.basis), choice=stage.device)
        with single_blas_thread(), stage.keeping() as keeper, ThreadTasks[Shard](self.threads) as tasks:

            def leaf(shard: Shard) -> Task[Shard]:
                arguments = (shard, stage.basis, keeper(shard), stage.device)
                return Task(shard, "leaf", str(shard.index), reduce_and_keep, arguments)

            for shard, state in tasks.results(map(leaf, shards)):
                on_done(shard)
                tree.merge_up(tree.add_leaf(shard, state), merge)
        return tree.roots
