"""The log of a job: what it told, one JSON object a line, appended by the service and by its runner."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from hamfit_service.wire import LogLine, LogPage

Level: TypeAlias = Literal["info", "warning", "error"]

_LONGEST_MESSAGE = 4000
_LARGEST_LOG_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class JobLog:
    """Appends to a log; a disk that cannot take it loses the line, never the job."""

    path: Path
    """The file."""

    def write(self, level: Level, message: str) -> None:
        """Append one line, whole or not at all."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = " ".join(message.split())[:_LONGEST_MESSAGE]
        line = json.dumps({"at": at, "level": level, "message": text}).encode() + b"\n"
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError:
            return
        try:
            if os.fstat(descriptor).st_size < _LARGEST_LOG_BYTES:
                # one write of a short line to a file opened for appending is not torn by another writer's
                os.write(descriptor, line)
        except OSError:
            return
        finally:
            os.close(descriptor)


def read_log(path: Path, after: int = 0, limit: int = 1000) -> LogPage:
    """Lines after the byte ``after``, at most ``limit``; a line that is still being written waits for the next call."""
    lines: list[LogLine] = []
    try:
        with path.open("rb") as file:
            file.seek(after)
            while len(lines) < limit and (line := file.readline()).endswith(b"\n"):
                after += len(line)
                try:
                    lines.append(LogLine.model_validate_json(line))
                except ValueError:
                    # torn by a full disk: what it said is lost, the lines after it are not
                    continue
    except OSError:
        return LogPage(lines=[], next=after)
    return LogPage(lines=lines, next=after)
