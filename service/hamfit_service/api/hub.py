"""Where changes of jobs meet those who watch them: one publisher of many threads, many readers of one event loop each.

What is kept in the database (`JobEvent`) reaches a reader in order; progress is only its newest value for each job, for
a reader who is slow has no use for what was before. Both are bounded: a reader who falls behind loses its kept events
here, is told so, and finds them in the database.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from hamfit.errors import HamfitError
from hamfit_service.jobs.job import Job, JobEvent

_KEPT_EVENTS = 256
_READERS = 2000


class TooManyReaders(HamfitError):
    """No further reader can be served now."""


@dataclass(slots=True)
class Change:
    """What a reader is told of: an event that is kept, or progress alone."""

    event: JobEvent | None
    job: Job
    sent_as: bytes | None = None
    """The form in which it is sent, made for the first reader and taken by the others."""


@dataclass(frozen=True, slots=True)
class Changes:
    """All that came since a reader last asked."""

    events: Sequence[Change] = ()
    """Kept events, the oldest first."""
    progress: Sequence[Change] = ()
    """Newest progress of each job that made some."""
    lost: bool = False
    """Whether there were more events than are held; the database has them."""
    closed: bool = False
    """Whether there will be no more, for the service ends."""


@dataclass(slots=True)
class Subscription:
    """One reader. Lives in the loop that subscribed; only `EventHub` puts something in."""

    job_id: str | None
    """Of which job; None for all."""
    _loop: asyncio.AbstractEventLoop
    _events: deque[Change] = field(default_factory=deque)
    _progress: dict[str, Change] = field(default_factory=dict)
    _lost: bool = False
    _closed: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    async def changes(self, timeout: float) -> Changes:
        """What has happened since the last call; waits for something, but no longer than ``timeout`` seconds."""
        if not self._wake.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
        found = Changes(tuple(self._events), tuple(self._progress.values()), self._lost, self._closed)
        self._events.clear()
        self._progress.clear()
        self._lost = False
        if not self._closed:
            self._wake.clear()
        return found

    def _take(self, change: Change) -> None:
        if change.event is None:
            self._progress[change.job.id] = change
        else:
            # the state that the event brings is newer than any progress before it
            self._progress.pop(change.job.id, None)
            if len(self._events) >= _KEPT_EVENTS:
                self._events.clear()
                self._lost = True
            self._events.append(change)
        self._wake.set()

    def _close(self) -> None:
        self._closed = True
        self._wake.set()


class EventHub:
    """Listens to a `JobStore` (`store.listen(hub.publish)`) and hands its changes to readers."""

    def __init__(self, *, readers: int = _READERS) -> None:
        self._limit = readers
        self._lock = threading.Lock()
        self._subscriptions: set[int] = set()
        self._by_job: dict[str | None, dict[int, Subscription]] = {}
        self._closed = False

    @property
    def readers(self) -> int:
        """How many there are."""
        return len(self._subscriptions)

    def check_room(self) -> None:
        """Raises TooManyReaders when there are as many as are allowed."""
        if len(self._subscriptions) >= self._limit:
            raise TooManyReaders(f"{self._limit} clients watch jobs already, the most allowed; try again later")

    def subscribe(self, job_id: str | None = None) -> Subscription:
        """A new reader of one job, or of all; to be given back to `unsubscribe`. Called within an event loop.

        Raises:
            TooManyReaders: there are as many as are allowed.

        """
        subscription = Subscription(job_id, asyncio.get_running_loop())
        with self._lock:
            self.check_room()
            self._subscriptions.add(id(subscription))
            self._by_job.setdefault(job_id, {})[id(subscription)] = subscription
        if self._closed:
            subscription._close()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a reader."""
        with self._lock:
            self._subscriptions.discard(id(subscription))
            readers = self._by_job.get(subscription.job_id, {})
            readers.pop(id(subscription), None)
            if not readers:
                self._by_job.pop(subscription.job_id, None)

    def publish(self, event: JobEvent | None, job: Job) -> None:
        """Tell all readers of that job; from any thread, without waiting for anyone."""
        change = Change(event, job)
        with self._lock:
            readers = [*self._by_job.get(job.id, {}).values(), *self._by_job.get(None, {}).values()]
        for loop in {reader._loop for reader in readers}:
            mine = [reader for reader in readers if reader._loop is loop]
            with suppress(RuntimeError):  # the loop has ended, and its readers with it
                loop.call_soon_threadsafe(_deliver, mine, change)

    def close(self) -> None:
        """End all streams, so that a server can end; from any thread, and again without harm."""
        self._closed = True
        with self._lock:
            readers = [reader for group in self._by_job.values() for reader in group.values()]
        for reader in readers:
            with suppress(RuntimeError):
                reader._loop.call_soon_threadsafe(reader._close)


def _deliver(readers: Sequence[Subscription], change: Change) -> None:
    for reader in readers:
        reader._take(change)
