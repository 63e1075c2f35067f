"""Graphs on a device: a frame goes there once, and the edges of its particles never come back.

Cutoff graphs sort and search on the device. Bonds and pairs without a cutoff are lists that the processor makes faster
than they are used, and their edges are uploaded panel by panel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.errors import GraphError
from hamfit.frames import Frame
from hamfit.graphs.channels import checked_species, pair_channels
from hamfit.graphs.cutoff import CutoffGraph, refused
from hamfit.graphs.graph import AbstractGraph, Prepared, padded_positions
from hamfit.graphs.grid import CellGrid
from hamfit.graphs.lattice import Lattice
from hamfit.kernels.cells import OK
from hamfit.kernels.gpu import DeviceEdges
from hamfit.kernels.gpu_cells import SortedCells, count_edges, find_edges, sort_by_cell, wrap
from hamfit.types import FloatArray, IntArray

#: Centres whose edges are counted to know how many there are: their mean is then within some per cent.
_SAMPLE = 1024
#: The same where the processor finds the edges, which takes longer.
_HOST_SAMPLE = 64


class AbstractDevicePrepared(ABC):
    """A frame made ready for asking the edges of any of its particles on a device."""

    order: IntArray
    """All particles, near ones close together, (N,), on the host and as the host's graph orders them."""

    @property
    @abstractmethod
    def edges_per_centre(self) -> float:
        """Mean number of edges, measured on a sample of the particles."""

    @abstractmethod
    def edges(self, centres: DeviceArray) -> DeviceEdges:
        """Every neighbour of every centre, (C,) int64: the edges that the host finds, in the same order.

        Raises GraphError when a centre is no particle of the frame, or when two particles coincide.
        """


def prepare_on_device(device: AbstractDevice, graph: AbstractGraph, frame: Frame) -> AbstractDevicePrepared:
    """The frame made ready on a device. Raises GraphError where ``graph.prepare`` does."""
    if isinstance(graph, CutoffGraph):
        return DeviceCells(device, graph, frame)
    return HostEdgeSource(device, graph.prepare(frame))


class DeviceCells(AbstractDevicePrepared):
    """Particles sorted into cells on a device, for a cutoff graph."""

    def __init__(self, device: AbstractDevice, graph: CutoffGraph, frame: Frame) -> None:
        species: DeviceArray = checked_species(frame, graph.labels)
        self._device = device
        q, species = device.upload(padded_positions(frame).T), device.upload(species.astype(np.int32))
        self._cells = cells_of(device, q, species, Lattice.of(frame), graph.cutoffs)
        self._channels = device.upload(pair_channels(len(graph.labels)))
        self.order = device.download(self._cells.order).astype(np.int64)

    @cached_property
    def edges_per_centre(self) -> float:
        """See ``AbstractDevicePrepared.edges_per_centre``."""
        sample = self._device.upload(_spread(self.order, _SAMPLE))
        return float(count_edges(self._device, sample, self._cells).counts.mean())

    def edges(self, centres: DeviceArray) -> DeviceEdges:
        """Every neighbour of every centre; fastest for panels cut from ``order``."""
        edges, (first, second) = find_edges(self._device, centres, self._cells, self._channels)
        if first != OK or edges is None:
            raise refused(first, second, self.order.size)
        return edges


class HostEdgeSource(AbstractDevicePrepared):
    """Edges that the host finds, uploaded when they are asked for."""

    def __init__(self, device: AbstractDevice, source: Prepared) -> None:
        self._device, self._source = device, source
        self.order = source.order

    @cached_property
    def edges_per_centre(self) -> float:
        """See ``AbstractDevicePrepared.edges_per_centre``."""
        sample = _spread(self.order, _HOST_SAMPLE)
        return self._source.edges(sample).n_edges / sample.size

    def edges(self, centres: DeviceArray) -> DeviceEdges:
        """The source's edges, with its errors."""
        found = self._source.edges(self._device.download(centres))
        arrays = (found.offsets, found.neighbour, found.vector, found.distance, found.channel)
        return DeviceEdges(*map(self._device.upload, arrays))


def cells_of(
    device: AbstractDevice, q: DeviceArray, species: DeviceArray, lattice: Lattice, cutoffs: FloatArray
) -> SortedCells:
    """Particles at q, (3, N) float64, sorted into cells; species (N,) int32; cutoffs (S, S).

    Raises GraphError for positions that are not finite, and a cutoff that spans more than 10^7 neighbours.
    """
    xp, n = device.xp, q.shape[1]
    vectors, inverse = device.upload(lattice.vectors), device.upload(lattice.inverse)
    x, s = wrap(device, q, vectors, inverse, device.upload(lattice.periodic.astype(np.int32)))
    extent = device.download(xp.concatenate((s.min(axis=1), s.max(axis=1), xp.abs(q).max()[None])))
    if not np.isfinite(extent).all():
        raise GraphError("q has entries that are not finite: give finite positions")
    grid = CellGrid.of(lattice, extent[:3], extent[3:6], float(extent[6]), n, float(cutoffs.max()))
    # a neighbour lies at most so many boxes away from where both are in the box
    images = np.where(lattice.periodic == 1, np.ceil(grid.search / lattice.heights), 0.0).astype(np.int64)
    words = np.concatenate((grid.shape, grid.reach, lattice.periodic, images))
    on_device = device.upload(words.astype(np.int32))
    order, rank, cell, start = sort_by_cell(
        device, s, device.upload(grid.low), device.upload(grid.scale), on_device, int(np.prod(grid.shape))
    )
    squares = np.asarray(cutoffs) ** 2
    return SortedCells(
        order,
        rank,
        cell,
        start,
        on_device,
        xp.take(x, order, axis=1),
        species[order],
        vectors,
        device.upload(squares),
        device.upload(squares.max(axis=1)),
        images,
    )


def _spread(order: IntArray, most: int) -> IntArray:
    """At most so many of the particles, evenly from all of the order."""
    return order[:: -(-order.size // most)]
