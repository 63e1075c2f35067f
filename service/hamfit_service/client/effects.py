"""What a client wants done, without doing it: the core is generators of effects, performed by two small drivers.

A flow yields effects and is sent what came of them; it decides about requests, retries, reconnects and documents, and
knows neither httpx nor asyncio. `Client` performs its effects by blocking, `AsyncClient` by awaiting. When an effect
fails, its exception is thrown into the flow. A flow cleans up without yielding, for it may be closed at any effect.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """Send a request, and read its answer whole. Answered by `Answer`; throws `Unreachable`."""

    method: str
    path: str
    """From the root of the server."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Of the query; None is left out."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """Sent as JSON, unless it is None."""
    is_repeatable: bool = True
    """Whether sending it twice does what sending it once does."""
    answers: Sequence[int] = ()
    """Statuses that are answers here, whatever they mean elsewhere."""
    silence_seconds: float | None = None
    """How long the server may say nothing; None as the client was told."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request, and leave an answer of status 200 open for `Read`, its body empty so far; others are read whole.

    One answer is open at a time: opening another closes it. Answered by `Answer`; throws `Unreachable`.
    """

    call: Call


@dataclass(frozen=True, slots=True)
class Read:
    """Read from what is open. Answered by some bytes, or None at the end; throws `Unreachable`."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Do something that takes a while, such as writing to disk. Answered by what it returns; throws what it raises."""

    do: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand this to whoever iterates."""

    value: Any


Effect: TypeAlias = Call | Open | Read | Pause | Work | Emit

Flow: TypeAlias = Generator[Effect, Any, T]
"""A generator of effects that returns a T."""


class Unreachable(Exception):
    """A connection could not be made, or broke. Never leaves a flow."""

    def __init__(self, reason: str, *, was_sent: bool) -> None:
        super().__init__(reason)
        self.was_sent = was_sent
        """Whether the server may have got the request."""


class Steps(Generic[T]):
    """A flow from effect to effect; whoever performs them tells what came of each."""

    def __init__(self, flow: Flow[T]) -> None:
        self._flow = flow
        self.effect: Effect | None = None
        """What is to be done next; None once the flow is over."""
        self.result: T
        """What the flow returned."""
        self.answer(None)

    def answer(self, found: Any) -> None:
        """It was done, and this came of it."""
        self._go(lambda: self._flow.send(found))

    def fail(self, error: Exception) -> None:
        """It failed; raises what the flow makes of that."""
        self._go(lambda: self._flow.throw(error))

    def close(self) -> None:
        """No more will be done."""
        self._flow.close()

    def _go(self, go: Callable[[], Effect]) -> None:
        try:
            self.effect = go()
        except StopIteration as end:
            self.effect, self.result = None, end.value
