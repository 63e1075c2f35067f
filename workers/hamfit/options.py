"""The options of a fit, one source of truth for the Python API, the command line, TOML files and the service.

Each field carries its range and its help text, so that every door shows the same words and refuses the same
mistakes. Foreign validation errors are translated here into one sentence that names the field, the file and
the fix. The model is frozen: "changing" an option makes another set of options (`with_changes`).
"""

from __future__ import annotations

import difflib
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hamfit.errors import SpecError

Block: TypeAlias = Literal["kinetic", "pair", "manybody", "field"]
Sampler: TypeAlias = Literal["auto", "elm", "swim", "swim-gradient"]
InputMap: TypeAlias = Literal["auto", "r", "1/r", "r2"]
Taper: TypeAlias = Literal["auto", "smooth", "none"]
Solver: TypeAlias = Literal["sketched", "tsqr", "normal"]


def available_cores() -> int:
    """Cores this process may use, which containers and `taskset` make fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def _threads_per_process(fields: dict[str, Any]) -> int:
    # pydantic hands over the fields validated before this one, and `workers` is among them.
    return max(available_cores() // (fields.get("workers") or 1), 1)


class FitOptions(BaseModel):
    """How to fit a model. Every field has a default that is chosen from the data or good for most data."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    cutoff: str | float | None = Field(
        default=None,
        union_mode="left_to_right",
        description="Distance beyond which particles do not interact: one for all pairs (2.5) or one per pair"
        " of species labels (1-1=2.5,1-2=2.0); by default the data's bonds, without bonds all pairs in open"
        " systems. For periodic data or the many-body block the default is chosen by held-out error among"
        " 1.8, 2.1, 2.4 and 2.7 nearest-neighbour distances.",
    )
    features: int = Field(
        default=256,
        ge=1,
        description="Random features of every channel of the pair and kinetic blocks, and of the many-body block.",
    )
    blocks: tuple[Block, ...] | None = Field(
        default=None,
        description="Families of features: kinetic, pair, manybody, field; by default kinetic and pair,"
        " as the data allow.",
    )
    sampler: Sampler = Field(
        default="auto",
        description="How the features of the pair, many-body and field blocks are drawn; auto takes the best for"
        " pairs by held-out error and elm for the others. Many-body and field blocks take swim for swim-gradient;"
        " the kinetic block is always elm.",
    )
    input_map: InputMap = Field(
        default="auto",
        description="What the pair functions see of a distance; auto takes the best by held-out error.",
    )
    taper: Taper = Field(
        default="auto",
        description="Whether forces go smoothly to zero at the cutoff; auto lets the held-out error tell.",
    )
    solver: Solver = Field(
        default="sketched",
        description="How rows become a solution: sketched (accurate, fast), tsqr (orthogonal) or normal.",
    )
    workers: int | None = Field(
        default=None, ge=1, description="Worker processes; by default none, only threads in this process."
    )
    threads: int = Field(
        default_factory=_threads_per_process,
        ge=1,
        description="Threads of this process, or of each worker; by default cores / workers.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of all that is random; the same seed gives the same bits."
    )
    ridge: float | None = Field(
        default=None,
        ge=0.0,
        description="Ridge penalty in the whitened basis; by default chosen by leave-group-out.",
    )
    rank_cutoff: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="Singular values below this fraction of the largest drop out; by default sqrt(columns) * eps,"
        " or 1e-10 with energies as rows or more than 400 columns left.",
    )
    groups: int = Field(
        default=5, ge=2, description="Groups of frames for the leave-group-out choice of the ridge."
    )
    energy_weight: float | None = Field(
        default=None,
        ge=0.0,
        description="Weight of the energy rows beside the force rows; by default 1 with the many-body block and"
        " 0 without it. 0 uses energies for the constant only.",
    )
    l_max: int = Field(default=3, ge=0, le=3, description="Largest angular moment of the many-body block.")
    radial: int = Field(
        default=32,
        ge=1,
        description="Sampled radial functions of the many-body block; with --l-max 0 --radial 1 it is an embedded-atom"
        " model of one density.",
    )
    direct_links: bool = Field(default=True, description="Use the inputs themselves as features too.")
    resume: bool = Field(default=True, description="Take up an interrupted fit where its checkpoints end.")
    checkpoint: bool = Field(
        default=True, description="Keep partial results beside the model until it is published."
    )

    @field_validator("cutoff")
    @classmethod
    def _cutoff_is_readable(cls, value: str | float | None) -> str | float | None:
        if value is None:
            return None
        _check_cutoff(str(value))
        # "2.5" and 2.5 are one choice, so that a fit begun by one door can be resumed by another.
        if isinstance(value, str) and "=" in value:
            return ",".join(part.strip() for part in value.split(","))
        return float(value)

    @field_validator("blocks", mode="before")
    @classmethod
    def _split_blocks(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("blocks")
    @classmethod
    def _blocks_are_distinct(cls, value: tuple[Block, ...] | None) -> tuple[Block, ...] | None:
        if value is not None and (not value or len(set(value)) != len(value)):
            raise ValueError("must name each block once and at least one")
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
        # Each source is checked by itself first, so that a message blames the one that is wrong.
        cls.build(given)
        if path is None:
            return cls.build(given)
        values = read_toml(path)
        cls.build(values, source=str(path))
        return cls.build({**values, **given}, source=f"{path} with the flags given")

    def with_changes(self, **changes: Any) -> Self:
        """These options with some fields replaced, checked again."""
        return type(self).build({**self.model_dump(), **changes})


def _check_cutoff(text: str) -> None:
    """The grammar of a cutoff; which species there are is known only once the data are open."""
    for part in text.split(","):
        pair, equals, number = part.rpartition("=")
        try:
            length = float(number)
        except ValueError:
            length = math.nan
        if not 0.0 <= length < math.inf or (equals and "-" not in pair) or (not equals and part != text):
            raise ValueError(
                "write one distance such as 2.5, or one per pair of species such as 1-1=2.5,1-2=2.0"
            )


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


def _sentence(error: ValidationError, source: str, names: tuple[str, ...]) -> str:
    """One sentence for all the mistakes that pydantic found."""
    parts = []
    for item in error.errors(include_url=False):
        if item["type"] == "default_factory_not_called":
            continue  # only says that another field is wrong
        field = str(item["loc"][0]) if item["loc"] else "options"
        if item["type"] == "extra_forbidden":
            close = difflib.get_close_matches(field, names, n=1)
            hint = f"did you mean '{close[0]}'" if close else f"use one of {', '.join(names)}"
            parts.append(f"'{field}' is not an option, {hint}")
            continue
        reason = item["msg"].removeprefix("Value error, ")
        reason = reason[:1].lower() + reason[1:]
        part = f"'{field}' cannot be {item['input']!r}: {reason}"
        # A union of types reports one reason per type; the first one says enough.
        if not any(known.startswith(f"'{field}' cannot be") for known in parts):
            parts.append(part)
    return f"{source}: {'; '.join(parts)}"
