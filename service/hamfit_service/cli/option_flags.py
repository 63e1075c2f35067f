"""Flags of a command from the fields of its options, so that both say the same."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import BaseModel


def flag(options: type[BaseModel], name: str, *flags: str) -> Any:
    """A typer option whose words and shown default come from the field `name`."""
    field = options.model_fields[name]
    words = field.description or ""
    if field.default_factory is None and not field.is_required() and field.default is not None:
        words += f" Default {_shown(field.default)}."
    return typer.Option(*(flags or (f"--{name.replace('_', '-')}",)), help=words)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
