"""Graphs of one frame, prepared once for all who ask.

Blocks of one model mostly join the same particles. Each asks a cache for its graph, and what one of them has prepared
the others share. A cache decides how long that holds: ``FrameGraphs`` for one frame; the engine of blocks keeps lists
with a skin for as long as they hold (``inference.neighbours``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from hamfit.frames import Frame
from hamfit.graphs.graph import AbstractGraph, Prepared

Made = TypeVar("Made")


class AbstractGraphs(ABC):
    """Frames made ready for graphs, each once."""

    @abstractmethod
    def prepare(self, graph: AbstractGraph, frame: Frame) -> Prepared:
        """``graph.prepare(frame)``, or what an equal graph made of the same frame before; with its errors."""


class FrameGraphs(AbstractGraphs):
    """What was prepared of one frame, until it is asked for another; for one thread."""

    def __init__(self) -> None:
        self._frame: Frame | None = None
        self._made: list[tuple[str, AbstractGraph, Any]] = []

    def prepare(self, graph: AbstractGraph, frame: Frame) -> Prepared:
        """See ``AbstractGraphs.prepare``."""
        return self.once("processor", graph, frame, lambda: graph.prepare(frame))

    def once(self, where: str, graph: AbstractGraph, frame: Frame, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, or gave when it was last asked for this graph and frame in the same place."""
        if frame is not self._frame:
            self._frame, self._made = frame, []
        for place, known, found in self._made:
            if place == where and known.is_like(graph):
                same: Made = found
                return same
        made = make()
        self._made.append((where, graph, made))
        return made
