"""Kernels that turn edges into rows of the least-squares problem, on a device.

The primitives of ``kernels.cpu`` with the same contract, over arrays of the device. Panels are larger here (a GPU wants
a hundred thousand centres, not a few hundred), rows are written rather than added to, and sums run in the order of the
edges, as on the processor: the two differ by the rounding of fused multiply-adds and of tanh, and each gives the same
bits for the same input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.kernels.cpu import SPLINE_DEGREE

_ORDER = SPLINE_DEGREE + 1
#: Edges that a block of ``spline_rows`` holds at a time, and its threads.
_LANES = 32
#: Shared memory that a block of ``spline_rows`` may take: with more, too few blocks run side by side, and rows are
#: better added to in global memory. An estimate, not yet measured.
_MOST_STAGED_BYTES = 48 * 1024
#: Threads of a block that goes over features.
_FEATURE_THREADS = 128
#: Numbers of an edge that ``radial_rows`` keeps in shared memory.
_EDGE_WORDS = 7


@dataclass(frozen=True, slots=True, eq=False)
class DeviceEdges:
    """``hamfit.graphs.Edges`` on a device: the edges of C centres, centre after centre."""

    offsets: DeviceArray
    """(C + 1,) int64."""
    neighbour: DeviceArray
    """(E,) int64."""
    vector: DeviceArray
    """(E, 3) float64."""
    distance: DeviceArray
    """(E,) float64."""
    channel: DeviceArray
    """(E,) int64."""

    @property
    def measured(self) -> tuple[DeviceArray, ...]:
        """What kernels take of them that do not ask for neighbours."""
        return self.offsets, self.vector, self.distance, self.channel

    @property
    def joined(self) -> tuple[DeviceArray, ...]:
        """What kernels take of them that do not ask for channels."""
        return self.offsets, self.neighbour, self.vector, self.distance

    @property
    def n_centres(self) -> int:
        """Number of centres C."""
        return int(self.offsets.size) - 1

    @property
    def n_edges(self) -> int:
        """Number of edges E."""
        return int(self.distance.size)


class DeviceTable(NamedTuple):
    """What ``spline_rows`` wants of a ``RadialTable``, in its order: one number for each channel."""

    maps: DeviceArray
    """(C,) int64."""
    low: DeviceArray
    """(C,) float64."""
    scale: DeviceArray
    """(C,) float64."""
    pieces: DeviceArray
    """(C,) int64."""
    first_column: DeviceArray
    """(C,) int64, from 0 on."""


class DeviceRadial(NamedTuple):
    """What ``radial_rows`` wants of ``RadialFeatures``, in its order."""

    maps: DeviceArray
    """(C,) int64."""
    low: DeviceArray
    """(C,) float64."""
    high: DeviceArray
    """(C,) float64."""
    cutoffs: DeviceArray
    """(C,) float64."""
    smooth: DeviceArray
    """(C,) int64: 1 where features are tapered smoothly at a finite cutoff."""
    weights: DeviceArray
    """(C, hidden) float64."""
    biases: DeviceArray
    """(C, hidden) float64."""
    per_channel: int
    """Features of a channel, direct links included."""

    @property
    def arguments(self) -> tuple[DeviceArray | int, ...]:
        """What kernels take: the arrays, then their sizes."""
        return *self[:-1], *self.weights.shape, self.per_channel


def spline_rows(
    device: AbstractDevice,
    edges: DeviceEdges,
    table: DeviceTable,
    slope_basis: DeviceArray,
    dim: int,
    column: int,
    width: int,
    out: DeviceArray,
) -> DeviceArray:
    """Write the gradients of all B-splines of every edge into ``out``, columns ``column`` to ``column + width``.

    out (C * dim, at least column + width), C order; slope_basis (degree, degree + 1) as in ``kernels.cpu``. Returns the
    indices (int64) of the edges outside the table, which are left out.
    """
    outside = device.xp.zeros(edges.n_edges, dtype=np.int32)
    head = _LANES * (_ORDER + 3 + 1)
    staged = 8 * (head + dim * width) <= min(device.shared_bytes, _MOST_STAGED_BYTES)
    where = dim, out.shape[1], column, width, int(staged), out, outside, edges.n_centres
    shared = 8 * (head + (dim * width if staged else 0))
    arguments = *edges.measured, *table, slope_basis, *where
    device.launch("spline_rows", edges.n_centres, _LANES, *arguments, shared_bytes=shared)
    return device.xp.flatnonzero(outside)


def radial_rows(
    device: AbstractDevice, edges: DeviceEdges, radial: DeviceRadial, dim: int, column: int, out: DeviceArray
) -> None:
    """Write the derivatives of all features for every centre into ``out``, from ``column`` on.

    out (C * dim, at least column + channels * per_channel), C order. The features are evaluated in the kernel: no array
    of slopes is made.
    """
    where = dim, out.shape[1], column, out, edges.n_centres
    arguments = *edges.measured, *radial.arguments, *where
    shared = 8 * _EDGE_WORDS * _FEATURE_THREADS
    device.launch("radial_rows", edges.n_centres, _FEATURE_THREADS, *arguments, shared_bytes=shared)


def radial_sums(
    device: AbstractDevice, distance: DeviceArray, channel: DeviceArray, radial: DeviceRadial
) -> DeviceArray:
    """Sum of every feature over edges, (channels * per_channel,): pooled features without their pooling factor."""
    n_edges = int(distance.size)
    # a share for each block, whose sums are added in the order of the blocks
    blocks = min(1024, max(1, n_edges // 256))
    sums = device.xp.zeros((blocks, radial.weights.shape[0] * radial.per_channel))
    if n_edges:
        arguments = distance, channel, *radial.arguments, -(-n_edges // blocks), sums, n_edges
        device.launch("radial_sums", blocks, _FEATURE_THREADS, *arguments)
    return sums.sum(axis=0)


def row_squares(device: AbstractDevice, rows: DeviceArray, columns: int) -> DeviceArray:
    """Squared lengths (m,), float64, of the first ``columns`` numbers of each row of ``rows``.

    rows (m, n) of float64 or float32, C order.
    """
    squares = device.xp.empty(rows.shape[0])
    kernel, (m, n) = "row_squares_single" if rows.dtype == np.float32 else "row_squares", rows.shape
    device.launch(kernel, m, _LANES, rows, n, columns, squares, m, shared_bytes=8 * _LANES)
    return squares


def widen_extent(device: AbstractDevice, distance: DeviceArray, channel: DeviceArray, extent: np.ndarray) -> None:
    """Widen ``extent`` (channels, 2), on the host, to the shortest and longest distance of each channel."""
    if not distance.size:
        return
    xp, ends = device.xp, []
    for c in range(extent.shape[0]):
        own = channel == c
        ends += [xp.where(own, distance, np.inf).min(), xp.where(own, distance, -np.inf).max()]
    # one copy to the host for all channels
    found = device.download(xp.stack(ends)).reshape(-1, 2)
    extent[:, 0] = np.minimum(extent[:, 0], found[:, 0])
    extent[:, 1] = np.maximum(extent[:, 1], found[:, 1])
