"""Neighbours within a cutoff on a device: the kernels of ``kernels.cells`` with the same contract.

Edges, their order and their vectors are those of the processor to the last bit. Two passes make them: one counts, so
that sums of the counts say where the edges of each centre go, and one writes. A panel takes one small download, of how
many edges there are and whether particles coincide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.kernels.cells import OK, OUT_OF_RANGE
from hamfit.kernels.gpu import DeviceEdges
from hamfit.types import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class SortedCells:
    """N particles sorted into cells."""

    order: DeviceArray
    """Particle at each sorted place, (N,) int32."""
    rank: DeviceArray
    """Its inverse, (N,) int32."""
    cell: DeviceArray
    """Cell at each sorted place, (N,) int32."""
    start: DeviceArray
    """Where each cell begins, (cells + 1,) int32."""
    grid: DeviceArray
    """Cells along each axis, cells in reach, 1 where an axis repeats, boxes that neighbours lie away, (12,) int32."""
    x: DeviceArray
    """Sorted positions in the box, (3, N) float64."""
    species: DeviceArray
    """Species at each sorted place, (N,) int32."""
    lattice: DeviceArray
    """Lattice vectors as rows, (3, 3) float64."""
    cutoffs2: DeviceArray
    """Squared cutoffs, (S, S) float64."""
    widest2: DeviceArray
    """The greatest of each row, (S,) float64."""
    images: IntArray
    """The boxes of ``grid`` on the host: translations along each axis are -images .. images, (3,)."""

    @property
    def n_particles(self) -> int:
        """Number of particles N."""
        return int(self.order.size)


@dataclass(frozen=True, slots=True, eq=False)
class EdgeCounts:
    """What counting the edges of C centres found."""

    counts: DeviceArray
    """Edges of each centre, (C,) int64."""
    partner: DeviceArray
    """A sorted place that coincides with the centre, or -1, (C,) int32."""
    verdict: DeviceArray
    """The first centre that is no particle, or C; the last with a partner, or -1; (2,) int32, places among centres."""


def wrap(
    device: AbstractDevice, q: DeviceArray, lattice: DeviceArray, inverse: DeviceArray, periodic: DeviceArray
) -> tuple[DeviceArray, DeviceArray]:
    """Positions moved into the box along its periodic directions, and their fractional coordinates, (3, N) each.

    q (3, N); lattice, inverse (3, 3) float64; periodic (3,) int32, 0 or 1.
    """
    x, s = device.xp.empty_like(q), device.xp.empty_like(q)
    device.launch_each("wrap_positions", q.shape[1], q, lattice, inverse, periodic, x, s)
    return x, s


def sort_by_cell(
    device: AbstractDevice, s: DeviceArray, low: DeviceArray, scale: DeviceArray, grid: DeviceArray, n_cells: int
) -> tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray]:
    """``order``, ``rank``, ``cell`` and ``start`` of ``SortedCells``, stable in the particle index.

    s (3, N), low and scale (3,) as in ``kernels.cells.sort_into_cells``.
    """
    xp, n = device.xp, s.shape[1]
    number = xp.empty(n, dtype=np.int32)
    device.launch_each("number_cells", n, s, low, scale, grid, number)
    order = xp.argsort(number, kind="stable")
    cell = number[order]
    rank = xp.empty(n, dtype=np.int32)
    rank[order] = xp.arange(n, dtype=np.int32)
    start = xp.searchsorted(cell, xp.arange(n_cells + 1, dtype=np.int32))
    return order.astype(np.int32), rank, cell, start.astype(np.int32)


def count_edges(device: AbstractDevice, centres: DeviceArray, cells: SortedCells) -> EdgeCounts:
    """Count the edges of centres, (C,) int64; none for a centre that is no particle."""
    n_centres = int(centres.size)
    counts = device.xp.empty(n_centres, dtype=np.int64)
    partner = device.xp.empty(n_centres, dtype=np.int32)
    verdict = device.upload(np.array([n_centres, -1], dtype=np.int32))
    device.launch_each("count_edges", n_centres, *_arguments(centres, cells), counts, partner, verdict)
    return EdgeCounts(counts, partner, verdict)


def find_edges(
    device: AbstractDevice, centres: DeviceArray, cells: SortedCells, channels: DeviceArray
) -> tuple[DeviceEdges | None, tuple[int, int]]:
    """The full neighbour lists of ``centres``, (C,) int64, in their order; channels (S, S) int64.

    Returns the edges, None where the verdict is not OK, and the verdict: (OK, 0), (OUT_OF_RANGE, centre) or two
    coincident particles.
    """
    xp, n_centres = device.xp, int(centres.size)
    counted = count_edges(device, centres, cells)
    offsets = xp.zeros(n_centres + 1, dtype=np.int64)
    offsets[1:] = xp.cumsum(counted.counts)
    n_edges, wrong, together = device.download(
        xp.concatenate((offsets[-1:], counted.verdict.astype(np.int64)))
    ).tolist()
    if wrong < n_centres:
        return None, (OUT_OF_RANGE, int(centres[wrong]))
    if together >= 0:
        pair = int(centres[together]), int(cells.order[int(counted.partner[together])])
        return None, (min(pair), max(pair))
    edges = DeviceEdges(
        offsets,
        xp.empty(n_edges, dtype=np.int64),
        xp.empty((n_edges, 3)),
        xp.empty(n_edges),
        xp.empty(n_edges, dtype=np.int64),
    )
    into = offsets, edges.neighbour, edges.vector, edges.distance, edges.channel
    device.launch_each("fill_edges", n_centres, *_arguments(centres, cells), cells.order, channels, *into)
    return edges, (OK, 0)


def list_neighbours(
    device: AbstractDevice, cells: SortedCells, listed: DeviceArray, codes: DeviceArray, counts: DeviceArray
) -> None:
    """Neighbours of every sorted particle into listed and codes, (room, N) int32, and their numbers into counts, (N,).

    Neighbours beyond the room are counted and left out. A particle at the place of another is its neighbour; its own
    images are neighbours, itself is not.
    """
    room = listed.shape[0]
    device.launch_each("list_neighbours", cells.n_particles, *_places(cells), room, listed, codes, counts)


def _places(cells: SortedCells) -> tuple[object, ...]:
    """What all kernels take of the sorted particles."""
    c = cells
    return c.cell, c.start, c.grid, c.lattice, c.x, c.species, c.cutoffs2, c.widest2, c.widest2.size


def _arguments(centres: DeviceArray, cells: SortedCells) -> tuple[object, ...]:
    """What both passes over the edges of centres take first."""
    return centres, cells.rank, *_places(cells), cells.n_particles
