"""Server-sent events: from pieces of bytes to updates about a job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from hamfit_service.wire import JobDocument, ProgressDocument

_LARGEST_EVENT = 4 * 2**20


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """Something new about a job that is watched."""

    kind: str
    """`state`, `phase`, `progress`, `retry` (an attempt failed, another follows), `handover` (the service ended,
    another goes on), `away` (the server does not answer now), or `end`, the last one; others may come, to be ignored.
    """
    status: str | None = None
    """State of the job, where the update tells it."""
    progress: ProgressDocument | None = None
    """How far the job is, where the update tells it."""
    message: str = ""
    """One line for people, or nothing."""
    id: int | None = None
    """Number of the event; None for what is not kept."""
    job: JobDocument | None = None
    """The job as it ended, in the last update."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """All that the event said."""


@dataclass(slots=True)
class EventParser:
    """Cuts a stream into events; bytes may come in pieces of any size."""

    _buffer: bytearray = field(default_factory=bytearray)
    _kind: str = ""
    _data: list[str] = field(default_factory=list)
    _id: int | None = None
    last_id: int | None = None
    """Id of the last whole event that had one."""

    def restart(self) -> None:
        """Forget half an event: the stream that brought it has broken."""
        self._buffer.clear()
        self._kind, self._data, self._id = "", [], None

    def feed(self, piece: bytes) -> Iterator[JobUpdate]:
        """The events that are whole by now; raises ValueError when what comes is no stream of events."""
        self._buffer += piece
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                break
            self._buffer = rest
            update = self._line(line.removesuffix(b"\r").decode(errors="replace"))
            if update is not None:
                yield update
        if len(self._buffer) > _LARGEST_EVENT:
            raise ValueError("an event is longer than any can be")

    def _line(self, line: str) -> JobUpdate | None:
        if not line:
            return self._finished()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and value.isdigit():
            self._id = int(value)
        return None

    def _finished(self) -> JobUpdate | None:
        kind, text, number = self._kind, "\n".join(self._data), self._id
        self._kind, self._data, self._id = "", [], None
        if not text:
            return None
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("the data of an event are no object")
        if number is not None:
            self.last_id = number
        return update_of(kind, number, data)


def update_of(kind: str, number: int | None, data: Mapping[str, Any]) -> JobUpdate:
    """The update that an event's data tell."""
    try:
        progress = ProgressDocument.model_validate(data) if "percent" in data else None
    except ValidationError:
        progress = None
    status = data.get("state") or data.get("status")
    return JobUpdate(kind, status, progress, str(data.get("message") or ""), number, None, data)
