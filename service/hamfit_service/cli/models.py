"""`hamfit models`: published models of a server: list, show, download, publish."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamfit.errors import SpecError
from hamfit_service.cli.console import JsonFlag, flat_rows, print_columns, print_json, print_table
from hamfit_service.cli.server import ServerFlag, TokenFileFlag, connect

if TYPE_CHECKING:
    from hamfit_service.wire import ModelDocument

_USAGE = "write `hamfit models`, `hamfit models NAME[@VERSION]` or `hamfit models publish NAME JOB`"


def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME[@VERSION] | publish NAME JOB]",
            help="A model to show; or publish, with a name and the job of a fit. Without it all models are listed.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Download the model NAME to this path.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most versions to list. Default 50.")] = 50,
    server: ServerFlag = None,
    token_file: TokenFileFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List published models, show or download one, or publish one."""
    given = words or []
    if out is not None and len(given) != 1:
        raise SpecError("--out downloads one model; write `hamfit models NAME --out PATH`")
    with connect(server, token_file) as client:
        if not given:
            _list(list(islice(client.models(), limit)), as_json=as_json)
        elif len(given) == 1:
            name, version = _split(given[0])
            found = client.model(name, version)
            if out is not None:
                client.download_model(found.name, out, version=found.version)
            _show(found, as_json=as_json)
        elif len(given) == 3 and given[0] == "publish":
            _show(client.publish(given[1], given[2]), as_json=as_json)
        else:
            raise SpecError(f"'{' '.join(given)}' is not understood; {_USAGE}")


def _split(text: str) -> tuple[str, int | None]:
    found = re.fullmatch(r"([^@]+)(?:@([1-9][0-9]{0,8}))?", text)
    if found is None:
        raise SpecError(f"'{text}' is no model; {_USAGE}")
    return found[1], None if found[2] is None else int(found[2])


def _list(found: list[ModelDocument], *, as_json: bool) -> None:
    if as_json:
        print_json({"models": [model.model_dump(mode="json") for model in found]})
        return
    rows = (
        (model.reference, model.owner, model.job, f"{model.published_at.astimezone():%Y-%m-%d %H:%M:%S}")
        for model in found
    )
    print_columns("Models", ("model", "owner", "job", "published"), rows)


def _show(model: ModelDocument, *, as_json: bool) -> None:
    document = model.model_dump(mode="json", exclude={"links"})
    if as_json:
        print_json(document)
    else:
        print_table(f"Model {model.reference}", flat_rows(document))


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("models")(models)
