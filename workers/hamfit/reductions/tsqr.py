"""R-only QR of tall matrices: the triangular factor of [Z | u], never Q.

Panels are stacked under the current R and factorised again; two shards merge by factorising their stacked R's
(Demmel, Grigori, Hoemmen, Langou, SIAM J. Sci. Comput. 34, A206 (2012), Algorithm 1 without the Q tree). Backward
stable in Z itself: no digit is lost to forming Z^T Z.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hamfit.reductions.factors import EPS, device_factor, invertible, join_factors, triangular_factor
from hamfit.reductions.problems import AbstractProblem, Outcome, Penalty
from hamfit.reductions.solver import AbstractSolver
from hamfit.reductions.triangle import LARGE_STATE_BYTES, AbstractAccumulator, AbstractReduction, Triangle
from hamfit.types import FloatArray

if TYPE_CHECKING:
    from hamfit.devices import AbstractDevice, DeviceArray


def _buffered_rows(size: int) -> int:
    """R and three times as many waiting rows as columns: factorising R again costs a third on top."""
    return size + max(3 * size, 1024)


class TsqrAccumulator(AbstractAccumulator):
    """On the processor: the current R on top of a buffer of rows that wait to be factorised."""

    def __init__(self, size: int) -> None:
        super().__init__(None)
        self._buffer = np.zeros((_buffered_rows(size), size), order="F")
        self._filled = 0

    def _add(self, panel: FloatArray) -> None:
        taken = 0
        while taken < panel.shape[0]:
            step = min(panel.shape[0] - taken, self._buffer.shape[0] - self._filled)
            self._buffer[self._filled : self._filled + step] = panel[taken : taken + step]
            self._filled += step
            taken += step
            if self._filled == self._buffer.shape[0]:
                upper = self._upper()
                self._buffer[: upper.shape[0]] = upper
                self._filled = upper.shape[0]

    def _upper(self) -> FloatArray:
        return triangular_factor(self._buffer[: self._filled])


class DeviceTsqrAccumulator(AbstractAccumulator):
    """On a device: the current R factor; every panel is factorised below it at once (cuSOLVER)."""

    def __init__(self, size: int, device: AbstractDevice) -> None:
        super().__init__(device)
        self._where = device
        self._factor: DeviceArray = device.xp.zeros((size, size), order="F")

    def _add(self, panel: DeviceArray) -> None:
        self._factor = device_factor(self._where, self._where.xp.concatenate([self._factor, panel]))

    def _upper(self) -> DeviceArray:
        return self._factor


class Tsqr(AbstractReduction):
    """R factor of [Z | u]."""

    name: ClassVar[str] = "tsqr"

    def accumulator(self, device: AbstractDevice | None = None) -> AbstractAccumulator:
        """A fresh accumulator on a device, or on the processor."""
        size = self.n_columns + 1
        return TsqrAccumulator(size) if device is None else DeviceTsqrAccumulator(size, device)

    def merge(self, first: Triangle, second: Triangle, device: AbstractDevice | None = None) -> Triangle:
        """The R factor of both R factors stacked."""
        pair = first.unpack(), second.unpack()
        if device is None or not self.joins_on_device:
            upper = join_factors(*pair)
        else:
            with device.turn, device.guarded():
                stacked = device.xp.concatenate([device.upload(factor) for factor in pair])
                upper = device.download(device_factor(device, stacked))
        return Triangle.pack(upper, first.n_rows + second.n_rows)

    @property
    def joins_on_device(self) -> bool:
        """Whether the states are large enough for a device."""
        return self.state_bytes >= LARGE_STATE_BYTES

    @staticmethod
    def matrix(state: Triangle) -> FloatArray:
        """The upper triangle R."""
        return state.unpack()

    @staticmethod
    def joined(weighted: Sequence[tuple[FloatArray, float]]) -> FloatArray:
        """R of all factors stacked, each times the root of its weight."""
        return triangular_factor(np.vstack([np.sqrt(weight) * matrix for matrix, weight in weighted]))

    @staticmethod
    def square(matrix: FloatArray, shift: FloatArray) -> float:
        """See ``AbstractReduction.square``; exact to rounding."""
        residual = matrix @ shift
        return float(residual @ residual)

    @staticmethod
    def column_squares(matrix: FloatArray) -> FloatArray:
        """Those of the columns of R."""
        return np.asarray(np.einsum("ij,ij->j", matrix, matrix))

    @staticmethod
    def factor(state: Triangle) -> Triangle:
        """The state itself."""
        return state

    @property
    def working_bytes(self) -> int:
        """Memory of one accumulator: the buffer and LAPACK's copy of it."""
        size = self.n_columns + 1
        return 2 * 8 * size * _buffered_rows(size)


class AbstractFactorProblem(AbstractProblem):
    """A problem that is solved from R and never squares it."""

    takes = Tsqr

    @staticmethod
    def resolution(size: int) -> float:
        """Rounding of a decomposition."""
        return size * EPS

    def factor(self, ridge: float) -> FloatArray:
        """R of Z stacked on the root of the ridge term."""
        return invertible(triangular_factor(np.vstack([self.matrix[:, :-1], np.diag(np.sqrt(self.weights(ridge)))])))


class SvdOutcome(Outcome):
    """How the factor of raw columns is solved."""

    SVD = "by the singular value decomposition of the R factor"
    TRUNCATED_SVD = "by the singular value decomposition of the R factor, without the directions below rounding"


class FactorProblem(AbstractFactorProblem):
    """The R factor of raw columns, by SVD, which serves every ridge."""

    def __init__(self, matrix: FloatArray, n_rows: int, penalty: Penalty) -> None:
        super().__init__(matrix, n_rows, penalty)
        # in t = z / spectrum the penalty is the identity
        self._svd = np.linalg.svd(matrix[:, :-1] * penalty.spectrum, full_matrices=False)

    def solve(self, ridge: float) -> tuple[FloatArray, Outcome]:
        """Coefficients z, (k,); directions below rounding are dropped."""
        left, singular, right = self._svd
        kept = singular > singular[0] * singular.size * EPS
        start = left.T @ self.matrix[:, -1]
        strength = ridge * self.n_rows
        filtered = np.where(kept, singular, 0.0) / np.where(kept, singular**2 + strength, 1.0) * start
        outcome = SvdOutcome.SVD if kept.all() else SvdOutcome.TRUNCATED_SVD
        return np.asarray(right.T @ filtered * self.penalty.spectrum), outcome

    def spectrum(self) -> FloatArray:
        """Singular values of the column-scaled Z."""
        return self._svd[1]


class Orthogonal(AbstractSolver):
    """QR of raw columns: every digit is kept, at several times the cost."""

    reduction = Tsqr

    def problem(self, *, rare_apart: bool) -> type[AbstractProblem]:
        """The SVD of R; raw columns have no rare rows."""
        del rare_apart
        return FactorProblem

    def caveats(self, name: str, part: Mapping[str, Any]) -> list[str]:
        """Nothing: leaving out what lies below rounding is how it works on features of any number."""
        del name, part
        return []
