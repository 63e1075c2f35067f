"""From pydantic's findings to fields with a fix: what is wrong, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from hamfit.errors import suggestion
from hamfit_service.api.problems import Refusal, of_refusal
from hamfit_service.api.strict_json import dotted, read_object
from hamfit_service.wire import ProblemField

M = TypeVar("M", bound=BaseModel)

_SHOWN_ERRORS = 20
_ONLY_FOLLOWS = "default_factory_not_called"


def read_model(raw: bytes, model: type[M]) -> tuple[M, dict[str, Any]]:
    """The body of a request as ``model``, and as it was sent.

    Types are taken strictly: a number is not read from text, nor a flag from a number, so that what the schema says is
    what is accepted.

    Raises:
        Refusal: the body cannot be read (400), or fields of it are not allowed (422).

    """
    sent = read_object(raw)
    return checked(sent, model), sent


def checked(sent: Mapping[str, Any], model: type[M]) -> M:
    """``sent`` as a model; Refusal with status 422 and every field that is wrong."""
    try:
        return model.model_validate(_with_tuples(dict(sent), model), strict=True)
    except ValidationError as error:
        fields = _fields(error.errors(include_url=False), model)
        detail = "; ".join(f"{one.field}: {one.message}" for one in fields[:3])
        raise Refusal(422, detail, fields) from None


def of_parameters(request: Request, error: Exception) -> Response:
    """What the framework found wrong in path, query and headers: 404 for a path, 422 for the others."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    in_path = [item for item in found if item["loc"][0] == "path"]
    fields = [ProblemField(field=dotted(item["loc"][1:]), message=_message(item, None)) for item in in_path or found]
    detail = "; ".join(f"{one.field}: {one.message}" for one in fields[:3])
    if in_path:
        detail = f"there is nothing at this path: {detail}"
    return of_refusal(request, Refusal(404 if in_path else 422, detail, fields))


def _with_tuples(sent: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Lists where the model has tuples, as far as strict validation wants them: at the top and in `options`."""
    if not any("tuple" in str(field.annotation) for field in model.model_fields.values()):
        return sent
    return {name: _tupled(value) for name, value in sent.items()}


def _tupled(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tupled(item) for item in value)
    if isinstance(value, dict):
        return {key: _tupled(item) for key, item in value.items()}
    return value


def _fields(found: Sequence[Any], model: type[BaseModel]) -> list[ProblemField]:
    """One entry for each place; of several reasons for one place (a union has one for each member) the first."""
    fields: dict[str, ProblemField] = {}
    for item in found:
        if item["type"] == _ONLY_FOLLOWS:
            continue
        location = _place(item["loc"], model)
        name = dotted(location) or "body"
        if name not in fields:
            fields[name] = ProblemField(field=name, message=_message(item, model))
    return list(fields.values())[:_SHOWN_ERRORS]


def _place(location: Sequence[str | int], model: type[BaseModel]) -> Sequence[str | int]:
    """The place without the names of a union's members, which pydantic adds."""
    if len(location) < 2 or location[0] not in model.model_fields:
        return location
    return [part for number, part in enumerate(location) if number == 0 or isinstance(part, int)] or location


def _message(item: Any, model: type[BaseModel] | None) -> str:
    reason = str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    reason = reason[:1].lower() + reason[1:]
    if model is None:
        return reason
    name = str(item["loc"][0]) if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        return f"is not known here; {suggestion(name, model.model_fields)}"
    known = model.model_fields.get(name)
    about = "" if known is None or known.description is None else f" ({known.description})"
    if item["type"] == "missing":
        return f"is missing; give a value{about}"
    return f"{reason}{about}"
