"""Particles joined to all others nearer than a cutoff, which each pair of species has its own.

Positions are wrapped and sorted into the cells of a ``CellGrid``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hamfit.errors import GraphError, SpecError
from hamfit.frames import Frame
from hamfit.graphs.channels import checked_species, pair_channels, pair_labels, species_pairs
from hamfit.graphs.graph import AbstractGraph, Edges, Prepared, coincident, no_such_centre, padded_positions
from hamfit.graphs.grid import CellGrid
from hamfit.graphs.lattice import Lattice
from hamfit.kernels.cells import OK, OUT_OF_RANGE, find_edges, sort_into_cells
from hamfit.kernels.wrapping import wrap
from hamfit.types import FloatArray, IntArray

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

    @property
    def channel_cutoffs(self) -> FloatArray:
        """Cutoff of each channel, (n_channels,)."""
        return np.array([self.cutoffs[a, b] for a, b in species_pairs(len(self.labels))])

    def prepare(self, frame: Frame) -> PreparedCells:
        """The frame's particles sorted into cells, in O(N) time and memory.

        Raises GraphError for a frame without particles, positions that are not finite, a singular box,
        species named otherwise than here, and a cutoff that spans more than 10^7 neighbours.
        """
        species = checked_species(frame, self.labels)
        q = padded_positions(frame)
        lattice = Lattice.of(frame)
        x, s, low, high = wrap(q, lattice.vectors, lattice.inverse, lattice.periodic)
        grid = CellGrid.of(lattice, low, high, float(np.abs(q).max()), len(q), self.max_cutoff)
        order, rank, cell, start = sort_into_cells(s, grid.low, grid.scale, grid.shape)
        return PreparedCells(
            order,
            rank,
            cell,
            start,
            grid.shape,
            grid.reach,
            lattice.periodic,
            np.ascontiguousarray(x[order].T),
            species[order],
            lattice.vectors,
            self.cutoffs**2,
            (self.cutoffs**2).max(axis=1),
            grid.search**2,
            pair_channels(len(self.labels)),
            min(int(1.2 * grid.expected) + 16, _MOST_ROOM),
        )


class PreparedCells(Prepared):
    """Particles sorted into cells, in which order they come."""

    def __init__(self, order: IntArray, *others: Any) -> None:
        self.order = order
        self._kernel_arguments = (order, *others)

    def edges(self, centres: IntArray) -> Edges:
        """Every neighbour of every centre; fastest for panels cut from ``order``.

        Takes about 20 ns an edge on one core, 48 bytes each. Raises GraphError when a centre is no
        particle, or when a centre coincides with a particle it interacts with (within 1e-10 of their
        cutoff).
        """
        found = find_edges(np.ascontiguousarray(centres, dtype=np.int64), *self._kernel_arguments)
        return checked_edges(found, len(self.order))


def checked_edges(found: tuple[Any, ...], n_particles: int) -> Edges:
    """Edges that a kernel found, its last answer being the verdict; GraphError where that is not OK."""
    *arrays, verdict = found
    if verdict[0] != OK:
        first, second = verdict.tolist()
        raise refused(first, second, n_particles)
    return Edges(*arrays)


def refused(first: int, second: int, n_particles: int) -> GraphError:
    """The error for a verdict that is not OK."""
    return no_such_centre(second, n_particles) if first == OUT_OF_RANGE else coincident(first, second)
