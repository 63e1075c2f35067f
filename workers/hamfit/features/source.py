"""A frame made ready for one block: prepared once, then asked for the rows of any of its particles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hamfit.errors import ModelError
from hamfit.frames import Frame
from hamfit.graphs import Edges, Prepared
from hamfit.kernels.cpu import count_outside
from hamfit.types import FloatArray, IntArray

if TYPE_CHECKING:
    from hamfit.graphs.device_cells import AbstractDevicePrepared


def stretches(offsets: IntArray, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of centres with about ``most`` of what ``offsets`` (C + 1,) count, at least one centre each."""
    first = 0
    while first < offsets.size - 1:
        last = int(np.searchsorted(offsets, offsets[first] + most, side="right")) - 1
        # centres that have nothing are ranges too
        last = max(last, first + 1)
        yield first, last
        first = last


class Range:
    """Counts the edges that training did not see; a block's edges pass by it when its energy is asked for.

    extent (C, 2): shortest and longest edge seen in training, for each channel; nan for a channel without edges, all
    of which are then outside.
    """

    def __init__(self, extent: FloatArray) -> None:
        # a copy, because arrays that are read-only would be compiled for once more
        self._extent = np.array(extent, dtype=np.float64)
        self.outside = 0
        """Edges outside the extent so far."""
        self.total = 0
        """Edges so far."""

    def count(self, edges: Edges) -> None:
        """Take note of some edges."""
        self.outside += int(count_outside(edges.distance, edges.channel, self._extent))
        self.total += edges.n_edges


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What a block asks of a frame."""

    frame: Frame
    """The frame, in the labels of the block."""
    prepared: Prepared | None = None
    """Its edges; None for a block without a graph."""
    range: Range | None = field(default=None, kw_only=True)
    """Where edges are counted as they are asked for; None where nobody wants to know."""
    on_device: AbstractDevicePrepared | None = field(default=None, kw_only=True)
    """Its edges on a device, for a block that has them there instead."""
    hosted: Callable[[], Source] | None = field(default=None, kw_only=True)
    """The same with edges on the processor, where these are on a device."""

    @property
    def order(self) -> IntArray:
        """All particles, (N,), in the order in which panels of neighbouring particles share most memory."""
        prepared = self.prepared or self.on_device
        if prepared is not None:
            return prepared.order
        return np.arange(self.frame.n_particles, dtype=np.int64)

    @property
    def has_order(self) -> bool:
        """Whether ``order`` puts near particles close together: whether there is a graph."""
        return self.prepared is not None or self.on_device is not None

    def edges(self, centres: IntArray) -> Edges:
        """Edges of the centres, in their order; ModelError for a block that has no graph."""
        if self.prepared is None:
            raise ModelError("edges are asked of a block that joins no particles: give it a graph")
        edges = self.prepared.edges(centres)
        if self.range is not None:
            self.range.count(edges)
        return edges

    def pieces(self, size: int, centres: IntArray | None = None) -> Iterator[tuple[Edges, IntArray]]:
        """The edges of ``size`` particles at a time, and whose they are: of all in their order, or of ``centres``."""
        order = self.order if centres is None else centres
        for start in range(0, order.size, size):
            part = order[start : start + size]
            yield self.edges(part), part
