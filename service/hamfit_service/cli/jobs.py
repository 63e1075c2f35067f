"""`hamfit jobs`, `watch`, `logs`, `dismiss` and `results`: what becomes of jobs on a server."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hamfit_service.cli.console import JsonFlag, format_bytes, print_columns, print_json, print_table, split_words
from hamfit_service.cli.following import JOB_FAILED, ended, follow, goes_on, show_report
from hamfit_service.cli.server import WATCH_SECONDS, JobArgument, ServerFlag, TokenFileFlag, connect

if TYPE_CHECKING:
    from hamfit_service.client import JobUpdate
    from hamfit_service.wire import JobDocument, LogLine


def jobs(
    status: Annotated[
        str | None,
        typer.Option(
            "--status", help="Only jobs in these states: accepted, running, succeeded, failed, dismissed, with commas."
        ),
    ] = None,
    process: Annotated[
        Literal["fit", "rollout", "evaluate", "ingest", "simulate"] | None,
        typer.Option("--process", help="Only jobs of this process."),
    ] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Only jobs of this owner.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most jobs to list. Default 20.")] = 20,
    server: ServerFlag = None,
    token_file: TokenFileFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, the newest first."""
    with connect(server, token_file) as client:
        found = list(islice(client.jobs(status=split_words(status), process=process, owner=owner), limit))
    if as_json:
        print_json({"jobs": [job.model_dump(mode="json") for job in found]})
        return
    columns = ("job", "process", "status", "phase", "done", "owner", "submitted")
    print_columns("Jobs", columns, (_row(job) for job in found))


def _row(job: JobDocument) -> tuple[object, ...]:
    at = f"{job.submitted_at.astimezone():%m-%d %H:%M}"
    status = "dismissing" if job.dismissing else job.status
    return job.id, job.process, status, job.progress.phase, f"{job.progress.percent:.0f} %", job.owner, at


def watch(
    job: JobArgument, server: ServerFlag = None, token_file: TokenFileFlag = None, as_json: JsonFlag = False
) -> None:
    """Show the progress of a job, and its report at the end. Ctrl-C leaves the job running."""
    with connect(server, token_file, patience=WATCH_SECONDS) as client:
        last = follow(client, job, each=_print_update if as_json else None)
        if as_json:
            report = client.results(job).report if last.status == "succeeded" else None
            print_json({"kind": "end", "job": last.model_dump(mode="json"), "report": report})
            if last.status != "succeeded":
                raise typer.Exit(JOB_FAILED)
            return
        end = ended(client, last, as_json=False)
    show_report(end, as_json=False)


def _print_update(update: JobUpdate) -> None:
    if update.job is None:
        progress = None if update.progress is None else update.progress.model_dump(mode="json")
        about = {"kind": update.kind, "id": update.id, "status": update.status, "message": update.message}
        print_json({**about, "progress": progress})


def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with lines to come, until it is over.")] = False,
    server: ServerFlag = None,
    token_file: TokenFileFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Print the log of a job."""
    with connect(server, token_file, patience=WATCH_SECONDS if follow else None) as client, goes_on(job):
        for line in client.logs(job, follow=follow):
            if as_json:
                print_json(line.model_dump(mode="json"))
            else:
                typer.echo(_text(line))


def _text(line: LogLine) -> str:
    return f"{line.at.astimezone():%Y-%m-%d %H:%M:%S} {line.level:7} {line.message}"


def dismiss(
    job: JobArgument, server: ServerFlag = None, token_file: TokenFileFlag = None, as_json: JsonFlag = False
) -> None:
    """Stop a job and remove what it has made."""
    with connect(server, token_file) as client:
        found = client.dismiss(job)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        typer.echo(f"job {found.id} is {'being dismissed' if found.dismissing else found.status}")


def results(
    job: JobArgument,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Download the model or dataset to this path.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Download this output instead of the main one.")] = None,
    server: ServerFlag = None,
    token_file: TokenFileFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what a job made, or download it."""
    with connect(server, token_file) as client:
        found = client.results(job)
        document = client.job(job)
        if out is not None:
            client.download(job, out, name=name)
    if as_json:
        print_json({**found.model_dump(mode="json"), "out": out})
        return
    if found.report is not None and document.status == "succeeded":
        from hamfit_service.cli.following import Ended

        show_report(Ended(document, found.report, found.model or found.reference), as_json=False)
    rows: list[tuple[str, object]] = [("status", found.status), ("reference", found.reference), ("model", found.model)]
    rows += [(output.name, format_bytes(output.bytes)) for output in found.outputs]
    if out is not None:
        rows.append(("downloaded to", out))
    print_table(f"Results of job {found.id}", rows)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (jobs, watch, logs, dismiss, results):
        app.command(command.__name__)(command)
