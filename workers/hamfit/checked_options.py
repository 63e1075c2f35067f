"""What all sets of options share: one source of truth for the Python API, the command line, TOML files and the service.

Each field carries its range and its help text, so that every door shows the same words and refuses the same
mistakes. Foreign validation errors are translated here into one sentence that names the field, the file and
the fix. Options are frozen: "changing" one makes another set of options (`with_changes`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from hamfit.errors import SpecError, suggestion

_ABSENT = ("missing", "default_factory_not_called")
"""Kinds of pydantic's errors that say that a field is not there, or only that another one is wrong."""


def available_cores() -> int:
    """Cores this process may use, which containers and `taskset` make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def threads_per_process(fields: dict[str, Any]) -> int:
    """Default of a field `threads`, from the fields validated before it, of which `workers` is one."""
    return max(available_cores() // (fields.get("workers") or 1), 1)


class CheckedOptions(BaseModel):
    """Options that are checked wherever they come from."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[str(info.field_name)].annotation
        kinds = (annotation, *get_args(annotation))
        if isinstance(value, bool) and bool not in kinds and (int in kinds or float in kinds):
            raise ValueError(f"input should be a valid {'number' if float in kinds else 'integer'}, not true or false")
        return value

    @classmethod
    def build(cls, values: Mapping[str, Any], *, source: str = "options") -> Self:
        """Options from plain values.

        Raises:
            SpecError: a name is unknown or a value out of range; the message names `source` and the field.

        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise SpecError(_sentence(error, source, tuple(cls.model_fields))) from error

    @classmethod
    def load(cls, path: str | Path | None, overrides: Mapping[str, Any] | None = None) -> Self:
        """Options from a TOML file whose top-level keys are the fields; `overrides` that are not None win.

        Raises:
            SpecError: the file cannot be read, or a value in it or in `overrides` is not allowed.

        """
        given = {name: value for name, value in (overrides or {}).items() if value is not None}
        if path is None:
            return cls.build(given)
        values = read_toml(path)
        # Each source is checked by itself first, so that a message blames the one that is wrong; what one of them lacks
        # the other may have.
        cls._check(given, "options")
        cls._check(values, str(path))
        return cls.build({**values, **given}, source=f"{path} with the flags given")

    @classmethod
    def _check(cls, values: Mapping[str, Any], source: str) -> None:
        """SpecError for what is wrong in values that need not be complete."""
        try:
            cls.model_validate(dict(values))
        except ValidationError as error:
            if not all(item["type"] in _ABSENT for item in error.errors(include_url=False)):
                raise SpecError(_sentence(error, source, tuple(cls.model_fields), complete=False)) from error

    def with_changes(self, **changes: Any) -> Self:
        """These options with some fields replaced, checked again."""
        return type(self).build({**self.model_dump(), **changes})


class PlaceOptions(CheckedOptions):
    """Where work is done, and whether it goes on from where it was interrupted: no number depends on these."""

    workers: int | None = Field(
        default=None, ge=1, description="Worker processes; by default none, only threads in this process."
    )
    threads: int = Field(
        default_factory=threads_per_process,
        ge=1,
        description="Threads of this process, or of each worker; by default cores / workers.",
    )
    resume: bool = Field(default=True, description="Take up what was interrupted where its checkpoints end.")


def read_toml(path: str | Path) -> dict[str, Any]:
    """The top-level table of a TOML file; raises SpecError when it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read ({error}); give --config the path of a TOML file") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is not valid TOML ({error}); write lines such as features = 256") from error


def _sentence(error: ValidationError, source: str, names: tuple[str, ...], *, complete: bool = True) -> str:
    """One sentence for all the mistakes that pydantic found; what is absent is one only where all should be there."""
    parts = []
    for item in error.errors(include_url=False):
        if item["type"] == "default_factory_not_called":
            continue  # only says that another field is wrong
        field = str(item["loc"][0]) if item["loc"] else "options"
        if item["type"] == "missing":
            if complete:
                parts.append(f"'{field}' is missing and has no default, give a value")
            continue
        if item["type"] == "extra_forbidden":
            parts.append(f"'{field}' is not an option, {suggestion(field, names)}")
            continue
        reason = item["msg"].removeprefix("Value error, ")
        reason = reason[:1].lower() + reason[1:]
        # what is wrong with several fields together names them itself
        part = f"'{field}' cannot be {item['input']!r}: {reason}" if item["loc"] else reason
        # A union of types reports one reason per type; the first one says enough.
        if not any(known.startswith(f"'{field}' cannot be") for known in parts):
            parts.append(part)
    return f"{source}: {'; '.join(parts)}"
