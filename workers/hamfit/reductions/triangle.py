"""The state of a reduction: one packed upper triangle over the columns [Z | u], and the laws it obeys.

Gram matrices and R factors are both upper triangles of size k + 1, the last column belonging to the targets u. Only
such triangles travel between workers: (k+1)(k+2)/2 numbers, however many rows were absorbed. A reduction is a
monoid: ``merge`` is associative up to rounding and ``zero`` is its identity, so that shards can be combined in a
fixed binary tree, always to the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from hamfit.errors import FitError
from hamfit.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Triangle:
    """A packed upper triangle of size k + 1 and the number of rows it stands for."""

    packed: FloatArray
    """Upper triangle, row by row, ((k+1)(k+2)/2,)."""
    n_rows: int
    """Rows absorbed."""

    @property
    def size(self) -> int:
        """k + 1."""
        return int((np.sqrt(8.0 * self.packed.size + 1.0) - 1.0) / 2.0 + 0.5)

    def unpack(self) -> FloatArray:
        """The upper triangle as a full matrix with zeros below, (k+1, k+1)."""
        out = np.zeros((self.size, self.size))
        out[np.triu_indices(self.size)] = self.packed
        return out

    @classmethod
    def pack(cls, upper: FloatArray, n_rows: int) -> Triangle:
        """Pack the upper triangle of a square matrix."""
        return cls(np.ascontiguousarray(upper[np.triu_indices(upper.shape[0])]), n_rows)


class Accumulator(Protocol):
    """Takes the panels of one shard, one after the other."""

    def absorb(self, panel: FloatArray) -> None:
        """Take the rows [Z | u] of one panel, (m, k+1), C order; the panel is the caller's to reuse."""
        ...

    def state(self) -> Triangle:
        """Everything absorbed so far."""
        ...


class AbstractReduction(ABC):
    """Configuration of a reduction over k columns; holds no data."""

    name: ClassVar[str]

    def __init__(self, n_columns: int) -> None:
        self.n_columns = n_columns

    @abstractmethod
    def accumulator(self) -> Accumulator:
        """A fresh accumulator."""

    @abstractmethod
    def merge(self, first: Triangle, second: Triangle) -> Triangle:
        """The state of both sets of rows together; allocates, never changes its arguments."""

    def precise(self) -> AbstractReduction:
        """The same reduction in float64 throughout: for rows so few that precision costs nothing."""
        return self

    def zero(self) -> Triangle:
        """The state of no rows at all."""
        size = self.n_columns + 1
        return Triangle(np.zeros(size * (size + 1) // 2), 0)

    @property
    def state_bytes(self) -> int:
        """Size of one state."""
        size = self.n_columns + 1
        return 8 * size * (size + 1) // 2

    @property
    @abstractmethod
    def working_bytes(self) -> int:
        """Memory of one accumulator."""

    def check(self, state: Triangle) -> Triangle:
        """The state itself; FitError when it does not belong to this reduction or is not finite."""
        if state.size != self.n_columns + 1:
            raise FitError(f"a state of {state.size - 1} columns cannot be merged into one of {self.n_columns}")
        if not np.all(np.isfinite(state.packed)):
            raise FitError("a shard gave values that are not finite: the data hold overflowing distances or momenta")
        return state
