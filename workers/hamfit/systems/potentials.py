"""Potential energy of whole systems: the interface, and sums over a fixed list of pairs.

States come as (N, d), one system, or (N, T, d), T independent copies of it that are integrated together:
small systems spend their time in Python, not in arithmetic, and T = 100 copies cost little more than one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy import sparse

from hamfit.errors import SpecError
from hamfit.systems.pair_laws import Law
from hamfit.types import FloatArray, IntArray


class AbstractPotential(ABC):
    """V(q) and its exact forces -dV/dq."""

    @abstractmethod
    def energy(self, q: FloatArray) -> FloatArray:
        """Potential energy: shape () for q of (N, d), shape (T,) for q of (N, T, d)."""

    @abstractmethod
    def forces(self, q: FloatArray) -> FloatArray:
        """-dV/dq, of the shape of q."""


class PairSum(AbstractPotential):
    """A law summed over a fixed list of pairs; minimum images along the periodic axes of a box."""

    def __init__(
        self,
        law: Law,
        pairs: IntArray,
        n_particles: int,
        *,
        edges: FloatArray | None = None,
        periodic: tuple[bool, ...] = (),
    ) -> None:
        if pairs.size and (pairs.min() < 0 or pairs.max() >= n_particles or (pairs[:, 0] == pairs[:, 1]).any()):
            raise SpecError(f"pairs must join two different particles below {n_particles}; check the list of bonds")
        self.law = law
        self.pairs = pairs
        self.n_particles = n_particles
        self._periods = {} if edges is None else {axis: edges[axis] for axis, flag in enumerate(periodic) if flag}
        # Row b of the incidence matrix is +1 at the first and -1 at the second particle of pair b: it makes
        # bond vectors from positions, and its transpose makes forces from bond tensions, both in compiled
        # loops whose order of summation is fixed. All entries being +-1, the products are exact.
        count = len(pairs)
        rows = np.repeat(np.arange(count), 2)
        signs = np.tile([1.0, -1.0], count)
        self._incidence = sparse.csr_matrix((signs, (rows, pairs.ravel())), shape=(count, n_particles))
        self._gather = self._incidence.T.tocsr()

    def vectors(self, q: FloatArray) -> FloatArray:
        """Vectors from the second to the first particle of each pair, (B, d) or (B, T, d)."""
        flat = q.reshape(self.n_particles, -1)
        vectors: FloatArray = (self._incidence @ flat).reshape(len(self.pairs), *q.shape[1:])
        for axis, length in self._periods.items():
            vectors[..., axis] -= length * np.round(vectors[..., axis] / length)
        return vectors

    def energy(self, q: FloatArray) -> FloatArray:
        """Potential energy: shape () for q of (N, d), shape (T,) for q of (N, T, d)."""
        return np.asarray(self.law.energy(self._columns(self.vectors(q))).sum(axis=0).reshape(q.shape[1:-1]))

    def forces(self, q: FloatArray) -> FloatArray:
        """-dV/dq, of the shape of q."""
        vectors = self.vectors(q)
        slope = self.law.slope_over_distance(self._columns(vectors)).reshape(vectors.shape[:-1])
        tension = -slope[..., None] * vectors
        forces: FloatArray = (self._gather @ tension.reshape(len(self.pairs), -1)).reshape(q.shape)
        return forces

    def _columns(self, vectors: FloatArray) -> FloatArray:
        """Squared distances as (B, states), which is what the parameters of a law broadcast against."""
        return np.asarray(np.einsum("...d,...d->...", vectors, vectors)).reshape(len(self.pairs), -1)


def all_pairs(n_particles: int) -> IntArray:
    """Every pair i < j, (N (N - 1) / 2, 2)."""
    return np.stack(np.triu_indices(n_particles, k=1), axis=1).astype(np.int64)
