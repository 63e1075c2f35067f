"""`hamfit submit`: the commands that compute, sent to a server; without one they run here, just as ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from hamfit.errors import SpecError
from hamfit_service.cli.catalogue import COMMANDS
from hamfit_service.cli.console import print_json, warn
from hamfit_service.cli.following import ended, follow
from hamfit_service.cli.running import Run, RunCommand, taken_from, with_flags_of
from hamfit_service.cli.server import WATCH_SECONDS, TokenFileFlag, connect
from hamfit_service.processes import AbstractInputs, find_process
from hamfit_service.processes.references import PathReference, parse_reference

if TYPE_CHECKING:
    from hamfit_service.client import Client
    from hamfit_service.wire import JobDocument

ServerFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server", envvar="HAMFIT_SERVER", show_envvar=True, help="Address of the server; without one it runs here."
    ),
]


_SUBMIT_SECONDS = 30.0
"""How long a submission is sent again; the wait for a full queue is 10 seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a run is sent, and what is done then."""

    server: str | None
    token_file: Path | None
    wait: bool | None
    """None: when there is something to be written here."""
    idempotency_key: str | None
    publish: str | None = None


def _destination(
    server: ServerFlag = None,
    token_file: TokenFileFlag = None,
    wait: Annotated[
        bool | None,
        typer.Option("--wait/--no-wait", help="Wait for the report. Default: with --out yes, without it no."),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option("--idempotency-key", help="Any text: the same job with the same key is submitted only once."),
    ] = None,
) -> Destination:
    return Destination(server=server, token_file=token_file, wait=wait, idempotency_key=idempotency_key)


def _publication(
    publish: Annotated[
        str | None, typer.Option("--publish", help="Publish the model under this name; it gets the next version.")
    ] = None,
) -> str | None:
    return publish


def send(command: RunCommand, run: Run, to: Destination) -> None:
    """Submit a run, and see to its end where that is asked for."""
    if run.plan:
        raise SpecError("--plan tells what a run would cost on this machine; leave --server out, or --plan")
    writes = run.out is not None or run.report is not None
    if writes and to.wait is False:
        raise SpecError("--out and --report are written when the job is over; leave --no-wait out")
    if run.out is not None:
        from hamfit.stores.publish import refuse_existing

        refuse_existing(run.out.absolute(), run.overwrite)
    if run.here.asked:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in run.here.asked)
        warn(f"{flags}: not sent, for the server says where and how its jobs run; the numbers are the same")
    waits = writes if to.wait is None else to.wait
    inputs = run.inputs if to.publish is None else run.inputs.with_changes(publish=to.publish)
    with connect(to.server, to.token_file, patience=WATCH_SECONDS if waits else _SUBMIT_SECONDS) as client:
        if client.server.is_loopback:
            inputs = with_absolute_paths(inputs)
        job = client.submit(inputs, idempotency_key=to.idempotency_key)
        if waits:
            typer.echo(f"job {job.id}", err=True)
            _finish(command, run, client, follow(client, job.id))
        elif run.as_json:
            print_json(job.model_dump(mode="json"))
        else:
            typer.echo(job.id)


def _finish(command: RunCommand, run: Run, client: Client, job: JobDocument) -> None:
    end = ended(client, job, as_json=run.as_json)
    place = end.place
    if run.out is not None:
        client.download(job.id, run.out, overwrite=run.overwrite)
        place = str(run.out)
    if run.report is not None:
        client.download(job.id, run.report, name="report.html", overwrite=run.overwrite)
    command.tell(end.report, run, place)


def with_absolute_paths(inputs: AbstractInputs) -> AbstractInputs:
    """Inputs for a server on this machine, which need not have been started in this folder."""
    changes = {}
    for _, _, reference in inputs.references():
        found = parse_reference(reference)
        if isinstance(found, PathReference) and found.path.exists():
            changes[reference] = str(found.path.absolute())
    return inputs.replaced(changes) if changes else inputs


def _refuse_server_flags(to: Destination) -> None:
    """SpecError for flags that mean something to a server only."""
    given = {"--publish": to.publish, "--idempotency-key": to.idempotency_key, "--no-wait": to.wait is False or None}
    needless = [name for name, value in given.items() if value is not None]
    if needless:
        raise SpecError(f"{', '.join(needless)}: these are for a server; give --server, or set HAMFIT_SERVER")


def _add(app: typer.Typer, command: RunCommand) -> None:
    declared: list[Callable[..., Any]] = [_destination]
    if "publish" in find_process(command.name).inputs.model_fields:
        declared.append(_publication)

    def submit(**flags: Any) -> None:
        to = replace(taken_from(flags, _destination), publish=flags.pop("publish", None))
        run = command.flags(**flags)
        if to.server is None:
            _refuse_server_flags(to)
            command.run_here(run)
        else:
            send(command, run, to)

    app.command(command.name, **command.settings)(with_flags_of(submit, command.flags, *declared))


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Run a command on a server: the same flags, the same results.")
    for command in COMMANDS.values():
        _add(group, command)
    app.add_typer(group, name="submit")
