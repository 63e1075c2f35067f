"""Where rollouts run: threads of this process, or Dask workers. The bits are the same, on the same device."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamfit.errors import RolloutError
from hamfit.inference import CompiledModel
from hamfit.inference.warmup import warm_up_inference
from hamfit.model import Model
from hamfit.processes import prepare_worker
from hamfit.rollouts.plan import RolloutPlan
from hamfit.rollouts.running import run_rollout
from hamfit.rollouts.workspace import Abandoned, Workspace
from hamfit.tasks import ClusterTasks, Task, ThreadTasks

if TYPE_CHECKING:
    from distributed import Client

#: Seconds between two looks at how far the rollouts are.
_LOOKING_SECONDS = 1.0

_compiling = threading.Lock()

Listener = Callable[[int], None]
"""Hears how many steps all rollouts have made together."""


def run_on_threads(
    plan: RolloutPlan, compiled: CompiledModel, workspace: Workspace, states: Mapping[int, int], tell: Listener
) -> list[dict[str, Any]]:
    """Run some states of a plan to their ends, and return their summaries in the same order.

    As many run side by side as there are threads, or all threads on one; ``states`` gives, for each, the steps made
    before. Whatever it is that ends this, the rollouts end too, at their next stop. Raises StoreError, Abandoned, and
    what the states raise.
    """
    if not states:
        return []
    side_by_side = min(plan.options.threads, len(states))
    each = max(1, plan.options.threads // side_by_side)
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
    with ThreadTasks[int](side_by_side) as tasks, _given_up(workspace):
        summaries = dict(tasks.results(Task(index, "rollout", str(index), one, (index,)) for index in states))
    return [summaries[index] for index in states]


def run_on_cluster(
    client: Client, plan: RolloutPlan, workspace: Workspace, states: Mapping[int, int], tell: Listener
) -> list[dict[str, Any]]:
    """As ``run_on_threads``, on Dask workers that see the same files: a task carries paths and a number.

    Raises ClusterError, RolloutError or TaskError beside.
    """
    steps, summaries = dict(states), dict[int, dict[str, Any]]()
    whole = plan.options.steps

    def task(index: int) -> Task[int]:
        return Task(index, "rollout", str(index), rollout_task, (plan, workspace, index, threads), -index)

    def look() -> None:
        tell(sum(whole if index in summaries else step for index, step in list(steps.items())))

    tasks = ClusterTasks[int](client, "rollout", on_look=look)
    workers = tasks.threads()
    # more than one each where workers have more threads than there are rollouts
    threads = max(1, min(min(workers, default=1), sum(workers) // max(len(states), 1)))
    with tasks, _watching(plan, workspace, tasks, steps), _given_up(workspace):
        for index, summary in tasks.results(map(task, states)):
            summaries[index] = summary
    return [summaries[index] for index in states]


@contextmanager
def _given_up(workspace: Workspace) -> Iterator[None]:
    """Tell the rollouts to end when the block does not come to its end."""
    try:
        yield
    except BaseException:
        workspace.abandon()
        raise


@contextmanager
def _watching(
    plan: RolloutPlan, workspace: Workspace, tasks: ClusterTasks[int], steps: dict[int, int]
) -> Iterator[None]:
    """See how far the rollouts are while the block goes on: on a thread, for thousands of files take a while."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_LOOKING_SECONDS):
            for index in tasks.running:
                steps[index] = workspace.told(plan.states.name(plan.states[index])) or steps[index]

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def rollout_task(plan: RolloutPlan, workspace: Workspace, index: int, threads: int) -> dict[str, Any]:
    """Runs on a worker: one rollout."""
    _ready()
    with _compiling:
        compiled = _compiled(str(workspace.model), workspace.token)
    try:
        return run_rollout(plan, compiled, workspace, index, threads=threads)
    except Abandoned:
        raise RolloutError(
            "another rollout to the same place has begun: wait for it, or choose another path"
        ) from None


@cache
def _ready() -> None:
    """Prepare this worker once."""
    prepare_worker()
    warm_up_inference()


@lru_cache(maxsize=2)
def _compiled(path: str, token: str) -> CompiledModel:
    del token  # another driver may have put another model in the same place
    return CompiledModel(Model.open(Path(path)))
