"""Options of a simulation: frozen dataclasses whose fields carry their own range, help text and
command-line flag.

Every system has a class of options of its own. The Python API, the command line and a service read the same
fields through `options_of`, so that they accept the same words and refuse the same mistakes. Values may
arrive as text ("3x3", "true"), because that is what a command line has.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from hamfit.errors import SpecError

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


@dataclass(frozen=True, slots=True)
class Option:
    """What a door needs to know to offer one option."""

    name: str
    """Name of the keyword argument of `simulate`."""
    flag: str
    """Name on the command line, with its dashes."""
    kind: str
    """`int`, `float`, `bool`, `text` or `shape`; an option whose default is None may also be left out."""
    default: Any
    """Value when the option is not given."""
    help: str
    """One sentence."""
    choices: tuple[str, ...]
    """The allowed words of a `text` option; empty where any number will do."""


def option(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    above: float | None = None,
) -> Any:
    """A dataclass field with what is needed to offer and check it.

    `minimum` is the smallest value allowed; `above` is a bound that must be exceeded.
    """
    metadata = {"help": help, "flag": flag, "choices": choices, "minimum": minimum, "above": above}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSpec:
    """Options that every system shares; construction checks and normalises all fields."""

    n_trajectories: int = option(20, "Trajectories, each from a start of its own.", flag="--trajectories", minimum=1)
    n_frames: int = option(50, "Frames stored per trajectory, the start included.", flag="--frames", minimum=1)
    dt: float = option(0.05, "Step of the reference integrator.", above=0.0)
    every: int = option(10, "Steps between two stored frames.", minimum=1)
    seed: int = option(0, "Seed of the starts; the same seed gives the same bits.", minimum=0)

    def __post_init__(self) -> None:
        kinds = _kinds(type(self))
        for item in fields(self):
            value = _read(item.name, kinds[item.name], getattr(self, item.name), item.metadata)
            object.__setattr__(self, item.name, value)
        self._check()

    def _check(self) -> None:
        """Refuse fields that contradict each other; called after each field was checked by itself."""


Spec = TypeVar("Spec", bound=SimulationSpec)


def options_of(spec_class: type[SimulationSpec]) -> tuple[Option, ...]:
    """The options of a class of options, those special to the system first."""
    kinds = _kinds(spec_class)
    shared = [item.name for item in fields(SimulationSpec)]
    found = [
        Option(
            name=item.name,
            flag=item.metadata["flag"] or "--" + item.name.replace("_", "-"),
            kind=kinds[item.name][0],
            default=None if item.default is MISSING else item.default,
            help=item.metadata["help"],
            choices=item.metadata["choices"],
        )
        for item in fields(spec_class)
    ]
    return tuple(sorted(found, key=lambda entry: entry.name in shared))


def build_spec(spec_class: type[Spec], values: Mapping[str, Any], *, system: str) -> Spec:
    """Options of one system from plain or textual values; None stands for the default.

    Raises:
        SpecError: a name is unknown (the known ones are listed) or a value is out of range.

    """
    known = [item.name for item in fields(spec_class)]
    for name in values:
        if name not in known:
            raise SpecError(f"'{name}' is not an option of {system}; {suggest(name, known)}")
    try:
        return spec_class(**{name: value for name, value in values.items() if value is not None})
    except SpecError as error:
        raise SpecError(f"{system}: {error}") from error


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, and all of them."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(names)}"


def read_shape(value: object) -> tuple[int, ...]:
    """Numbers of sites or cells along each axis from `10`, `"3x3"`, `"16x16x16"` or a sequence of integers.

    Raises:
        SpecError: the value is none of these, or a number is not positive.

    """
    if isinstance(value, str):
        parts: list[object] = list(value.lower().split("x"))
    elif isinstance(value, Iterable):
        parts = list(value)
    else:
        parts = [value]
    numbers = []
    for part in parts:
        text = str(part).strip()
        if isinstance(part, bool) or not text.isascii() or not text.isdigit() or int(text) < 1:
            raise SpecError(f"shape {value!r} is not a list of positive numbers; write it as 10, 3x3 or 16x16x16")
        numbers.append(int(text))
    if not 1 <= len(numbers) <= 3:
        raise SpecError(f"shape {value!r} has {len(numbers)} numbers; give 1 to 3, such as 10, 3x3 or 16x16x16")
    return tuple(numbers)


def _kinds(spec_class: type[SimulationSpec]) -> dict[str, tuple[str, bool]]:
    """For each field its kind and whether it may be None."""
    kinds = {}
    for name, hint in get_type_hints(spec_class).items():
        members = [part for part in get_args(hint) if part is not type(None)]
        may_be_none = type(None) in get_args(hint)
        core = members[0] if may_be_none else hint
        if core is tuple or get_origin(core) is tuple:
            kinds[name] = ("shape", may_be_none)
        else:
            kinds[name] = ({int: "int", float: "float", bool: "bool"}.get(core, "text"), may_be_none)
    return kinds


def _read(name: str, kind: tuple[str, bool], value: Any, metadata: Mapping[str, Any]) -> Any:
    what, may_be_none = kind
    if value is None:
        if may_be_none:
            return None
        raise SpecError(f"{name} is missing; give a value")
    if what == "shape":
        return read_shape(value)
    if what == "bool":
        return _read_bool(name, value)
    if what == "text":
        choices = metadata["choices"]
        if value not in choices:
            raise SpecError(f"{name} '{value}' is unknown; {suggest(str(value), choices)}")
        return value
    return _read_number(name, what, value, metadata)


def _read_bool(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise SpecError(f"{name} {value!r} is neither true nor false; write one of them")


def _read_number(name: str, what: str, value: Any, metadata: Mapping[str, Any]) -> int | float:
    expected = "a whole number" if what == "int" else "a finite number"
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name} {value!r} is not a number; give {expected}") from error
    if isinstance(value, bool) or not math.isfinite(number) or (what == "int" and number != int(number)):
        raise SpecError(f"{name} {value!r} is not {expected}; give one")
    minimum, above = metadata["minimum"], metadata["above"]
    if minimum is not None and number < minimum:
        raise SpecError(f"{name} is {value}; it must be at least {minimum:g}")
    if above is not None and number <= above:
        raise SpecError(f"{name} is {value}; it must be greater than {above:g}")
    return int(value) if what == "int" else number
