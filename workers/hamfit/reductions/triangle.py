"""The state of a reduction: one packed upper triangle over the columns [Z | u], and the laws it obeys.

Gram matrices and R factors are both upper triangles of size k + 1, the last column belonging to the targets u. Only
such triangles travel between workers: (k+1)(k+2)/2 numbers, however many rows were absorbed. A reduction is a
monoid: ``merge`` is associative up to rounding and ``zero`` is its identity, so that shards can be combined in a
fixed binary tree, always to the same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.errors import FitError
from hamfit.types import FloatArray

#: Size of a state from which on two R factors are joined on a device (some 720 columns), and from which on states of
#: any kind are merged by workers of a cluster and not by its driver, which may have no device. An
#: estimate: one core joins two R factors of this size in some 15 ms, of 1200 columns in 60 ms; a GPU is not measured.
LARGE_STATE_BYTES = 2 * 2**20


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


class AbstractAccumulator(ABC):
    """Takes the panels of one shard, one after the other, on the processor (device None) or on a device.

    On a device panels are absorbed where they were computed, and one triangle comes back. A panel that does not fit in
    its memory leaves an accumulator as it was.
    """

    def __init__(self, size: int, device: AbstractDevice | None = None) -> None:
        self._device, self._rows = device, 0
        # Fortran order, as BLAS wants it
        self._upper: DeviceArray = (np if device is None else device.xp).zeros((size, size), order="F")

    def absorb(self, panel: DeviceArray) -> None:
        """Take the rows [Z | u] of one panel, (m, k+1), C order; the panel is the caller's to reuse."""
        if panel.shape[0] > 0:
            self._add(panel)
            self._rows += int(panel.shape[0])

    @abstractmethod
    def _add(self, panel: DeviceArray) -> None:
        """Take at least one row; running out of memory must leave everything as it was."""

    def state(self) -> Triangle:
        """Everything absorbed so far, on the host."""
        upper = self._upper if self._device is None else self._device.download(self._upper)
        return Triangle.pack(upper, self._rows)


class AbstractReduction(ABC):
    """Configuration of a reduction over k columns; holds no data."""

    name: ClassVar[str]
    """By which a stored basis finds it again."""
    accumulates: ClassVar[type[AbstractAccumulator]]
    """What makes its states of panels."""
    single: ClassVar[bool] = False
    """Whether rows may be of float32."""
    squared: ClassVar[bool] = False
    """Whether states hold squares, which cannot tell singular values below sqrt(eps) from zero."""
    of_residuals: ClassVar[bool] = False
    """Whether its states hold products of rows with their residuals alone, as a pass that refines sums them."""

    def __init__(self, n_columns: int) -> None:
        self.n_columns = n_columns

    def accumulator(self, device: AbstractDevice | None = None) -> AbstractAccumulator:
        """A fresh accumulator on a device, or on the processor."""
        return self.accumulates(self.n_columns + 1, device)

    @abstractmethod
    def merge(self, first: Triangle, second: Triangle, device: AbstractDevice | None = None) -> Triangle:
        """The state of both sets of rows together; allocates, never changes its arguments.

        A device is of use where ``joins_on_device``, and gives the same up to rounding; DeviceMemoryFull where it has
        no room.
        """

    @property
    def joins_on_device(self) -> bool:
        """Whether its states are large enough, and their merging work enough, for a device."""
        return False

    @staticmethod
    @abstractmethod
    def matrix(state: Triangle) -> FloatArray:
        """The state as a full matrix M, (k+1, k+1)."""

    @staticmethod
    @abstractmethod
    def joined(weighted: Sequence[tuple[FloatArray, float]]) -> FloatArray:
        """The matrix M of all rows together, the squares of each set counted with its weight."""

    @staticmethod
    @abstractmethod
    def square(matrix: FloatArray, shift: FloatArray) -> float:
        """|[Z | u] shift|^2 of the rows that a matrix M stands for; shift (k+1,)."""

    @staticmethod
    @abstractmethod
    def column_squares(matrix: FloatArray) -> FloatArray:
        """Squared norms of all columns of [Z | u], (k+1,)."""

    @staticmethod
    @abstractmethod
    def factor(state: Triangle) -> Triangle:
        """The R factor of the rows that a state stands for."""

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
        """Memory of one accumulator on the processor."""

    def check(self, state: Triangle) -> Triangle:
        """The state itself; FitError when it does not belong to this reduction or is not finite."""
        if state.size != self.n_columns + 1:
            raise FitError(f"a state of {state.size - 1} columns cannot be merged into one of {self.n_columns}")
        if not np.all(np.isfinite(state.packed)):
            raise FitError("a shard gave values that are not finite: the data hold overflowing distances or momenta")
        return state
