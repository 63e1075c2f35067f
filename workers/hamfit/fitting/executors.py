"""Where shards are reduced: on threads of this process or on Dask workers, with the same bits either way.

States are merged within each group along a fixed binary tree over the order of the plan: leaf 2i with leaf 2i + 1,
and so on upwards. The tree depends on the plan alone, so neither the number of workers nor the order in which they
finish, nor a retry after a worker's death, changes a bit. BLAS runs on one thread everywhere: its results may
depend on the number of threads, and the cores are busy with shards already.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamfit.bundles import read_bundle, write_bundle
from hamfit.errors import FitError, HamfitError, StoreError
from hamfit.fitting.basis import Basis
from hamfit.fitting.partial import PartialState, merge_partial
from hamfit.fitting.shards import Shard
from hamfit.fitting.streaming import reduce_shard, reductions_of

if TYPE_CHECKING:
    from distributed import Client

_BASIS_SCHEMA = 1
_STATE_SCHEMA = 1
#: Tasks handed to the cluster ahead of a free thread, so that none waits for the driver.
_AHEAD = 2


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """BLAS on one thread of execution within this process."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield


@dataclass(frozen=True, slots=True)
class Stage:
    """A pass over shards: where its basis and its finished states are kept."""

    basis: Basis
    """What to reduce with."""
    name: str
    """Name of the pass, unique within the fit."""
    home: Path | None
    """Directory for the basis and the states; None keeps everything in memory."""

    @property
    def basis_path(self) -> Path | None:
        """Where the basis is stored for workers."""
        return None if self.home is None else self.home / f"{self.name}-basis"

    def state_path(self, shard: Shard) -> Path | None:
        """Where the state of a shard is stored once finished."""
        return None if self.home is None else self.home / f"{self.name}-{shard.index:06d}"


def write_basis(stage: Stage) -> None:
    """Store the basis of a stage for workers, and for a restarted fit, to read."""
    path = stage.basis_path
    if path is not None and not path.exists():
        write_bundle(path, "basis", _BASIS_SCHEMA, *stage.basis.to_store())


def read_basis(path: Path) -> Basis:
    """Read a stored basis."""
    return Basis.from_store(*read_bundle(path, "basis", _BASIS_SCHEMA))


def stored_basis(home: Path | None, name: str) -> Basis | None:
    """The basis of a stage that an interrupted fit left in its workspace, if it got that far."""
    if home is None or not (home / f"{name}-basis").exists():
        return None
    try:
        return read_basis(home / f"{name}-basis")
    except StoreError:
        return None


def finished_state(path: Path | None) -> PartialState | None:
    """The stored state of a shard, or None when it is not there or was not completed."""
    if path is None or not path.exists():
        return None
    try:
        return PartialState.from_store(*read_bundle(path, "state", _STATE_SCHEMA))
    except StoreError:
        # a damaged state is worth no more than a missing one: the shard is computed again
        return None


def reduce_and_keep(shard: Shard, basis: Basis, path: Path | None) -> PartialState:
    """The state of a shard: read where an earlier run left it, else computed and stored."""
    found = finished_state(path)
    if found is not None:
        return found
    state = reduce_shard(shard, basis)
    if path is not None:
        write_bundle(path, "state", _STATE_SCHEMA, *state.to_store())
    return state


class AbstractExecutor(ABC):
    """Runs a stage and returns one merged state for each group."""

    @abstractmethod
    def run(self, stage: Stage, shards: Sequence[Shard], on_done: Callable[[Shard], None]) -> dict[int, PartialState]:
        """Reduce all shards; ``on_done`` hears of each as it finishes, in any order."""


class MergeTree:
    """The fixed binary tree over the leaves of each group: knows which two states may merge next."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.group_of: dict[int, tuple[int, int]] = {}
        self.sizes: dict[int, int] = {}
        for shard in shards:
            place = self.sizes.get(shard.group, 0)
            self.group_of[shard.index] = (shard.group, place)
            self.sizes[shard.group] = place + 1
        self._waiting: dict[tuple[int, int, int], Any] = {}
        self.roots: dict[int, Any] = {}

    def add_leaf(self, shard: Shard, state: Any) -> tuple[tuple[int, int, int], Any, Any] | None:
        """Put a leaf's state in place; the next merge (node, left, right) if there is one."""
        group, place = self.group_of[shard.index]
        return self.add((group, 0, place), state)

    def add(self, node: tuple[int, int, int], state: Any) -> tuple[tuple[int, int, int], Any, Any] | None:
        """Put a node's state in place; the next merge (node, left, right) if both sides are there."""
        group, level, place = node
        while True:
            width = -(-self.sizes[group] // 2**level)
            if width == 1:
                self.roots[group] = state
                return None
            sibling = place ^ 1
            if sibling >= width:
                # the odd one out moves up unmerged
                level, place = level + 1, place // 2
                continue
            other = self._waiting.pop((group, level, sibling), None)
            if other is None:
                self._waiting[group, level, place] = state
                return None
            left, right = (state, other) if place < sibling else (other, state)
            return (group, level + 1, place // 2), left, right


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
                        path = stage.state_path(shard)
                        running[pool.submit(reduce_and_keep, shard, stage.basis, path)] = shard
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in sorted(done, key=lambda f: running[f].index):
                        shard, state = running.pop(future), future.result()
                        on_done(shard)
                        merge = tree.add_leaf(shard, state)
                        while merge is not None:
                            node, left, right = merge
                            merge = tree.add(node, merge_partial(reductions, left, right))
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return tree.roots


class DaskExecutor(AbstractExecutor):
    """Dask workers: tasks carry ranges and paths, states stay on the workers until the roots are fetched."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def run(self, stage: Stage, shards: Sequence[Shard], on_done: Callable[[Shard], None]) -> dict[int, PartialState]:
        """Reduce all shards; a bounded number is in flight at any time."""
        from distributed import as_completed

        if stage.basis_path is None:
            raise FitError("a fit on a cluster needs a directory that all workers can read: give out=")
        write_basis(stage)
        run = uuid.uuid4().hex[:8]
        basis_path, home = str(stage.basis_path), stage
        tree = MergeTree(shards)
        waiting = deque(shards)
        leaves: dict[str, Shard] = {}
        nodes: dict[str, tuple[int, int, int]] = {}
        futures = as_completed()
        in_flight = 0
        limit = _AHEAD * max(1, sum(self.client.nthreads().values()))

        def submit_leaves() -> None:
            nonlocal in_flight
            while waiting and in_flight < limit:
                shard = waiting.popleft()
                key = f"hamfit-{stage.name}-{run}-leaf-{shard.index}"
                leaves[key] = shard
                futures.add(
                    self.client.submit(leaf_task, shard, basis_path, str(home.state_path(shard)), key=key, pure=False)
                )
                in_flight += 1

        def climb(merge: tuple[tuple[int, int, int], Any, Any] | None) -> None:
            if merge is None:
                return
            node, left, right = merge
            key = f"hamfit-{stage.name}-{run}-node-{'-'.join(map(str, node))}"
            nodes[key] = node
            futures.add(self.client.submit(merge_task, basis_path, left, right, key=key, pure=False))

        submit_leaves()
        for future in futures:
            if future.status == "error":
                raise _translated(future.exception())
            if future.key in leaves:
                shard = leaves.pop(future.key)
                in_flight -= 1
                submit_leaves()
                climb(tree.add_leaf(shard, future))
                on_done(shard)
            else:
                climb(tree.add(nodes.pop(future.key), future))
        roots: dict[int, PartialState] = self.client.gather(tree.roots)
        return roots


def leaf_task(shard: Shard, basis_path: str, state_path: str) -> PartialState:
    """Runs on a worker: reduce one shard with the basis stored at ``basis_path``."""
    _keep_blas_single()
    return reduce_and_keep(shard, _cached_basis(basis_path), Path(state_path))


def merge_task(basis_path: str, left: PartialState, right: PartialState) -> PartialState:
    """Runs on a worker: merge two states."""
    _keep_blas_single()
    return merge_partial(reductions_of(_cached_basis(basis_path)), left, right)


@cache
def _keep_blas_single() -> None:
    """BLAS on one thread for the rest of this worker's life: tasks run side by side and must not restore it."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")


_BASES: dict[str, Basis] = {}


def _cached_basis(path: str) -> Basis:
    if path not in _BASES:
        # one fit at a time: an older basis will not be asked for again
        _BASES.clear()
        _BASES[path] = read_basis(Path(path))
    return _BASES[path]


def _translated(error: Mapping[str, Any] | BaseException | None) -> BaseException:
    if isinstance(error, HamfitError):
        return error
    return FitError(f"a worker failed ({type(error).__name__}: {error}); see the worker's log for the traceback")
