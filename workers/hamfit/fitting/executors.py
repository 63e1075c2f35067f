"""Where shards are reduced: the protocol, and the threads of this process.

States are merged within each group along the fixed tree of ``merging``, so every executor gives the same bits. BLAS
runs on one thread everywhere: its results may depend on the number of threads, and the cores are busy with shards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from hamfit.fitting.merging import MergeTree
from hamfit.fitting.partial import PartialState, merge_partial
from hamfit.fitting.shards import Shard
from hamfit.fitting.stage import Stage, reduce_and_keep
from hamfit.fitting.streaming import reductions_of
from hamfit.processes import single_blas_thread
from hamfit.tasks import Task, ThreadTasks

Executor: TypeAlias = Callable[[Stage, Sequence[Shard], Callable[[Shard], None]], dict[int, PartialState]]
"""Reduces all shards of a stage to one state for each group; tells of each shard as it finishes, in any order."""


def on_threads(
    threads: int, stage: Stage, shards: Sequence[Shard], on_done: Callable[[Shard], None]
) -> dict[int, PartialState]:
    """An executor: threads of this process, whose kernels and BLAS release the GIL; the calling one merges states."""
    tree = MergeTree(shards)
    merge = partial(merge_partial, reductions_of(stage.basis), choice=stage.device)
    with single_blas_thread(), stage.keeping() as keeper, ThreadTasks[Shard](threads) as tasks:

        def leaf(shard: Shard) -> Task[Shard]:
            arguments = (shard, stage.basis, keeper(shard), stage.device)
            return Task(shard, "leaf", str(shard.index), reduce_and_keep, arguments)

        for shard, state in tasks.results(map(leaf, shards)):
            on_done(shard)
            tree.merge_up(tree.add_leaf(shard, state), merge)
    return tree.roots
