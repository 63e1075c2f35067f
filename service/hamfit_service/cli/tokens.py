"""`hamfit tokens`: who may ask a server; in its database on its own machine, or through it by an administrator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

import typer

from hamfit.errors import SpecError
from hamfit_service.cli.console import JsonFlag, print_columns, print_json, split_words
from hamfit_service.cli.running import taken_from, with_flags_of
from hamfit_service.cli.server import TokenFileFlag, connect

if TYPE_CHECKING:
    from hamfit_service.security.tokens import TokenStore
    from hamfit_service.wire import TokenDocument, TokenRequest, TokenSecret

ServerFlag: TypeAlias = Annotated[
    str | None,
    typer.Option("--server", help="Ask this server, with an administrator's token; without it, the database is used."),
]
RootFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--root", help="Root of the service. Default as for `hamfit serve`.")
]
ConfigFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--config", help="TOML file of settings of the service; flags given here win.")
]
DatabaseFlag: TypeAlias = Annotated[
    str | None, typer.Option("--database-url", help="Its database, where that is not in the root.")
]


class _Tokens(Protocol):
    """Where tokens are made and ended."""

    def create_token(self, request: TokenRequest, /) -> TokenSecret: ...

    def tokens(self) -> list[TokenDocument]: ...

    def revoke_token(self, token_id: str, /) -> TokenDocument: ...


Task: TypeAlias = Callable[[_Tokens], None]
"""What a command does with the tokens, once it is known where they are."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """Tokens in the database of a service, whether that runs or not."""

    store: TokenStore

    def create_token(self, request: TokenRequest, /) -> TokenSecret:
        return self.store.create(request)

    def tokens(self) -> list[TokenDocument]:
        return self.store.all().tokens

    def revoke_token(self, token_id: str, /) -> TokenDocument:
        return self.store.revoke(token_id)


def create(
    owner: Annotated[str, typer.Argument(help="Whose it is.")],
    scopes: Annotated[
        str, typer.Option("--scopes", help="What it allows: read, submit, admin, with commas. Default read,submit.")
    ] = "read,submit",
    days: Annotated[int, typer.Option("--days", min=0, help="Days until it ends; 0 for never. Default 90.")] = 90,
    queued_jobs: Annotated[
        int | None, typer.Option("--queued-jobs", min=1, help="Unfinished jobs it may have. Default the service's.")
    ] = None,
    running_jobs: Annotated[
        int | None, typer.Option("--running-jobs", min=1, help="Jobs it may have running. Default the service's.")
    ] = None,
    as_json: JsonFlag = False,
) -> Task:
    """Make a token and print it; its secret is told this once."""
    request = _request(
        owner=owner,
        scopes=split_words(scopes),
        expires_in_days=days or None,
        queued_jobs=queued_jobs,
        running_jobs=running_jobs,
    )

    def make(tokens: _Tokens) -> None:
        made = tokens.create_token(request)
        if as_json:
            print_json(made.model_dump(mode="json"))
            return
        # the token alone, so that it can go straight into a file
        typer.echo(made.token)
        until = "" if made.expires_at is None else f" until {made.expires_at:%Y-%m-%d}"
        typer.echo(f"token {made.id} of {made.owner} allows {', '.join(made.scopes)}{until}; it is told once", err=True)

    return make


def list_(as_json: JsonFlag = False) -> Task:
    """List all tokens, without their secrets."""

    def show(tokens: _Tokens) -> None:
        found = tokens.tokens()
        if as_json:
            print_json({"tokens": [token.model_dump(mode="json") for token in found]})
            return
        rows = (
            (token.id, token.owner, ", ".join(token.scopes), token.created_at.date(), _end(token)) for token in found
        )
        print_columns("Tokens", ("token", "owner", "scopes", "made", "ends"), rows)

    return show


def revoke(
    token: Annotated[str, typer.Argument(help="Id of the token.")],
    as_json: JsonFlag = False,
) -> Task:
    """End a token; it is refused within seconds."""

    def end(tokens: _Tokens) -> None:
        ended = tokens.revoke_token(token)
        if as_json:
            print_json(ended.model_dump(mode="json"))
        else:
            typer.echo(f"token {ended.id} of {ended.owner} is revoked")

    return end


def _end(token: TokenDocument) -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at.date()}"
    return "never" if token.expires_at is None else str(token.expires_at.date())


def _request(**values: object) -> TokenRequest:
    from pydantic import ValidationError

    from hamfit_service.wire import TokenRequest

    try:
        return TokenRequest.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise SpecError(f"{first['loc'][0]} cannot be {first['input']!r}: {first['msg'].lower()}") from error


@contextmanager
def _opened(
    server: ServerFlag = None,
    token_file: TokenFileFlag = None,
    root: RootFlag = None,
    config: ConfigFlag = None,
    database_url: DatabaseFlag = None,
) -> Iterator[_Tokens]:
    if server is not None:
        if root is not None or config is not None or database_url is not None:
            raise SpecError("--server asks a server, the other flags open its database; give one or the other")
        with connect(server, token_file) as client:
            yield client
        return
    from hamfit_service.cli.database import opened_database
    from hamfit_service.security.tokens import TokenStore
    from hamfit_service.settings import Settings

    with opened_database(Settings.load(config, {"root": root, "database_url": database_url})) as database:
        yield _Stored(TokenStore(database))


def _add(group: typer.Typer, name: str, declared: Callable[..., Task]) -> None:
    def run(**flags: Any) -> None:
        opened = taken_from(flags, _opened)
        task = declared(**flags)
        with opened as tokens:
            task(tokens)

    group.command(name)(with_flags_of(run, declared, _opened))


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="Make, list and end tokens.")
    for name, flags in (("create", create), ("list", list_), ("revoke", revoke)):
        _add(group, name, flags)
    app.add_typer(group, name="tokens")
