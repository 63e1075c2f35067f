"""Forms made from the inputs of a process: one field of a form for each field of the pydantic model.

What comes back is text. It becomes numbers and lists where it can be read as such, and goes on as it is where not: the
model refuses it then, in the words that the REST interface has for it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from hamfit.systems import system
from hamfit_service.api.problems import Refusal
from hamfit_service.processes import Process

Kind: TypeAlias = Literal["text", "number", "integer", "flag", "choice", "choices", "lines", "flags"]

_MOST_FIELDS = 200
_FIRST = {
    "fit": ("data", "cutoff", "features", "blocks", "publish"),
    "rollout": ("model", "initial", "steps", "dt", "temperature", "replicas"),
    "evaluate": ("model", "data", "rollout", "trajectories"),
    "ingest": ("files", "units", "energies", "dt"),
}
"""Fields that most people need; the others are folded away."""
_POINTS_TO = {
    "fit": {"data": "dataset"},
    "rollout": {"model": "model", "initial": "dataset"},
    "evaluate": {"model": "model", "data": "dataset", "trajectories": "dataset"},
}
"""Fields that what was made here can be put into."""
OPTION = "options."
"""Before the names of a system's options."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a form."""

    name: str
    kind: Kind
    help: str
    required: bool = False
    default: str = ""
    choices: tuple[str, ...] = ()
    first: bool = True
    """Whether it is shown at once."""
    points_to: str | None = None
    """`dataset` or `model` where a reference is wanted."""
    title: str = ""
    """Name for people where it is not that of the field."""

    @property
    def label(self) -> str:
        """Its name for people."""
        words = (self.title or self.name).replace("_", " ").replace("-", " ")
        return words[:1].upper() + words[1:]


def fields_of(process: Process, chosen_system: str | None = None) -> Sequence[FormField]:
    """The fields of a process; of `simulate` those of the chosen system."""
    if chosen_system is not None:
        return [_option(entry) for entry in system(chosen_system).options]
    first = _FIRST.get(process.name, ())
    points_to = _POINTS_TO.get(process.name, {})
    made = [
        _field(name, info, first=name in first or info.is_required(), points_to=points_to.get(name))
        for name, info in process.inputs.model_fields.items()
    ]
    order = {name: place for place, name in enumerate(first)}
    return sorted(made, key=lambda one: order.get(one.name, len(order)))


def values_of(fields: Sequence[FormField], form: FormData) -> dict[str, Any]:
    """What a form says, as the model takes it; a field left empty is left out."""
    values: dict[str, Any] = {}
    for one in fields:
        value = _value(one, [str(item) for item in form.getlist(one.name)])
        if value is not None:
            values[one.name] = value
    return values


def shown_of(fields: Sequence[FormField], form: Any) -> dict[str, list[str]]:
    """What stands in each field when the form is shown again, or filled in from a link."""
    return {one.name: [str(item) for item in form.getlist(one.name)] for one in fields if one.name in form}


async def read_form(request: Request) -> FormData:
    """The fields of a form; Refusal when they cannot be read."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise Refusal(415, "a form is wanted here; use the page, or send JSON to /v1")
    try:
        form = await request.form(max_files=0, max_fields=_MOST_FIELDS)
    except (MultiPartException, UnicodeDecodeError) as error:
        raise Refusal(400, "the form cannot be read; load the page again and repeat it") from error
    return form


def beside(fields: Sequence[FormField], place: str, message: str) -> tuple[str, str]:
    """The field beside which a message stands, "" for the head of the form; and the message without its help text."""
    names = {one.name: one for one in fields}
    known = names.get(place) or names.get(place.partition(".")[0])
    if known is not None:
        return known.name, message.removesuffix(f" ({known.help})")
    if place == "options":
        # "lj: n_frames 0 ..." stands beside the option that it begins with
        words = message.partition(": ")[2] or message
        word = words.partition(" ")[0].strip("'")
        if f"{OPTION}{word}" in names:
            return f"{OPTION}{word}", words
    return "", message


def _value(one: FormField, given: Sequence[str]) -> Any:
    if one.kind == "flag":
        return bool(given)
    if one.kind == "choices":
        return list(given) or None
    texts = [text.strip() for item in given for text in item.splitlines() if text.strip()]
    if one.kind == "lines":
        return list(dict.fromkeys(texts)) or None
    if not texts:
        return None
    if one.kind == "flags":
        words = {"t": True, "true": True, "yes": True, "1": True, "f": False, "false": False, "no": False, "0": False}
        return [words.get(part.strip().lower(), part.strip()) for part in texts[0].split(",")]
    if one.kind in ("integer", "number"):
        return _number(texts[0], whole=one.kind == "integer")
    return texts[0]


def _number(text: str, *, whole: bool) -> int | float | str:
    """The number that a text is; the text itself where it is none."""
    if len(text) > 40 or "_" in text:
        return text
    try:
        return int(text)
    except ValueError:
        pass
    try:
        found = float(text)
    except ValueError:
        return text
    # 1e4 is how people write a whole number
    return int(found) if whole and found.is_integer() else found


def _field(name: str, info: FieldInfo, *, first: bool, points_to: str | None) -> FormField:
    kind, choices = _kind(info.annotation)
    extra = info.json_schema_extra
    if isinstance(extra, dict) and isinstance(words := extra.get("words"), list):
        # some of the words that there may be: the rest depends on what is installed
        kind, choices = "choices", tuple(map(str, words))
    default = None if info.is_required() or info.default_factory is not None else info.default
    return FormField(
        name=name,
        kind=kind,
        help=info.description or "",
        required=info.is_required(),
        default=_text(default),
        choices=choices,
        first=first,
        points_to=points_to,
    )


def _option(entry: Any) -> FormField:
    kinds: Mapping[str, Kind] = {"int": "integer", "float": "number", "bool": "flag", "shape": "text"}
    kind: Kind = "choice" if entry.choices else kinds.get(entry.kind, "text")
    default = "x".join(map(str, entry.default)) if isinstance(entry.default, tuple) else _text(entry.default)
    title = str(entry.flag).lstrip("-")
    return FormField(OPTION + entry.name, kind, entry.help, default=default, choices=tuple(entry.choices), title=title)


def _text(default: Any) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return "on" if default else ""
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    """How a type is asked for, and the words there are to choose from."""
    members = [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        members = [part for part in get_args(annotation) if part is not type(None)]
    core = members[0]
    if len(members) > 1:
        return "text", ()
    if get_origin(core) is Literal:
        return "choice", tuple(str(word) for word in get_args(core))
    if get_origin(core) is tuple:
        inner = get_args(core)[0]
        if get_origin(inner) is Literal:
            return "choices", tuple(str(word) for word in get_args(inner))
        return ("flags", ()) if inner is bool else ("lines", ())
    simple: Mapping[Any, Kind] = {bool: "flag", int: "integer", float: "number"}
    return simple.get(core, "text"), ()
