"""Where rollouts run: threads of this process, or Dask workers. The bits are the same, on the same device."""

from __future__ import annotations

import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from concurrent.futures import Future as LocalFuture
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamfit.errors import ClusterError, RolloutError
from hamfit.fitting.cluster import keep_freed_memory
from hamfit.inference import CompiledModel
from hamfit.inference.warmup import warm_up_inference
from hamfit.lost_tasks import task_error
from hamfit.model import Model
from hamfit.rollouts.plan import RolloutPlan
from hamfit.rollouts.running import run_rollout
from hamfit.rollouts.workspace import Abandoned, Workspace

if TYPE_CHECKING:
    from distributed import Client

#: Seconds between two looks at how far the rollouts are.
_LOOKING_SECONDS = 1.0
#: Tasks on the cluster for each of its threads: one runs, one waits.
_AHEAD = 2
#: Seconds that rollouts on workers have to see that they are given up, and to keep a checkpoint.
_PARTING_SECONDS = 10.0

Listener = Callable[[int], None]
"""Hears how many steps all rollouts have made together."""


class AbstractExecutor(ABC):
    """Runs some states of a plan and returns their summaries, in their order."""

    @abstractmethod
    def run(
        self,
        plan: RolloutPlan,
        compiled: CompiledModel,
        workspace: Workspace,
        states: Mapping[int, int],
        tell: Listener,
    ) -> list[dict[str, Any]]:
        """Run the states to their ends; ``states`` gives, for each, the steps that were made before.

        Whatever it is that ends this, the rollouts end too, at their next stop. Raises StoreError, RolloutError, and
        what the states raise.
        """


class Threads(AbstractExecutor):
    """Threads of this process: as many rollouts side by side as there are threads, or all threads on one."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(
        self,
        plan: RolloutPlan,
        compiled: CompiledModel,
        workspace: Workspace,
        states: Mapping[int, int],
        tell: Listener,
    ) -> list[dict[str, Any]]:
        """See ``AbstractExecutor.run``."""
        if not states:
            return []
        side_by_side = min(self.threads, len(states))
        each = max(1, self.threads // side_by_side)
        steps = dict(states)
        lock = threading.Lock()

        def one(index: int) -> dict[str, Any]:
            def on_step(step: int) -> None:
                with lock:
                    steps[index] = step
                    tell(sum(steps.values()))

            summary = run_rollout(plan, compiled, workspace, index, threads=each, on_step=on_step)
            on_step(plan.options.steps)
            return summary

        if side_by_side == 1:
            return [one(index) for index in states]
        with ThreadPoolExecutor(side_by_side) as pool:
            futures: list[LocalFuture[dict[str, Any]]] = [pool.submit(one, index) for index in states]
            try:
                waiting = set(futures)
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            except BaseException:
                workspace.abandon()
                pool.shutdown(cancel_futures=True)
                raise
        return [future.result() for future in futures]


class Cluster(AbstractExecutor):
    """Dask workers that see the same files: a task carries a path and a number, one rollout each."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def run(
        self,
        plan: RolloutPlan,
        compiled: CompiledModel,
        workspace: Workspace,
        states: Mapping[int, int],
        tell: Listener,
    ) -> list[dict[str, Any]]:
        """See ``AbstractExecutor.run``."""
        from distributed import CancelledError, as_completed
        from distributed.comm.core import CommClosedError

        prefix = f"hamfit-rollout-{uuid.uuid4().hex[:8]}"
        waiting = list(reversed(states))
        running: dict[Any, int] = {}
        summaries: dict[int, dict[str, Any]] = {}
        futures = as_completed(raise_errors=False)
        names = {index: plan.states.name(plan.states[index]) for index in states}
        steps = dict(states)
        threads = self._threads_of_each(len(states))

        def submit() -> None:
            # asked each time: workers come and go
            limit = _AHEAD * max(1, sum(self.client.nthreads().values()))
            while waiting and len(running) < limit:
                index = waiting.pop()
                future = self.client.submit(
                    rollout_task,
                    plan,
                    workspace,
                    index,
                    threads,
                    key=f"{prefix}-{index}",
                    pure=False,
                    priority=-index,
                )
                running[future] = index
                futures.add(future)

        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(_LOOKING_SECONDS):
                for index in list(running.values()):
                    steps[index] = workspace.told(names[index]) or steps[index]
                steps.update(dict.fromkeys(list(summaries), plan.options.steps))
                tell(sum(steps.values()))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            submit()
            for future in futures:
                index = running.pop(future)
                if future.status != "finished":
                    raise _translated(future.exception() if future.status == "error" else None, future.status)
                summaries[index] = future.result()
                submit()
        except (CommClosedError, CancelledError, TimeoutError) as error:
            workspace.abandon()
            raise ClusterError(
                f"the cluster went away ({error}): start it again and repeat the rollout, which goes on where it was"
            ) from error
        except BaseException:
            workspace.abandon()
            self._part(list(running))
            raise
        finally:
            stop.set()
            watcher.join()
        return [summaries[index] for index in states]

    def _threads_of_each(self, n_states: int) -> int:
        """Threads of one rollout: more than one where there are more threads than rollouts."""
        threads: list[int] = list(self.client.nthreads().values()) or [1]
        return max(1, min(min(threads), sum(threads) // max(n_states, 1)))

    def _part(self, running: list[Any]) -> None:
        """Give rollouts on workers the time to keep a checkpoint, before the workers may be stopped."""
        from distributed import wait as wait_for

        with suppress(Exception):
            wait_for(running, timeout=_PARTING_SECONDS)


def rollout_task(plan: RolloutPlan, workspace: Workspace, index: int, threads: int) -> dict[str, Any]:
    """Runs on a worker: one rollout."""
    _ready()
    return run_rollout(plan, _compiled(str(workspace.model), workspace.token), workspace, index, threads=threads)


@lru_cache(maxsize=1)
def _ready() -> None:
    """Prepare this worker once."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")
    keep_freed_memory()
    warm_up_inference()


_compiling = threading.Lock()


def _compiled(path: str, token: str) -> CompiledModel:
    with _compiling:
        return _compiled_once(path, token)


@lru_cache(maxsize=2)
def _compiled_once(path: str, token: str) -> CompiledModel:
    del token  # another driver may have put another model in the same place
    return CompiledModel(Model.open(Path(path)))


def _translated(error: BaseException | None, status: str) -> BaseException:
    if isinstance(error, Abandoned):
        return RolloutError("another rollout to the same place has begun: wait for it, or choose another path")
    return task_error(error, status, "rollout")
