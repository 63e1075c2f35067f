"""A job as a value: its states, its progress, its failure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, cast

State: TypeAlias = Literal["accepted", "running", "succeeded", "failed", "dismissed"]
"""Where a job is: accepted and running may change, the others are final."""

Target: TypeAlias = Literal["run", "dismiss"]
"""Where a job should go; a reconciler moves its state there."""

FINAL: frozenset[State] = frozenset({"succeeded", "failed", "dismissed"})
"""States that never change."""

TRANSITIONS: Mapping[State, frozenset[State]] = {
    "accepted": frozenset({"running", "dismissed", "failed"}),
    # back to accepted when a service hands over, or a failure of the system is tried again
    "running": frozenset({"accepted", "succeeded", "failed", "dismissed"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "dismissed": frozenset(),
}
"""The states that may follow each state."""

FailureKind: TypeAlias = Literal["user", "system"]
"""Whose a failure is: the inputs' (trying again changes nothing), or the machine's."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed."""

    kind: FailureKind
    """Whether the user or the system has to mend something."""
    type: str
    """Name of the error's class."""
    message: str
    """One sentence: the thing, the reason, the fix."""

    def to_json(self) -> dict[str, Any]:
        """As stored."""
        return {"kind": self.kind, "type": self.type, "message": self.message}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Failure:
        """As read back."""
        return cls(cast(FailureKind, value["kind"]), str(value["type"]), str(value["message"]))


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a running job is, from the events of the real run."""

    phase: str
    """What is being done, in one word."""
    percent: float
    """How much of the whole job is done, 0 to 100."""
    done: int = 0
    """Tasks of this phase done."""
    total: int = 0
    """Tasks of this phase; 0 when unknown."""
    rows: int = 0
    """Rows reduced, or steps made, in this phase."""
    rows_per_second: float = 0.0
    """Speed."""
    unit: str = "rows"
    """What rows counts."""
    remaining_seconds: float | None = None
    """Expected time to the end of this phase."""
    peak_bytes: int = 0
    """Largest memory of one process so far."""
    message: str = ""
    """One line for people."""

    def to_json(self) -> dict[str, Any]:
        """As stored and sent."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> JobProgress:
        """As read back; what is unknown to this version is left out."""
        return cls(**{name: value[name] for name in cls.__slots__ if name in value})


#: A job that gains at least this much between two failures is getting on.
_PROGRESS_PERCENT = 1.0

QUEUED = JobProgress(phase="queued", percent=0.0, message="waiting for its turn")
"""Progress of a job that waits."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the database knows it."""

    id: str
    """16 hexadecimal digits."""
    process: str
    """fit, rollout, evaluate, ingest or simulate."""
    owner: str
    """Owner of the token that submitted it; `local` without tokens."""
    inputs: Mapping[str, Any]
    """What was asked, defaults put in and references pinned."""
    state: State
    """Where it is."""
    target: Target
    """Where it should go."""
    progress: JobProgress
    """How far it is."""
    attempts: int
    """Failures of the system so far."""
    stalls: int
    """Of these, the last ones between which the job got no further."""
    stalled_at: float
    """Percent at the first of these."""
    not_before: datetime | None
    """When it may be tried again."""
    failure: Failure | None
    """Why it failed; also of the last attempt, while it waits for the next."""
    result: Mapping[str, Any] | None
    """The report of the run."""
    submitted_at: datetime
    """When it was accepted, UTC."""
    started_at: datetime | None
    """When it first ran."""
    finished_at: datetime | None
    """When it came to its final state."""
    updated_at: datetime
    """When anything of it last changed."""

    @property
    def stalls_at_failure(self) -> int:
        """What `stalls` is if the system fails now: a job that got on in between begins to count anew."""
        return 1 if self.progress.percent >= self.stalled_at + _PROGRESS_PERCENT else self.stalls + 1

    @property
    def is_final(self) -> bool:
        """Whether its state never changes again."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job and is kept."""

    sequence: int
    """Grows with time over all jobs; the id of the server-sent event."""
    job_id: str
    """Of which job."""
    at: datetime
    """When, UTC."""
    kind: Literal["state", "phase", "retry", "handover"]
    """What kind of thing."""
    data: Mapping[str, Any]
    """`state`: {"state", "phase"}; `phase`: progress; `retry` and `handover`: {"message"} and more."""


def new_job_id() -> str:
    """A name that no other job has."""
    return secrets.token_hex(8)
