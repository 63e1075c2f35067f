"""Where shards are reduced: the protocol, and the threads of this process.

States are merged within each group along the fixed tree of ``merging``, so every executor gives the same bits. BLAS
runs on one thread everywhere: its results may depend on the number of threads, and the cores are busy with shards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from hamfit.fitting.merging import MergeTree
from hamfit.fitting.partial import PartialState, merge_partial
from hamfit.fitting.shards import Shard
from hamfit.fitting.stage import Stage, reduce_and_keep, single_blas_thread
from hamfit.fitting.streaming import reductions_of


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
        reductions = reductions_of(stage.basis)
        tree = MergeTree(shards)
        waiting = deque(shards)
        running: dict[Future[PartialState], Shard] = {}
        with single_blas_thread(), ThreadPoolExecutor(self.threads) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < self.threads + 1:
                        shard = waiting.popleft()
                        keeper = stage.keeper(shard)
                        running[pool.submit(reduce_and_keep, shard, stage.basis, keeper, stage.device)] = shard
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in sorted(done, key=lambda f: running[f].index):
                        shard, state = running.pop(future), future.result()
                        on_done(shard)
                        merge = tree.add_leaf(shard, state)
                        while merge is not None:
                            node, left, right = merge
                            merge = tree.add(node, merge_partial(reductions, left, right, stage.device))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return tree.roots
