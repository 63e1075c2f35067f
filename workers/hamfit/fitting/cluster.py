"""Shards on Dask workers: tasks carry ranges and paths, results are states."""

from __future__ import annotations

import ctypes
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamfit.devices import DeviceChoice
from hamfit.errors import ClusterError
from hamfit.fitting.basis import Basis
from hamfit.fitting.executors import AbstractExecutor
from hamfit.fitting.merging import MergeTree
from hamfit.fitting.partial import PartialState, merge_partial
from hamfit.fitting.shards import Shard
from hamfit.fitting.stage import Stage, StateKeeper, StoredBasis, read_basis, reduce_and_keep
from hamfit.fitting.streaming import reductions_of
from hamfit.fitting.warmup import warm_up
from hamfit.lost_tasks import task_error
from hamfit.reductions import LARGE_STATE_BYTES

if TYPE_CHECKING:
    from distributed import Client

#: Tasks handed to the cluster ahead of a free thread, so that none waits for the driver.
_AHEAD = 2


class DaskExecutor(AbstractExecutor):
    """Dask workers: tasks carry ranges and paths, results are states.

    Small states come to the driver as soon as they are ready and are merged there, which costs less than a task;
    large ones stay on the workers, are merged by tasks, and only the roots travel.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    def run(self, stage: Stage, shards: Sequence[Shard], on_done: Callable[[Shard], None]) -> dict[int, PartialState]:
        """Reduce all shards; a bounded number is in flight at any time."""
        from distributed import CancelledError
        from distributed.comm.core import CommClosedError

        stage.store()
        reductions = reductions_of(stage.basis)
        here = sum(reduction.state_bytes for reduction in reductions.values()) < LARGE_STATE_BYTES
        try:
            run = _DaskRun(self.client, stage, shards, here)
            for shard in run:
                on_done(shard)
            if here:
                return run.tree.roots
            roots: dict[int, PartialState] = self.client.gather(run.tree.roots)
        except (CommClosedError, CancelledError, TimeoutError) as error:
            raise ClusterError(
                f"the cluster went away ({error}): start it again and repeat the fit, which takes up where it was"
            ) from error
        return roots


class _DaskRun:
    """One pass over shards on a cluster: iterating submits, merges and yields every shard once it is reduced."""

    def __init__(self, client: Client, stage: Stage, shards: Sequence[Shard], here: bool) -> None:
        from distributed import as_completed

        self.client, self.stage, self.here = client, stage, here
        self.tree = MergeTree(shards)
        self.reductions = reductions_of(stage.basis)
        self._basis = stage.stored()
        self._prefix = f"hamfit-{stage.name}-{uuid.uuid4().hex[:8]}"
        self._waiting = deque(shards)
        self._leaves: dict[str, Shard] = {}
        self._nodes: dict[str, tuple[int, int, int]] = {}
        self._futures = as_completed(with_results=here, raise_errors=False)
        self._limit = _AHEAD * max(1, sum(client.nthreads().values()))

    def __iter__(self) -> Iterator[Shard]:
        self._submit()
        for item in self._futures:
            future, value = item if self.here else (item, item)
            if future.status != "finished":
                raise task_error(future.exception() if future.status == "error" else None, future.status, "fit")
            if future.key not in self._leaves:
                self._climb(self.tree.add(self._nodes.pop(future.key), value))
                continue
            shard = self._leaves.pop(future.key)
            self._submit()
            self._climb(self.tree.add_leaf(shard, value))
            yield shard

    def _submit(self) -> None:
        while self._waiting and len(self._leaves) < self._limit:
            shard = self._waiting.popleft()
            key = f"{self._prefix}-leaf-{shard.index}"
            self._leaves[key] = shard
            self._futures.add(
                self.client.submit(
                    leaf_task,
                    shard,
                    self._basis,
                    self.stage.keeper(shard),
                    self.stage.device,
                    key=key,
                    pure=False,
                )
            )

    def _climb(self, merge: tuple[tuple[int, int, int], Any, Any] | None) -> None:
        while merge is not None:
            node, left, right = merge
            if self.here:
                # too small for a device, so the same on whichever machine the driver runs
                merge = self.tree.add(node, merge_partial(self.reductions, left, right))
                continue
            key = f"{self._prefix}-node-{'-'.join(map(str, node))}"
            self._nodes[key] = node
            self._futures.add(
                self.client.submit(merge_task, self._basis, left, right, self.stage.device, key=key, pure=False)
            )
            return


def leaf_task(
    shard: Shard, stored: StoredBasis, keeper: StateKeeper | None, device: DeviceChoice = "auto"
) -> PartialState:
    """Runs on a worker: reduce one shard, on a GPU where the worker has one and nothing else is asked for."""
    basis = _cached_basis(stored)
    _ready(tuple(sorted({block.kind for part in basis.parts for block in part.blocks})))
    return reduce_and_keep(shard, basis, keeper, device)


def merge_task(
    stored: StoredBasis, left: PartialState, right: PartialState, device: DeviceChoice = "auto"
) -> PartialState:
    """Runs on a worker: merge two states, by the same rule as threads of one process do."""
    _ready(())
    return merge_partial(reductions_of(_cached_basis(stored)), left, right, device)


@cache
def _ready(kinds: tuple[str, ...]) -> None:
    """Prepare this worker once: BLAS on one thread for the rest of its life, kernels compiled one process at a time."""
    from threadpoolctl import threadpool_limits

    # not a context: tasks run side by side, and the first to end must not restore the others' BLAS
    threadpool_limits(limits=1, user_api="blas")
    keep_freed_memory()
    warm_up(kinds)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next panel instead of handing it back.

    Dask starts workers with MALLOC_TRIM_THRESHOLD_ = 64 kB, so that idle ones stay small; panels are freed and
    allocated thousands of times a second, and fetching their pages anew made shards take 1.8 times as long.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_threshold, 32 * 2**20)
        libc.mallopt(m_trim_threshold, 128 * 2**20)
    except (OSError, AttributeError):
        # another C library: nothing to tell it
        return


@lru_cache(maxsize=2)
def _cached_basis(stored: StoredBasis) -> Basis:
    return read_basis(Path(stored.path))
