"""What a process is: inputs that are checked, a place to work, outputs by name, and phases to tell progress by."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hamfit.checked_options import CheckedOptions
from hamfit.progress import Event, Progress

if TYPE_CHECKING:
    from distributed import Client


class AbstractInputs(CheckedOptions):
    """What one process is given."""

    process: ClassVar[str]
    """Name of the process."""

    @abstractmethod
    def references(self) -> Sequence[tuple[str, str, str]]:
        """All that these inputs point to, as (field, kind, reference); the kind is `dataset`, `model` or `file`."""

    @abstractmethod
    def replaced(self, changes: Mapping[str, str]) -> AbstractInputs:
        """These inputs with references exchanged: each key of ``changes`` by its value."""


class Resolver(Protocol):
    """Finds what a reference points to. On the command line a reference is a path; a service confines it."""

    def __call__(self, kind: str, reference: str, /) -> Path:
        """The path of a `dataset`, `model` or `file`; raises DataError, ModelError or SpecError."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the outputs of one run go."""

    main: Path
    """The model or dataset; the trajectories of an evaluation that runs."""
    report: Path | None = None
    """HTML report of an evaluation."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a running process works with."""

    outputs: Outputs
    """Where its outputs go."""
    resolve: Resolver
    """Finds its inputs."""
    client: Client | None
    """The cluster; None for threads of this process."""
    progress: Progress
    """Listens to its events."""
    threads: int
    """Threads of this process that it may use."""
    overwrite: bool = False
    """Whether outputs that are there are replaced."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    """Options of the library that say where and how carefully it works: workers, device, resume, checkpoint, ..."""


@dataclass(frozen=True, slots=True)
class Process:
    """One thing that can be asked for."""

    name: str
    """Its name, the same in command, REST path and docs."""
    summary: str
    """One sentence."""
    inputs: type[AbstractInputs]
    """What it is given."""
    output: str
    """File name of its main output."""
    kind: str
    """What the main output is: `model` or `dataset`."""
    phases: tuple[tuple[str, float], ...]
    """Its phases in order, each with the share of the work it usually is."""
    runner: Callable[[Any, Workplace], Mapping[str, Any]]
    """Runs it and returns the report; called through `run`."""

    def run(self, inputs: AbstractInputs, workplace: Workplace) -> Mapping[str, Any]:
        """Run it to its end; the report is JSON-able. Raises what the library raises."""
        return self.runner(inputs, workplace)


def job_percent(process: Process, event: Event) -> float:
    """How much of the whole job is done, by the usual shares of its phases; 0 to 100."""
    before = 0.0
    for name, share in process.phases:
        if name == event.phase:
            part = event.done / event.total if event.total else 0.0
            return min(100.0, before + share * min(part, 1.0))
        before += share
    return 0.0
