"""`hamfit info`: what a dataset or a model holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hamfit.errors import StoreError
from hamfit_service.cli.console import JsonFlag, flat_rows, format_bytes, print_json, print_table

_MANIFEST = "_manifest.json"

_DETAILS = ("kind", "path", "provenance.report.parts", "provenance.report.choices", "provenance.fingerprint")
"""Entries that `--json` has and the table leaves out."""


def info(
    path: Annotated[Path, typer.Argument(help="A dataset or a model.")],
    as_json: JsonFlag = False,
) -> None:
    """Describe a dataset or a model."""
    kind, description = _describe(path)
    if as_json:
        print_json({"kind": kind, **description})
        return
    if kind == "dataset":
        print_dataset(description, path)
        return
    rows = ((name, value) for name, value in flat_rows(description) if not name.startswith(_DETAILS))
    print_table(f"Model {path}", rows)


def print_dataset(description: Mapping[str, Any], path: Path | str) -> None:
    """Write what a dataset holds as a table; `--json` has all of it."""
    count = description["n_trajectories"]
    fewest, most = description["n_particles"]
    print_table(
        f"Dataset {path}",
        [
            ("units", f"{description['units']['name']} ({_units_text(description['units'])})"),
            ("dimensions", description["dim"]),
            ("species", description["labels"]),
            ("bond types", description["bond_labels"]),
            ("frames", f"{description['n_frames']:,} in {count:,} {'trajectory' if count == 1 else 'trajectories'}"),
            ("particles", f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"),
            ("holds", [_having(name, having, count) for name, having in description["has"].items() if having]),
            ("size", format_bytes(description["n_bytes"])),
        ],
    )


def _units_text(units: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {unit}" for name, unit in units.items() if name != "name")


def _having(name: str, having: int, count: int) -> str:
    return name if having == count else f"{name} ({having:,} of {count:,})"


def _describe(path: Path) -> tuple[str, Mapping[str, Any]]:
    kind = _kind_of(path)
    if kind == "dataset":
        from hamfit.data import describe as describe_dataset

        return kind, describe_dataset(path)
    from hamfit.model import describe as describe_model

    return kind, describe_model(path)


def _kind_of(path: Path) -> str:
    """`dataset` or `model`, by the manifest that each store ends with; the library checks all the rest."""
    if not path.exists():
        raise StoreError(f"{path} does not exist; give a dataset or a model")
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} is neither a complete dataset nor a complete model ({_MANIFEST} cannot be read);"
            " check the path, or write it again"
        ) from error
    if isinstance(manifest, dict) and "dataset" in str(manifest.get("format")):
        return "dataset"
    return "model"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("info")(info)
