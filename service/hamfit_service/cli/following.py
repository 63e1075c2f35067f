"""A job on the screen: its progress while it runs, and its report at its end as the process itself shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from hamfit.progress import Event
from hamfit_service.cli.console import INTERRUPTED, live_line, one_line, print_json, progress_text

if TYPE_CHECKING:
    from hamfit_service.client import Client, JobUpdate
    from hamfit_service.wire import JobDocument, ProgressDocument

JOB_FAILED = 3
"""Exit code for a job that failed or was dismissed, while the command itself did what it should."""

_TOLD = frozenset({"retry", "handover", "away"})


def follow(client: Client, job_id: str, *, each: Callable[[JobUpdate], None] | None = None) -> JobDocument:
    """Show progress on standard error until the job is over; with ``each``, call that instead.

    Ctrl-C ends the watching and not the job, which is said.
    """
    from hamfit_service.client.watching import FINAL

    last: JobDocument | None = None
    with goes_on(job_id), live_line(quiet=each is not None) as line:
        shown, phase = "", ""
        for update in client.watch(job_id):
            last = update.job
            if each is not None:
                each(update)
                continue
            if update.kind in _TOLD and update.message:
                line.keep(one_line(update.message))
            if update.progress is not None and update.status not in FINAL:
                if shown and update.progress.phase != phase:
                    line.keep(shown)
                shown, phase = text_of(update.progress), update.progress.phase
                line.show(shown)
        if shown:
            line.keep(shown)
    assert last is not None
    return last


@contextmanager
def goes_on(job_id: str) -> Iterator[None]:
    """Say on Ctrl-C that the job goes on, and exit as after any other."""
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(f"hamfit: interrupted; job {job_id} goes on (`hamfit dismiss {job_id}` stops it)", err=True)
        raise typer.Exit(INTERRUPTED) from error


def text_of(progress: ProgressDocument) -> str:
    """One line about progress: of the whole job, then of the phase, in the words of the local line."""
    speed = progress.rows_per_second
    event = Event(
        phase=progress.phase or "running",
        done=progress.done,
        total=progress.total,
        rows=progress.rows,
        seconds=progress.rows / speed if speed > 0.0 else 0.0,
        peak_bytes=progress.peak_bytes,
        unit=progress.unit,
    )
    return f"{progress.percent:.0f} % · {progress_text(event)}"


@dataclass(frozen=True, slots=True)
class Ended:
    """A job that succeeded, and what it made."""

    job: JobDocument
    report: dict[str, Any]
    place: str | None
    """How to point to its main output; None where there is none."""


def ended(client: Client, job: JobDocument, *, as_json: bool) -> Ended:
    """What a job made; one that did not succeed ends the command with the reason."""
    if job.status != "succeeded":
        fail(job, as_json=as_json)
    found = client.results(job.id)
    return Ended(job, found.report or {}, found.model or found.reference)


def fail(job: JobDocument, *, as_json: bool) -> NoReturn:
    """Say why the job did not succeed, and exit."""
    from hamfit_service.client.errors import why_not_succeeded

    if as_json:
        print_json(job.model_dump(mode="json"))
    typer.echo(f"hamfit: {one_line(why_not_succeeded(job))}", err=True)
    raise typer.Exit(JOB_FAILED)


def show_report(end: Ended, *, as_json: bool) -> None:
    """The report as the command of its process shows it."""
    from hamfit_service.cli.catalogue import COMMANDS
    from hamfit_service.cli.running import Run
    from hamfit_service.processes import find_process

    command = COMMANDS[end.job.process]
    inputs = find_process(command.name).inputs.build(end.job.inputs)
    command.tell(end.report, Run(inputs=inputs, out=None, overwrite=False, as_json=as_json), end.place)
