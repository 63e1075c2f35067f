"""What every graph offers: a frame goes in, and the edges of any of its particles come out.

Asking in two steps is what makes panels cheap: ``prepare`` does once per frame what all particles share
(sorting into cells, minimum images), and ``edges`` then answers for a few hundred particles at a time, so
that no caller ever holds the edges of a whole frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from hamfit.errors import GraphError
from hamfit.frames import Frame
from hamfit.graphs.lattice import padded
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """All neighbours of C centres, centre after centre; a pair whose ends are both centres occurs twice.

    The arrays may be views of slightly larger buffers; they are contiguous and belong to the caller.
    """

    offsets: IntArray
    """Edges of centre c are ``offsets[c]:offsets[c + 1]``, (C + 1,)."""
    neighbour: IntArray
    """Particle at the other end, (E,); the centre itself where it meets its own periodic image."""
    vector: FloatArray
    """Position of the centre minus that of the neighbour's image, (E, 3), zero beyond the frame's axes."""
    distance: FloatArray
    """Length of the vector, (E,), positive."""
    channel: IntArray
    """Kind of each edge, (E,), an index into the graph's ``channel_labels``."""

    @property
    def n_centres(self) -> int:
        """Number of centres C."""
        return len(self.offsets) - 1

    @property
    def n_edges(self) -> int:
        """Number of edges E."""
        return len(self.neighbour)


class Prepared(ABC):
    """A frame made ready for asking the edges of any of its particles, by any number of threads at once."""

    order: IntArray
    """All particles, near ones close together, (N,): panels cut from it share most memory."""

    @abstractmethod
    def edges(self, centres: IntArray) -> Edges:
        """Every neighbour of every centre, in the order of ``centres``, (C,), which may repeat.

        The neighbours of a centre and their order do not depend on the other centres. Raises GraphError
        when a centre is no particle of the frame, or when two particles coincide.
        """


@dataclass(frozen=True, slots=True, eq=False)
class AbstractGraph(ABC):
    """A rule that says which particles of a frame are joined, and by which kind of edge."""

    kind: ClassVar[str]
    """Name under which the rule is stored."""

    @property
    @abstractmethod
    def channel_labels(self) -> tuple[str, ...]:
        """Names of the kinds of edge."""

    @property
    def n_channels(self) -> int:
        """Number of kinds of edge."""
        return len(self.channel_labels)

    @property
    def channel_cutoffs(self) -> FloatArray:
        """Longest edge that each channel may have, (n_channels,); inf where there is no limit."""
        return np.full(self.n_channels, np.inf)

    def is_like(self, other: AbstractGraph) -> bool:
        """Whether the other one joins the same particles by the same kinds of edge."""
        return self is other or self.to_attrs() == other.to_attrs()

    @abstractmethod
    def prepare(self, frame: Frame) -> Prepared:
        """The frame made ready. Raises GraphError when the frame cannot be joined into this graph."""

    def to_attrs(self) -> dict[str, Any]:
        """JSON-able description from which ``graph_from_attrs`` makes an equal graph; floats survive JSON exactly."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {k: v.tolist() if isinstance(v, np.ndarray) else list(v) for k, v in values.items()}
        return {"kind": self.kind, **plain}


def padded_positions(frame: Frame) -> FloatArray:
    """Positions with zeros up to three axes, (N, 3). Raises GraphError for none, or one not finite."""
    if frame.n_particles == 0:
        raise GraphError("the frame has no particles: a graph needs at least one")
    q = padded(frame.q)
    finite = np.isfinite(q)
    if not finite.all():
        first = int(np.flatnonzero(~finite.all(axis=1))[0])
        raise GraphError(f"q of particle {first} is {frame.q[first].tolist()}: give finite positions")
    return q


def checked_centres(centres: IntArray, n_particles: int) -> IntArray:
    """Centres as a contiguous (C,) int64 array. Raises GraphError when one is no particle."""
    centres = np.ascontiguousarray(centres, dtype=np.int64)
    if centres.size and (centres.min() < 0 or centres.max() >= n_particles):
        raise no_such_centre(int(centres.min() if centres.min() < 0 else centres.max()), n_particles)
    return centres


def no_such_centre(centre: int, n_particles: int) -> GraphError:
    """The error for a centre that is no particle."""
    return GraphError(f"centre {centre} is no particle of the frame: it has particles 0 to {n_particles - 1}")


def coincident(i: int, j: int) -> GraphError:
    """The error for two particles at one place."""
    return GraphError(f"particles {i} and {j} are at the same place, where no force is defined: remove or move one")
