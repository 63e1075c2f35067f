"""Options of a simulation: every system has a class of options of its own.

The Python API, the command line and a service read the same fields through `options_of`, so that they accept the same
words and refuse the same mistakes. Values may arrive as text ("3x3", "true"), because that is what a command line has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin

from pydantic import Field, field_validator, model_validator

from hamfit.checked_options import CheckedOptions
from hamfit.errors import SpecError


@dataclass(frozen=True, slots=True)
class Option:
    """What a door needs to know to offer one option."""

    name: str
    """Name of the keyword argument of `simulate`."""
    flag: str
    """Name on the command line, with its dashes: the field's, without the n_ of a number of things."""
    kind: str
    """`int`, `float`, `bool`, `text` or `shape`; an option whose default is None may also be left out."""
    default: Any
    """Value when the option is not given."""
    help: str
    """One sentence."""
    choices: tuple[str, ...]
    """The allowed words of a `text` option; empty where any number will do."""


class SimulationSpec(CheckedOptions):
    """Options that every system shares."""

    n_trajectories: int = Field(default=20, ge=1, description="Trajectories, each from a start of its own.")
    n_frames: int = Field(default=50, ge=1, description="Frames stored per trajectory, the start included.")
    dt: float = Field(default=0.05, gt=0.0, description="Step of the reference integrator.")
    every: int = Field(default=10, ge=1, description="Steps between two stored frames.")
    seed: int = Field(default=0, ge=0, description="Seed of the starts; the same seed gives the same bits.")

    @field_validator("shape", mode="before", check_fields=False)
    @classmethod
    def _shape_is_readable(cls, value: object) -> object:
        return None if value is None else read_shape(value)

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        try:
            self._check_together()
        except SpecError as error:
            raise ValueError(str(error)) from error
        return self

    def _check_together(self) -> None:
        """Refuse, by SpecError, fields that contradict each other; called after each field was checked by itself."""


def options_of(spec_class: type[SimulationSpec]) -> tuple[Option, ...]:
    """The options of a class of options, those special to the system first."""
    found = []
    for name, field in spec_class.model_fields.items():
        kind, choices = _kind(field.annotation)
        flag = "--" + name.removeprefix("n_").replace("_", "-")
        found.append(Option(name, flag, kind, field.default, field.description or "", choices))
    return tuple(sorted(found, key=lambda option: option.name in SimulationSpec.model_fields))


def read_shape(value: object) -> tuple[int, ...]:
    """Numbers of sites or cells along each axis from `10`, `"3x3"`, `"16x16x16"` or a sequence of integers.

    Raises ValueError when the value is none of these, or a number is not positive.
    """
    if isinstance(value, str):
        parts: list[object] = list(value.lower().split("x"))
    else:
        parts = list(value) if isinstance(value, Iterable) else [value]
    texts = [str(part).strip() for part in parts]
    if not all(text.isascii() and text.isdigit() and int(text) > 0 for text in texts) or not 1 <= len(texts) <= 3:
        raise ValueError("a shape is 1 to 3 positive numbers; write it as 10, 3x3 or 16x16x16")
    return tuple(int(text) for text in texts)


def _kind(annotation: Any) -> tuple[str, tuple[str, ...]]:
    """How an option is asked for, and the words there are to choose from."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = get_args(annotation)[0]  # the other one is None
    if get_origin(annotation) is Literal:
        return "text", get_args(annotation)
    return {int: "int", float: "float", bool: "bool"}.get(annotation, "shape"), ()
