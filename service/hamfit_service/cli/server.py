"""Which server a command speaks to: the flags that say so, and the client for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from hamfit.errors import SpecError

if TYPE_CHECKING:
    from hamfit_service.client import Client

DEFAULT_SERVER = "http://127.0.0.1:8741"
"""Where `hamfit serve` listens unless told otherwise."""

ServerFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="HAMFIT_SERVER",
        help=f"Address of the server. Default {DEFAULT_SERVER}.",
        show_envvar=True,
    ),
]
TokenFileFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--token-file", help="File that holds the token; else HAMFIT_TOKEN, if it is set.")
]
JobArgument: TypeAlias = Annotated[str, typer.Argument(help="Id of the job.")]

ANSWER_SECONDS = 5.0
"""How long a server that is away is asked again for something that takes a moment."""

WATCH_SECONDS = 120.0
"""The same for what takes long: a service may be started anew meanwhile."""


def connect(server: str | None, token_file: Path | None, *, patience: float | None = None) -> Client:
    """The client of a server, with the user's token."""
    from hamfit_service.client import Client

    seconds = ANSWER_SECONDS if patience is None else patience
    return Client(server or DEFAULT_SERVER, _token(token_file), retry_seconds=seconds)


def _token(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get("HAMFIT_TOKEN") or None
    try:
        token = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} holds no token; give --token-file a file of one line") from error
    if not token:
        raise SpecError(f"{path} is empty; give --token-file the file that holds the token")
    return token
