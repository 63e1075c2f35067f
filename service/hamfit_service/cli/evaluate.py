"""`hamfit evaluate`: how well a model predicts a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hamfit_service.cli.console import JsonFlag, flat_rows, print_json, print_table


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model made by `hamfit fit`.")],
    data: Annotated[Path, typer.Argument(help="Dataset to predict.")],
    as_json: JsonFlag = False,
) -> None:
    """Measure the errors of a model on a dataset."""
    result = _evaluate(model, data)
    if as_json:
        print_json(result)
        return
    print_table(f"{model} on {data}", flat_rows(result))


def _evaluate(model: Path, data: Path) -> Mapping[str, Any]:
    from hamfit.data import Dataset
    from hamfit.evaluation import evaluate as evaluate_model
    from hamfit.model import Model

    return evaluate_model(Model.open(model), Dataset.open(data))


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("evaluate")(evaluate)
