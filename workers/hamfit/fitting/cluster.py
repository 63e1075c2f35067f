"""Shards on Dask workers: tasks carry ranges and paths, results are states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from hamfit.devices import DeviceChoice
from hamfit.fitting.basis import Basis
from hamfit.fitting.merging import Merge, MergeTree, Node
from hamfit.fitting.partial import PartialState, merge_partial
from hamfit.fitting.shards import Shard
from hamfit.fitting.stage import Stage, StateKeeper, StoredBasis, read_basis, reduce_and_keep
from hamfit.fitting.streaming import reductions_of
from hamfit.fitting.warmup import warm_up
from hamfit.processes import prepare_worker, single_blas_thread
from hamfit.reductions import LARGE_STATE_BYTES
from hamfit.tasks import ClusterTasks, Task

if TYPE_CHECKING:
    from distributed import Client


def on_cluster(
    client: Client, stage: Stage, shards: Sequence[Shard], on_done: Callable[[Shard], None]
) -> dict[int, PartialState]:
    """An executor: Dask workers, a bounded number of shards in flight at any time.

    Small states come to the driver as soon as they are ready and are merged there, which costs less than a task;
    large ones stay on the workers, are merged by tasks, and only the roots travel.
    """
    basis, tree = stage.stored(), MergeTree(shards)
    reductions = reductions_of(stage.basis)
    here = sum(reduction.state_bytes for reduction in reductions.values()) < LARGE_STATE_BYTES
    # the tasks end, or are waited for, before their states are no longer kept
    with (
        single_blas_thread(),
        stage.keeping() as keeper,
        ClusterTasks[Shard | Node](client, "fit", gather=here) as tasks,
    ):

        def climb(merge: Merge | None) -> None:
            if here:
                # too small for a device, so the same on whichever machine the driver runs
                tree.merge_up(merge, partial(merge_partial, reductions))
            elif merge is not None:
                node, *states = merge
                name = "-".join(map(str, node))
                tasks.submit(Task(node, f"{stage.name}-node", name, merge_task, (basis, *states, stage.device)))

        def leaf(shard: Shard) -> Task[Shard | Node]:
            arguments = (shard, basis, keeper(shard), stage.device)
            return Task(shard, f"{stage.name}-leaf", str(shard.index), leaf_task, arguments)

        for done, state in tasks.results(map(leaf, shards)):
            if isinstance(done, Shard):
                climb(tree.add_leaf(done, state))
                on_done(done)
            else:
                climb(tree.add(done, state))
        roots: dict[int, PartialState] = tree.roots if here else tasks.gather(tree.roots)
    return roots


def leaf_task(shard: Shard, stored: StoredBasis, keeper: StateKeeper | None, device: DeviceChoice) -> PartialState:
    """Runs on a worker: reduce one shard, on a GPU where the worker has one and nothing else is asked for."""
    basis = _cached_basis(stored)
    prepare_worker()
    warm_up(tuple(sorted({block.kind for part in basis.parts for block in part.blocks})))
    return reduce_and_keep(shard, basis, keeper, device)


def merge_task(stored: StoredBasis, left: PartialState, right: PartialState, device: DeviceChoice) -> PartialState:
    """Runs on a worker: merge two states, by the same rule as threads of one process do."""
    prepare_worker()
    return merge_partial(reductions_of(_cached_basis(stored)), left, right, device)


@lru_cache(maxsize=2)
def _cached_basis(stored: StoredBasis) -> Basis:
    return read_basis(Path(stored.path))
