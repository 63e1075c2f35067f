"""One request until it is answered: retries with growing pauses, and the document in the answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from hamfit_service.client.effects import Answer, Call, Flow, Pause, Unreachable
from hamfit_service.client.errors import BadAnswer, ServerAway, ServerError, error_of

T = TypeVar("T")
Document = TypeVar("Document", bound=BaseModel)

_REFUSED_FOR_NOW = frozenset({429, 503})
_PROXY_IN_DOUBT = frozenset({502, 504})
"""From a proxy that does not know what the service behind it has done."""

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0


def patiently(
    attempt: Callable[[], Flow[T]], patience: float, *, is_repeatable: bool = True, least_attempts: int = 1
) -> Flow[T]:
    """What ``attempt`` returns, tried again while the server is away or busy, for ``patience`` seconds of failures.

    Pauses grow, are never shorter than the server asks for, and are drawn by chance, so that many clients do not come
    back as one.

    Raises:
        ServerError: what was wrong last; at once, where trying again would change nothing or might do it twice.

    """
    failures = 0
    deadline = 0.0
    while True:
        try:
            return (yield from attempt())
        except Unreachable as error:
            failure: ServerError = ServerAway(f"{error}; see whether the server runs, and whether its address is right")
            may_repeat = is_repeatable or not error.was_sent
        except ServerError as error:
            failure = error
            may_repeat = error.status in _REFUSED_FOR_NOW or (is_repeatable and error.status in _PROXY_IN_DOUBT)
        if failures == 0:
            deadline = monotonic() + patience
        longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10))
        pause = max(random.uniform(0.5, 1.0) * longest, failure.retry_after_seconds)
        failures += 1
        is_over = monotonic() + pause > deadline and failures >= least_attempts
        if not may_repeat or is_over or pause > max(patience, _LONGEST_PAUSE_SECONDS):
            raise failure
        yield Pause(pause)


def ask(call: Call, patience: float) -> Flow[Answer]:
    """The answer to a request; raises as `patiently`."""
    return patiently(lambda: _once(call), patience, is_repeatable=call.is_repeatable)


def _once(call: Call) -> Flow[Answer]:
    answer: Answer = yield call
    if 200 <= answer.status < 300 or answer.status in call.answers:
        return answer
    raise error_of(answer)


def ask_for(kind: type[Document], call: Call, patience: float) -> Flow[Document]:
    """The document that answers a request; raises as `ask`, and BadAnswer when it cannot be read."""
    answer = yield from ask(call, patience)
    try:
        return kind.model_validate_json(answer.body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "its form"
        raise BadAnswer(
            f"the answer to {call.method} {call.path} is no {kind.__name__} ({where}: {first['msg']}); see whether a"
            " hamfit server of this version is there",
            status=answer.status,
        ) from error
