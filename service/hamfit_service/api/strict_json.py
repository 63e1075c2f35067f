"""Reading a JSON body so that what is checked is what is meant, and what is kept can be read back.

Python's reader takes more than JSON is: NaN, a key that comes twice (the last one wins), numbers that become infinite,
halves of surrogate pairs. The databases take less: no NUL in text, no integer beyond 64 bits. Whatever is in between is
refused here, with the place where it stands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from hamfit_service.api.problems import Refusal
from hamfit_service.wire import ProblemField

MAX_DEPTH = 16
"""Deepest nesting; what there is to say needs three levels."""

_LARGEST = 2**63 - 1


class _Twice(ValueError):
    """A key that comes twice."""


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``.

    Raises:
        Refusal: 400 for what is no JSON object, 422 for a value that cannot be kept.

    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(f"it is not UTF-8 (byte {error.start})") from None
    if not text.strip():
        raise _unreadable("it is empty")
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_integer)
    except _Twice as error:
        key = str(error)
        message = f"'{key}' is given twice; give it once"
        raise Refusal(400, f"the body cannot be read: {message}", [ProblemField(field=key, message=message)]) from None
    except json.JSONDecodeError as error:
        raise _unreadable(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _unreadable(f"it nests deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise _unreadable(str(error)) from None
    if not isinstance(value, dict):
        raise _unreadable(f"it is {_kind(value)}")
    check_kept(value)
    return value


def check_kept(value: Any, location: tuple[str | int, ...] = ()) -> None:
    """Refuse what cannot be kept and read back, wherever it stands in ``value`` (422, for nesting 400).

    The same for all inputs: also for those of a form, which never were JSON.
    """
    _check(value, location, 1)


def dotted(location: Iterable[str | int]) -> str:
    """A place in a body as one word: data.0, options.n."""
    return ".".join(_shown(str(part)) for part in location)


def _unreadable(reason: str) -> Refusal:
    return Refusal(
        400,
        f'the body cannot be read: {reason}; send one JSON object such as {{"data": ["seen.zarr"]}}',
        [ProblemField(field="body", message=f"{reason}; send one JSON object")],
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(_shown(key))
            seen.add(key)
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number; write a finite number or null")


def _integer(digits: str) -> int:
    # beyond this Python refuses to read it, and long before it nobody means it
    if len(digits) > 40:
        raise ValueError(f"a number has {len(digits)} digits; write at most 19")
    return int(digits)


def _check(value: Any, location: tuple[str | int, ...], depth: int) -> None:
    """Refuse what cannot be kept, wherever it stands."""
    if isinstance(value, str):
        _check_text(value, location)
    elif isinstance(value, bool) or value is None:
        return
    elif isinstance(value, int):
        if abs(value) > _LARGEST:
            raise _bad(
                location, f"{_shown(str(value))} is beyond 64 bits; write a number from {-_LARGEST} to {_LARGEST}"
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _bad(location, "the number is beyond double precision; write one below 1e308")
    else:
        if depth > MAX_DEPTH:
            raise _unreadable(f"it nests deeper than {MAX_DEPTH} levels")
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in entries:
            if isinstance(key, str):
                _check_text(key, location)
            _check(item, (*location, key), depth + 1)


def _check_text(text: str, location: tuple[str | int, ...]) -> None:
    if "\x00" in text:
        raise _bad(location, "the text holds a NUL character; leave it out")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise _bad(location, "the text holds half of a surrogate pair; write whole characters") from None


def _bad(location: tuple[str | int, ...], message: str) -> Refusal:
    field = dotted(location) or "body"
    return Refusal(422, f"{field}: {message}", [ProblemField(field=field, message=message)])


def _shown(key: str) -> str:
    """A key of the client as it may be repeated: short, and of characters that can be sent."""
    text = key if len(key) <= 60 else f"{key[:60]}..."
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "?")


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "text"
    return "null" if value is None else "a single value"
