"""Errors that come at a chosen call."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any


def failing(function: Callable[..., Any], at: int, error: BaseException, after: bool) -> Callable[..., Any]:
    """The function, whose call number ``at`` ends in an error, having done its work or not."""
    calls = count(1)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        mine = next(calls)
        if mine == at and not after:
            raise error
        result = function(*args, **kwargs)
        if mine == at:
            raise error
        return result

    return wrapped
