"""What a long computation tells while it runs: one kind of event, one kind of listener.

The library calls `progress(event)` and knows nothing of terminals, logs or web pages; the command line and
the service bring their own listeners. A listener is called in the process that started the computation, never
on a worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hamfit.errors import SpecError


@dataclass(frozen=True, slots=True)
class Event:
    """How far one phase of a computation has come."""

    phase: str
    """What is being done, in one word (`features`, `reducing`, `solving`, ...)."""
    done: int
    """Tasks of this phase finished so far, those of an interrupted run that was taken up included."""
    total: int
    """Tasks of this phase in all; 0 when unknown."""
    rows: int
    """Rows of Z reduced so far in this phase, reckoned from its tasks as if all were equal; or steps made by this run,
    which are counted."""
    seconds: float
    """Wall time since the phase began."""
    peak_bytes: int
    """Largest resident memory of one process seen so far; 0 when unknown."""
    unit: str = "rows"
    """What ``rows`` counts: rows of Z, frames, or steps, which are then the tasks too."""

    def __post_init__(self) -> None:
        if not self.phase:
            raise SpecError("a progress event needs a phase; name what is being done")
        if min(self.done, self.total, self.rows, self.peak_bytes) < 0 or self.seconds < 0.0:
            raise SpecError(f"progress of phase '{self.phase}' is negative; counts and seconds start at zero")

    @property
    def rows_per_second(self) -> float:
        """Rows (or steps) per second of wall time; 0 before the clock has moved."""
        return self.rows / self.seconds if self.seconds > 0.0 else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """Expected time to the end of the phase, taking tasks as equal; None while nothing is known."""
        # steps that an interrupted run had made took none of this one's time
        made = self.rows if self.unit == "steps" else self.done
        if made == 0 or self.total == 0:
            return None
        return self.seconds / made * max(self.total - self.done, 0)


class Progress(Protocol):
    """Anything that listens to events; it must not raise and should return quickly."""

    def __call__(self, event: Event, /) -> None:
        """Take note of `event`."""


def silent(event: Event, /) -> None:
    """Ignore `event`: the listener of those who want none."""
