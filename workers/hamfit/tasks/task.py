"""A task, and threads of this process that run tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task(Generic[T]):
    """A call to be made somewhere else."""

    what: T
    """What its result is told with."""
    kind: str
    """What tasks of equal length have in common: by it a cluster learns how long they take. Letters and hyphens."""
    name: str
    """Its name among those of its kind."""
    function: Callable[..., Any]
    """What to call."""
    arguments: tuple[Any, ...]
    """With what."""
    priority: int = 0
    """Of those that wait, the highest goes first."""


class ThreadTasks(Generic[T]):
    """Tasks on threads of this process, to be entered with `with`; leaving it waits for those that run."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> ThreadTasks[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def results(self, tasks: Iterable[Task[T]]) -> Iterator[tuple[T, Any]]:
        """Run all tasks; what each was for and its result, in the order in which they end. Raises what they raise."""
        waiting, running = iter(tasks), dict[Future[Any], Task[T]]()
        while True:
            # one more than run, so that no thread waits for the caller
            while len(running) <= self._threads and (task := next(waiting, None)) is not None:
                running[self._pool.submit(task.function, *task.arguments)] = task
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future).what, future.result()
