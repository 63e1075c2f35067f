"""The command `hamfit`: parse, delegate to the library, print.

Each command lives in the module of its name. Nothing heavy is imported here or in those modules' heads, so
that `hamfit --help` answers in a fraction of a second; a command imports what it needs when it runs. Results
go to standard output, progress and errors to standard error, so that `--json` can be piped.
"""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

import hamfit
from hamfit_service.cli import doctor, export, info, jobs, models, serve, submit, tokens
from hamfit_service.cli.catalogue import COMMANDS
from hamfit_service.cli.console import HamfitGroup, show_warning

app = typer.Typer(
    cls=HamfitGroup,
    help="Learn the Hamiltonian of a particle system from its trajectories in one linear solve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in COMMANDS.values():
    command.register(app)
export.register(app)
info.register(app)
serve.register(app)
for part in (submit, jobs, models, tokens):
    part.register(app)
doctor.register(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hamfit {hamfit.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    """Learn the Hamiltonian of a particle system from its trajectories in one linear solve."""


def main() -> None:
    """Run the command line and exit: 0 success, 2 bad input or usage, 3 a job failed, 130 interrupted."""
    warnings.showwarning = show_warning
    app(prog_name="hamfit")


if __name__ == "__main__":
    main()
