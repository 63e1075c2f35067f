"""Radial features pooled over the edges of a frame: what the pair and the kinetic block have in common.

A pooled feature is Phi_k = pooling * sum over edges of phi_k(|v_e|), where v_e is the vector of edge e seen from its
centre. Its derivative with respect to the centre's coordinate is sum over the centre's edges of phi_k'(|v|)/|v| v.
For pairs every edge is seen from both sides, so pooling is 1/2; for momenta each particle has one edge, its own p.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

import numpy as np

from hamfit.features.block import AbstractBlock
from hamfit.features.radial import RadialFeatures
from hamfit.frames import Frame
from hamfit.graphs import Edges
from hamfit.kernels.cpu import radial_rows
from hamfit.types import FloatArray, IntArray

#: Feature values evaluated at a time, so that one piece (half a megabyte) stays in the second-level cache.
_PIECE_VALUES = 2**16


Curve: TypeAlias = Callable[[FloatArray, IntArray], tuple[FloatArray, FloatArray]]
"""Distances and channels (E,) to f(r) and f'(r)/r."""


class EdgeSource(Protocol):
    """A frame made ready for asking the edges of any of its particles."""

    @property
    def order(self) -> IntArray:
        """All particles, near ones close together, (N,)."""
        ...

    def edges(self, centres: IntArray) -> Edges:
        """Edges of the centres, in their order."""
        ...


class AbstractRadialBlock(AbstractBlock):
    """Random features of edge lengths, one set for each channel."""

    pooling: float

    def __init__(self, radial: RadialFeatures) -> None:
        self.radial = radial

    @abstractmethod
    def prepare(self, frame: Frame) -> EdgeSource:
        """The frame's edges, ready for asking."""

    @property
    def n_columns(self) -> int:
        """Number of features."""
        return self.radial.n_columns

    @property
    @abstractmethod
    def channel_labels(self) -> tuple[str, ...]:
        """Name of each channel."""

    def order(self, frame: Frame) -> IntArray:
        """Particles sorted so that panels of them share neighbours."""
        return self.prepare(frame).order

    def rows(self, frame: Frame, centres: IntArray) -> FloatArray:
        """Derivatives of all features, (len(centres) * d, n_columns)."""
        return self.rows_of_edges(self.prepare(frame).edges(centres), frame.dim)

    def rows_of_edges(self, edges: Edges, dim: int) -> FloatArray:
        """Derivatives of all features for the centres of ``edges``, (C * dim, n_columns)."""
        out = np.zeros(((edges.offsets.size - 1) * dim, self.n_columns))
        width = self.radial.per_channel
        step = max(1, _PIECE_VALUES // width)
        first = 0
        while first < edges.offsets.size - 1:
            # whole centres, about _PIECE_VALUES feature values at a time
            last = int(np.searchsorted(edges.offsets, edges.offsets[first] + step, side="right")) - 1
            last = min(max(last, first + 1), edges.offsets.size - 1)
            begin, end = int(edges.offsets[first]), int(edges.offsets[last])
            radial_rows(
                edges.offsets[first : last + 1] - begin,
                edges.vector[begin:end],
                edges.channel[begin:end],
                self.slopes(edges.channel[begin:end], edges.distance[begin:end]),
                width,
                dim,
                0,
                out[first * dim : last * dim],
            )
            first = last
        return out

    def slopes(self, channel: IntArray, distance: FloatArray) -> FloatArray:
        """phi_k'(r)/r of edges of mixed channels, (E, per_channel)."""
        if self.radial.n_channels == 1:
            return self.radial.slopes_over_r(0, distance)
        out = np.empty((distance.size, self.radial.per_channel))
        for c in range(self.radial.n_channels):
            which = np.flatnonzero(channel == c)
            if which.size:
                out[which] = self.radial.slopes_over_r(c, distance[which])
        return out

    def features(self, frame: Frame) -> FloatArray:
        """Pooled features of the whole frame, (n_columns,)."""
        out = np.zeros(self.n_columns)
        for edges, _ in self._pieces(frame):
            for c in range(self.radial.n_channels):
                distance = edges.distance[edges.channel == c]
                if distance.size:
                    out[self.radial.columns(c)] += self.radial.values(c, distance).sum(axis=0)
        return self.pooling * out

    def energy_and_gradient(
        self, frame: Frame, theta: FloatArray, virial: FloatArray | None = None
    ) -> tuple[float, FloatArray]:
        """Both at once, for the price of one, feature by feature; the virial too where an array is given."""
        return self.follow(frame, lambda distance, channel: self.radial.contract(distance, channel, theta), virial)

    def follow(self, frame: Frame, curve: Curve, virial: FloatArray | None = None) -> tuple[float, FloatArray]:
        """Energy and gradient (N, d) of a function of the edge lengths: ``curve`` gives f(r) and f'(r)/r.

        Adds -sum over pairs of f'(r)/r v_a v_b to ``virial`` (d, d) where it is given.
        """
        out = np.zeros((frame.n_particles, frame.dim))
        energy = 0.0
        for edges, centres in self._pieces(frame):
            value, slope = curve(edges.distance, edges.channel)
            energy += float(value.sum())
            owner = np.repeat(np.arange(centres.size), np.diff(edges.offsets))
            for axis in range(frame.dim):
                out[centres, axis] = np.bincount(owner, slope * edges.vector[:, axis], minlength=centres.size)
            if virial is not None:
                vector = edges.vector[:, : frame.dim]
                virial -= self.pooling * (vector.T @ (slope[:, None] * vector))
        return self.pooling * energy, out

    def _pieces(self, frame: Frame, size: int = 1024) -> Iterator[tuple[Edges, IntArray]]:
        source = self.prepare(frame)
        order = source.order
        for start in range(0, order.size, size):
            centres = order[start : start + size]
            yield source.edges(centres), centres
