"""Where shards are reduced: on threads of this process or on Dask workers, with the same bits either way.

States are merged within each group along a fixed binary tree over the order of the plan: leaf 2i with leaf 2i + 1,
and so on upwards. The tree depends on the plan alone, so neither the number of workers nor the order in which they
finish, nor a retry after a worker's death, changes a bit. BLAS runs on one thread everywhere: its results may
depend on the number of threads, and the cores are busy with shards already.
"""

from __future__ import annotations

import ctypes
import hashlib
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamfit.bundles import MANIFEST, read_bundle, write_bundle
from hamfit.errors import FitError, HamfitError, StoreError
from hamfit.fitting.basis import Basis
from hamfit.fitting.partial import PartialState, merge_partial
from hamfit.fitting.shards import Shard
from hamfit.fitting.streaming import reduce_shard, reductions_of
from hamfit.kernels.warmup import warm_up

if TYPE_CHECKING:
    from distributed import Client

_BASIS_SCHEMA = 1
_STATE_SCHEMA = 1
#: Tasks handed to the cluster ahead of a free thread, so that none waits for the driver.
_AHEAD = 2
#: States below this size are merged by the driver.
_SMALL_STATE_BYTES = 2 * 2**20


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
    keep_states: bool = True
    """Whether finished states are stored for a restart; not worth it for a pass of a second."""

    @property
    def basis_path(self) -> Path | None:
        """Where the basis is stored for workers."""
        return None if self.home is None else self.home / f"{self.name}-basis"

    def state_path(self, shard: Shard) -> Path | None:
        """Where the state of a shard is stored once finished."""
        if self.home is None or not self.keep_states:
            return None
        return self.home / f"{self.name}-{shard.index:06d}"


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
    """Dask workers: tasks carry ranges and paths, results are states.

    Small states come to the driver as soon as they are ready and are merged there, which costs less than a task;
    large ones stay on the workers, are merged by tasks, and only the roots travel.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    def run(self, stage: Stage, shards: Sequence[Shard], on_done: Callable[[Shard], None]) -> dict[int, PartialState]:
        """Reduce all shards; a bounded number is in flight at any time."""
        write_basis(stage)
        reductions = reductions_of(stage.basis)
        here = sum(reduction.state_bytes for reduction in reductions.values()) < _SMALL_STATE_BYTES
        run = _DaskRun(self.client, stage, shards, here)
        for shard in run:
            on_done(shard)
        if here:
            return run.tree.roots
        roots: dict[int, PartialState] = self.client.gather(run.tree.roots)
        return roots


class _DaskRun:
    """One pass over shards on a cluster: iterating submits, merges and yields every shard once it is reduced."""

    def __init__(self, client: Client, stage: Stage, shards: Sequence[Shard], here: bool) -> None:
        from distributed import as_completed

        self.client, self.stage, self.here = client, stage, here
        self.tree = MergeTree(shards)
        self.reductions = reductions_of(stage.basis)
        self._basis = StoredBasis.at(stage)
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
            if future.status == "error":
                raise _translated(future.exception())
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
            path = self.stage.state_path(shard)
            self._futures.add(
                self.client.submit(
                    leaf_task,
                    shard,
                    self._basis,
                    None if path is None else str(path),
                    key=key,
                    pure=False,
                )
            )

    def _climb(self, merge: tuple[tuple[int, int, int], Any, Any] | None) -> None:
        while merge is not None:
            node, left, right = merge
            if self.here:
                merge = self.tree.add(node, merge_partial(self.reductions, left, right))
                continue
            key = f"{self._prefix}-node-{'-'.join(map(str, node))}"
            self._nodes[key] = node
            self._futures.add(self.client.submit(merge_task, self._basis, left, right, key=key, pure=False))
            return


@dataclass(frozen=True, slots=True)
class StoredBasis:
    """Where workers find the basis of a stage."""

    path: str
    """Path of the bundle."""
    digest: str
    """Digest of its manifest: another fit to the same place has another basis there."""

    @classmethod
    def at(cls, stage: Stage) -> StoredBasis:
        """The basis of a stage, already written."""
        if stage.basis_path is None:
            raise FitError("a fit on a cluster needs a directory that all workers can read: give out=")
        manifest = (stage.basis_path / MANIFEST).read_bytes()
        return cls(str(stage.basis_path), hashlib.sha256(manifest).hexdigest())


def leaf_task(shard: Shard, stored: StoredBasis, state_path: str | None) -> PartialState:
    """Runs on a worker: reduce one shard."""
    _ready()
    return reduce_and_keep(shard, _cached_basis(stored), None if state_path is None else Path(state_path))


def merge_task(stored: StoredBasis, left: PartialState, right: PartialState) -> PartialState:
    """Runs on a worker: merge two states."""
    _ready()
    return merge_partial(reductions_of(_cached_basis(stored)), left, right)


@cache
def _ready() -> None:
    """Prepare this worker once: BLAS on one thread for the rest of its life, kernels compiled one process at a time."""
    from threadpoolctl import threadpool_limits

    # not a context: tasks run side by side, and the first to end must not restore the others' BLAS
    threadpool_limits(limits=1, user_api="blas")
    _keep_freed_memory()
    warm_up()


def _keep_freed_memory() -> None:
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


def _translated(error: Mapping[str, Any] | BaseException | None) -> BaseException:
    if isinstance(error, HamfitError):
        return error
    return FitError(f"a worker failed ({type(error).__name__}: {error}); see the worker's log for the traceback")
