"""Server-sent events: what happened to jobs, first from the database, then as it happens.

A stream begins with every kept event after `Last-Event-ID`, goes on with what the hub hears, and ends after the event
that ends its job. Between two kept events it carries the newest progress, which has no id, for it is not kept. A client
that comes back is told nothing twice and misses nothing. No thread waits for a client; one is borrowed for the moment
when the database is asked.
"""

from __future__ import annotations

import json
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
    subscription: Subscription
    last: int
    """Number of the last kept event that the client has."""
    job: Job | None = None
    """The job that is watched; None for all jobs."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body of the answer; gives the subscription back at its end, however it comes."""
        try:
            yield _RETRY
            if self.job is not None:
                async for chunk in self._replay(self.job.id):
                    yield chunk
                current = await run_in_threadpool(self.service.store.get, self.job.id)
                if current.is_final:
                    async for chunk in self._replay(current.id):
                        yield chunk
                    return
                yield self._progress(current)
            async for chunk in self._live():
                yield chunk
        except HamfitError:
            # the database went away: the client comes back and goes on where it was
            return
        finally:
            self.service.hub.unsubscribe(self.subscription)

    async def _replay(self, job_id: str) -> AsyncIterator[bytes]:
        while events := await run_in_threadpool(self.service.store.events, job_id, self.last, _PAGE):
            for event in events:
                self.last = event.sequence
                yield self._event(event)

    async def _live(self) -> AsyncIterator[bytes]:
        while True:
            changes = await self.subscription.changes(HEARTBEAT_SECONDS)
            if changes.closed:
                return
            if not changes.events and not changes.progress:
                if not await run_in_threadpool(self._is_admitted):
                    return
                yield _HEARTBEAT
                continue
            if changes.lost:
                if self.job is None:
                    # the client comes back, and sees what there is then
                    return
                async for chunk in self._replay(self.job.id):
                    yield chunk
            if found := self._chunk(changes):
                yield found
            if self.job is not None and any(change.job.is_final for change in changes.events):
                return

    def _chunk(self, changes: Changes) -> bytes:
        """Events and progress in the order in which they belong."""
        parts = []
        for change in sorted(changes.events, key=_sequence):
            assert change.event is not None
            # what the replay has sent is not sent again
            if change.event.sequence > self.last:
                self.last = change.event.sequence
                parts.append(self._event(change.event))
        parts.extend(self._progress(change.job) for change in changes.progress)
        return b"".join(parts)

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
