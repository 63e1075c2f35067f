"""Tasks on Dask workers, a bounded number in flight.

The bound follows the workers that there are now: workers join and leave while tasks run, and those that come later
must not stay idle because the rest of the tasks has not been given out, or has been given to others. So the cluster is
looked at again while tasks run, and no more are given out than its threads need to have none wait for the driver: a
task that waits behind another one is moved by the scheduler to a worker that has nothing to do.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

from hamfit.errors import ClusterError, HamfitError, TaskError
from hamfit.tasks.task import Task

if TYPE_CHECKING:
    from distributed import Client, Future

T = TypeVar("T")

#: Tasks in flight for each thread of the cluster: one runs, one waits.
_AHEAD = 2
#: Seconds between two looks at the workers that there are.
_LOOKING_SECONDS = 0.5
#: Seconds that a look may take; without an answer the last one holds.
_ANSWER_SECONDS = 5.0
#: Seconds that tasks taken back have to come to their ends: a shard takes a few, a rollout keeps a checkpoint.
_PARTING_SECONDS = 10.0


def check_client(client: Client, work: str) -> None:
    """ClusterError when nothing can be run with this client: it is closed, or answers with coroutines."""
    if client.asynchronous:
        raise ClusterError(f"the client answers with coroutines: give the {work} one without asynchronous=True")
    if client.status in ("closed", "closing"):
        raise ClusterError(f"the client of the cluster is closed: connect another one and repeat the {work}")


class ClusterTasks(Generic[T]):
    """Tasks on the workers of a client, to be entered with `with`.

    Whatever ends the block, tasks that have not begun are taken back, and those that run are waited for, for some
    seconds: nobody can stop them. What they must not do after that, they have to be kept from by other means.

    Args:
        client: any client, the default one or not; nothing is asked of another.
        work: what is to be repeated when the cluster is lost, such as `fit`.
        resumes: whether it then takes up where it was.
        gather: whether results are brought here; otherwise they stay on the workers, and their futures are told.
        on_look: called about every half second while results are waited for, by who waits.

    """

    def __init__(
        self,
        client: Client,
        work: str,
        *,
        gather: bool = True,
        resumes: bool = True,
        on_look: Callable[[], None] | None = None,
    ) -> None:
        check_client(client, work)
        self._client, self._work, self._gather, self._on_look = client, work, gather, on_look
        self._again = f"repeat the {work}{', which takes up where it was' if resumes else ''}"
        self._run = uuid.uuid4().hex[:8]
        self._running: dict[Future[Any], Task[T]] = {}
        self._alive: WeakSet[Future[Any]] = WeakSet()
        self._ended: SimpleQueue[Future[Any]] = SimpleQueue()
        self._room = _AHEAD
        self._looked = -_LOOKING_SECONDS

    def __enter__(self) -> ClusterTasks[T]:
        return self

    def __exit__(self, *error: object) -> None:
        # the cluster may be what failed, and whatever it answers now says less than that
        with suppress(Exception):
            self._take_back()

    @property
    def running(self) -> list[T]:
        """What is in flight."""
        return [task.what for task in list(self._running.values())]

    def threads(self) -> list[int]:
        """Threads of each worker that there is now."""
        with self._lost_cluster():
            return list(self._asked("ncores").values())

    def results(self, tasks: Iterable[Task[T]]) -> Iterator[tuple[T, Any]]:
        """Run all tasks, and those given to `submit` meanwhile; what each was for and its result, as they end.

        Raises what the tasks raise, if it is ours; ClusterError when they or the cluster were lost; TaskError for any
        other failure.
        """
        waiting = iter(tasks)
        while True:
            self._look()
            while len(self._running) < self._room and (task := next(waiting, None)) is not None:
                self.submit(task)
            if not self._running:
                return
            try:
                future = self._ended.get(timeout=_LOOKING_SECONDS)
            except Empty:
                continue
            yield self._running.pop(future).what, self._result(future)

    def submit(self, task: Task[T]) -> None:
        """Give a task out at once, whatever the bound."""
        with self._lost_cluster():
            future = self._client.submit(
                task.function,
                *task.arguments,
                key=f"hamfit-{task.kind}-{self._run}-{task.name}",
                pure=False,
                priority=task.priority,
            )
            self._running[future] = task
            self._alive.add(future)
            future.add_done_callback(self._ended.put)

    def held(self, value: object) -> Any:
        """The future of a value that tasks share; it is made again when the worker that holds it is lost."""
        with self._lost_cluster():
            # a task of its own: what is scattered is gone with its worker
            return self._client.submit(_itself, value, key=f"hamfit-held-{self._run}", pure=False)

    def gather(self, futures: Any) -> Any:
        """The results of futures, in whatever collection they are."""
        with self._lost_cluster():
            return self._client.gather(futures)

    def _result(self, future: Future[Any]) -> Any:
        if future.status != "finished":
            raise task_error(future.exception() if future.status == "error" else None, str(future.status), self._again)
        return self.gather(future) if self._gather else future

    def _look(self) -> None:
        """See how many threads there are; workers come and go."""
        now = time.monotonic()
        if now - self._looked < _LOOKING_SECONDS:
            return
        with suppress(OSError):
            self._room = _AHEAD * max(1, sum(self._asked("ncores").values()))
        self._looked = time.monotonic()
        if self._on_look is not None:
            self._on_look()

    def _take_back(self) -> None:
        self._client.cancel(list(self._alive))
        if not self._running:
            return
        deadline = time.monotonic() + _PARTING_SECONDS
        # cancelled tasks are forgotten by the scheduler; only the workers know that they still run
        while time.monotonic() < deadline and self._client.status == "running":
            time.sleep(0.1)
            stacks = self._asked("call_stack", keys=None)
            if not any(f"-{self._run}-" in str(key) for stack in stacks.values() for key in stack):
                return

    def _asked(self, question: str, **about: Any) -> dict[str, Any]:
        """The scheduler's answer, by worker; TimeoutError or another OSError when there is none in time.

        Raises ClusterError when the client has been closed, which nobody tells those who wait.
        """
        check_client(self._client, self._work)
        answer = self._client.sync(getattr(self._client.scheduler, question), callback_timeout=_ANSWER_SECONDS, **about)
        assert isinstance(answer, dict)
        return answer

    @contextmanager
    def _lost_cluster(self) -> Iterator[None]:
        from distributed import CancelledError

        try:
            yield
        except (CancelledError, OSError) as error:  # a closed connection and one that is late are OSErrors
            raise ClusterError(f"the cluster went away ({error}): start it again and {self._again}") from error


def _itself(value: Any) -> Any:
    return value


def task_error(error: BaseException | None, status: str, again: str) -> BaseException:
    """The exception for a task that ended without a result.

    Args:
        error: what the task raised; None when it was lost or cancelled.
        status: the state of its future.
        again: what to do then, such as "repeat the fit, which takes up where it was".

    Returns:
        Our own exceptions as they are; ClusterError for tasks whose workers were lost; TaskError for anything else.

    """
    if isinstance(error, HamfitError):
        return error
    if error is None:
        return ClusterError(f"a task was {status}: the cluster lost it; {again}")
    name = type(error).__name__
    if name == "KilledWorker":
        return ClusterError(f"a task's workers died one after another ({error}): see to their memory, and {again}")
    return TaskError(f"a worker failed ({name}: {error}); see the worker's log for the traceback")
