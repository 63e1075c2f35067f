"""Particles joined to all others nearer than a cutoff, which each pair of species has its own.

Positions are wrapped and sorted into cells about as wide as the greatest cutoff. Finer cells leave fewer
candidates, but so few centres share them that gathering costs more than it saves (10,976 atoms of a
Lennard-Jones liquid, cutoff 2.5, all full lists: 11 ms with cells as wide as the cutoff, 20 ms at half of
that).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hamfit.errors import GraphError, SpecError
from hamfit.frames import Frame
from hamfit.graphs.channels import checked_species, pair_channels, pair_labels
from hamfit.graphs.graph import AbstractGraph, Edges, Prepared, coincident, no_such_centre, padded_positions
from hamfit.graphs.lattice import Lattice
from hamfit.kernels.cells import OK, OUT_OF_RANGE, find_edges, sort_into_cells, wrap
from hamfit.types import FloatArray, IntArray

_MOST_CELLS_PER_PARTICLE = 2
"""Keeps memory O(N) when particles are spread thinly."""
_MOST_NEIGHBOURS = 1e7
"""A mean neighbour count beyond this is a mistake in the cutoff (one list would take half a gigabyte)."""
_MOST_ROOM = 4096
"""Edges per centre to make room for before any is found; beyond it buffers grow as needed."""


@dataclass(frozen=True, slots=True, eq=False)
class CutoffGraph(AbstractGraph):
    """Joins particles nearer than the cutoff of their pair of species, periodic images included.

    A cutoff beyond half the box is no error: a particle then meets several images of a neighbour, and of
    itself.
    """

    kind: ClassVar[str] = "cutoff"

    labels: tuple[str, ...]
    """Names of the S species."""
    cutoffs: FloatArray
    """Cutoff of each pair of species, (S, S), symmetric, same length unit as the frames; 0 joins none."""

    def __post_init__(self) -> None:
        n = len(self.labels)
        cutoffs = np.array(self.cutoffs, dtype=np.float64)
        if n == 0 or cutoffs.shape != (n, n):
            raise SpecError(f"cutoffs have shape {cutoffs.shape} where {n} species need ({n}, {n})")
        if not (np.isfinite(cutoffs).all() and (cutoffs >= 0).all() and cutoffs.any()):
            raise SpecError(
                "cutoffs must be finite, none negative and not all zero: give lengths, 0 for no interaction"
            )
        if not np.array_equal(cutoffs, cutoffs.T):
            raise SpecError("cutoffs are not symmetric: give each pair of species one cutoff")
        cutoffs.flags.writeable = False
        object.__setattr__(self, "cutoffs", cutoffs)

    @property
    def max_cutoff(self) -> float:
        """The greatest cutoff."""
        return float(self.cutoffs.max())

    @property
    def channel_labels(self) -> tuple[str, ...]:
        """Unordered pairs of species: 0-0, 0-1, .., 1-1, .."""
        return pair_labels(self.labels)

    def to_attrs(self) -> dict[str, Any]:
        """JSON-able description; floats survive JSON exactly."""
        return {"kind": self.kind, "labels": list(self.labels), "cutoffs": self.cutoffs.tolist()}

    def prepare(self, frame: Frame) -> PreparedCells:
        """The frame's particles sorted into cells, in O(N) time and memory.

        Raises GraphError for a frame without particles, positions that are not finite, a singular box,
        species named otherwise than here, and a cutoff that spans more than 10^7 neighbours.
        """
        species = checked_species(frame, self.labels)
        q = padded_positions(frame)
        lattice = Lattice.of(frame)
        x, s, low, high = wrap(q, lattice.vectors, lattice.inverse, lattice.periodic)
        low = np.where(lattice.periodic, 0.0, low)
        span = np.where(lattice.periodic, 1.0, high - low)
        # No rounding of positions, fractions or bounding boxes may hide a pair: look a little further.
        size = max(float(np.abs(q).max()), float(np.abs(lattice.vectors).max()))
        search = self.max_cutoff * (1 + 1e-9) + 1e-13 * size
        widths = lattice.heights * span
        guess = _expected_neighbours(len(q), lattice, span, self.max_cutoff)
        if guess > _MOST_NEIGHBOURS:
            raise GraphError(
                f"cutoff {self.max_cutoff:g} means about {guess:.0e} neighbours of each particle: lower it"
            )
        shape = _cells(widths, search, len(q))
        scale = np.divide(shape, span, out=np.zeros(3), where=span > 0)
        reach = np.ceil(np.divide(search * shape, widths, out=np.zeros(3), where=widths > 0)).astype(np.int64)
        # Along open directions there is nothing to reach beyond the last cell.
        reach = np.where(lattice.periodic, reach, np.minimum(reach, shape - 1))
        order, rank, cell, start = sort_into_cells(s, low, scale, shape)
        return PreparedCells(
            order,
            (
                order,
                rank,
                cell,
                start,
                shape,
                reach,
                lattice.periodic,
                np.ascontiguousarray(x[order].T),
                species[order],
                lattice.vectors,
                self.cutoffs**2,
                (self.cutoffs**2).max(axis=1),
                search**2,
                pair_channels(len(self.labels)),
                min(int(1.2 * guess) + 16, _MOST_ROOM),
            ),
        )


class PreparedCells(Prepared):
    """Particles sorted into cells."""

    __slots__ = ("_kernel_arguments", "_order")

    def __init__(self, order: IntArray, kernel_arguments: tuple[Any, ...]) -> None:
        self._order = order
        self._kernel_arguments = kernel_arguments

    @property
    def order(self) -> IntArray:
        """Particles cell by cell, (N,)."""
        return self._order

    def edges(self, centres: IntArray) -> Edges:
        """Every neighbour of every centre; fastest for panels cut from ``order``.

        Takes about 20 ns an edge on one core, 48 bytes each. Raises GraphError when a centre is no
        particle, or when a centre coincides with a particle it interacts with (within 1e-10 of their
        cutoff).
        """
        centres = np.ascontiguousarray(centres, dtype=np.int64)
        offsets, neighbour, vector, distance, channel, verdict = find_edges(centres, *self._kernel_arguments)
        if verdict[0] != OK:
            first, second = verdict.tolist()
            if first == OUT_OF_RANGE:
                raise no_such_centre(second, len(self._order))
            raise coincident(first, second)
        return Edges(offsets, neighbour, vector, distance, channel)


def _expected_neighbours(n_particles: int, lattice: Lattice, span: FloatArray, cutoff: float) -> float:
    """Mean neighbour count of particles spread evenly over a box at least ``cutoff`` thick where open."""
    spans = np.where(lattice.periodic, span, np.maximum(span, cutoff))
    volume = abs(float(np.linalg.det(lattice.vectors))) * float(np.prod(spans))
    return 4 / 3 * np.pi * cutoff**3 * n_particles / volume


def _cells(widths: FloatArray, search: float, n_particles: int) -> IntArray:
    """Cells along each axis, (3,): at least one, else no narrower than the search length, and O(N) in all."""
    most = _MOST_CELLS_PER_PARTICLE * n_particles
    shape = np.clip(np.floor(widths / search), 1, most)
    while np.prod(shape) > most:
        shape = np.maximum(1, np.floor(0.9 * shape))
    return shape.astype(np.int64)
