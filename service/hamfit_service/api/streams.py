"""Server-sent events: what happened to jobs, first from the database, then as it happens.

A stream begins with every kept event after `Last-Event-ID`, goes on with what the hub hears, and ends after the event
that ends its job. Between two kept events it carries the newest progress, which has no id, for it is not kept. A client
that comes back is told nothing twice and misses nothing. No thread waits for a client; one is borrowed for the moment
when the database is asked.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from hamfit.errors import HamfitError
from hamfit_service.api.access import allows, identify
from hamfit_service.api.documents import event_data, progress_data
from hamfit_service.api.hub import Change, Changes, Subscription
from hamfit_service.api.problems import Refusal
from hamfit_service.jobs.job import Job, JobEvent

if TYPE_CHECKING:
    from hamfit_service.service import Service

HEARTBEAT_SECONDS = 15.0
"""Silence after which a comment says that the connection lives."""

MEDIA_TYPE = "text/event-stream"

_HEARTBEAT = b": alive\n\n"
_RETRY = b"retry: 2000\n\n"
_PAGE = 1000


@dataclass(slots=True)
class EventStream:
    """What one client watches."""

    service: Service
    request: Request
    last: int
    """Number of the last kept event that the client has."""
    job_id: str | None
    """The job that is watched; None for all jobs."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body of the answer."""
        # here and not before, for an answer whose client has left is never begun; and before the database is asked, so
        # that nothing happens in between
        subscription = self.service.hub.subscribe(self.job_id)
        try:
            yield _RETRY
            if self.job_id is not None:
                async for chunk in self._replay(self.job_id):
                    yield chunk
                current = await run_in_threadpool(self.service.store.get, self.job_id)
                if current.is_final:
                    async for chunk in self._replay(current.id):
                        yield chunk
                    return
                yield self._progress(current)
            async for chunk in self._live(subscription):
                yield chunk
        except HamfitError:
            # the database went away: the client comes back and goes on where it was
            return
        finally:
            self.service.hub.unsubscribe(subscription)

    async def _replay(self, job_id: str) -> AsyncIterator[bytes]:
        while events := await run_in_threadpool(self.service.store.events, job_id, self.last, _PAGE):
            for event in events:
                self.last = event.sequence
                yield self._event(event)

    async def _live(self, subscription: Subscription) -> AsyncIterator[bytes]:
        admitted_at = time.monotonic()
        while True:
            changes = await subscription.changes(HEARTBEAT_SECONDS)
            if changes.closed:
                return
            if time.monotonic() - admitted_at >= HEARTBEAT_SECONDS:
                if not await run_in_threadpool(self._is_admitted):
                    return
                admitted_at = time.monotonic()
            if changes.lost:
                if self.job_id is None:
                    # the client comes back, and sees what there is then
                    return
                async for chunk in self._replay(self.job_id):
                    yield chunk
            yield self._chunk(changes) or _HEARTBEAT
            if self.job_id is not None and any(change.job.is_final for change in changes.events):
                return

    def _chunk(self, changes: Changes) -> bytes:
        """Events, then progress, each in the order in which it came."""
        parts = []
        for change in sorted(changes.events, key=_sequence):
            # what the replay has sent is not sent again
            if _sequence(change) > self.last:
                self.last = _sequence(change)
                parts.append(self._sent(change))
        parts.extend(self._sent(change) for change in changes.progress)
        return b"".join(parts)

    def _sent(self, change: Change) -> bytes:
        if change.sent_as is None:
            change.sent_as = self._progress(change.job) if change.event is None else self._event(change.event)
        return change.sent_as

    def _event(self, event: JobEvent) -> bytes:
        data = event_data(event, self.service.confinement.redacted)
        return _frame(event.kind, data, event.sequence)

    def _progress(self, job: Job) -> bytes:
        return _frame("progress", progress_data(job, self.service.confinement.redacted), None)

    def _is_admitted(self) -> bool:
        """Whether the token still counts; while the database cannot say, it does."""
        try:
            identity = identify(self.request)
        except Refusal:
            return False
        except HamfitError:
            return True
        return identity is not None and allows(identity, "read")


def _sequence(change: Change) -> int:
    assert change.event is not None
    return change.event.sequence


def _frame(kind: str, data: Mapping[str, Any], number: int | None) -> bytes:
    head = f"event: {kind}\n" if number is None else f"id: {number}\nevent: {kind}\n"
    # JSON has no line breaks outside of strings, and escapes them inside
    return f"{head}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
