"""Flags of a command from the fields of its options, so that both say the same."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import BaseModel

from hamfit.checked_options import CheckedOptions
from hamfit_service.cli.running import Here
from hamfit_service.clusters import ClusterName


def flag(options: type[BaseModel], name: str, *flags: str) -> Any:
    """A typer option whose words and shown default come from the field `name`."""
    field = options.model_fields[name]
    words = field.description or ""
    if field.default_factory is None and not field.is_required() and field.default is not None:
        words += f" Default {_shown(field.default)}."
    return typer.Option(*(flags or (f"--{name.replace('_', '-')}",)), help=words)


def split_options(
    options: CheckedOptions, spec: type[BaseModel], *, scheduler: str | None, cluster: ClusterName | None
) -> tuple[dict[str, Any], Here]:
    """What decides the numbers (the fields of ``spec``), and where and how carefully they are computed."""
    values = options.model_dump()
    execution = {name: value for name, value in values.items() if name not in spec.model_fields}
    asked = [name for name in execution if name in options.model_fields_set]
    where = {"scheduler": scheduler, "cluster": cluster}
    here = Here(
        threads=execution.pop("threads"),
        scheduler=scheduler,
        cluster=cluster,
        execution=execution,
        asked=(*asked, *(name for name, value in where.items() if value is not None)),
    )
    return {name: values[name] for name in spec.model_fields}, here


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
