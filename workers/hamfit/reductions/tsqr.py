"""R-only QR of tall matrices: the triangular factor of [Z | u], never Q.

Panels are stacked under the current R and factorised again; two shards merge by factorising their stacked R's
(Demmel, Grigori, Hoemmen, Langou, SIAM J. Sci. Comput. 34, A206 (2012), Algorithm 1 without the Q tree). Backward
stable in Z itself: no digit is lost to forming Z^T Z.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.reductions.factors import EPS, device_factor, invertible, join_factors, triangular_factor
from hamfit.reductions.problems import AbstractProblem, Outcome, Penalty
from hamfit.reductions.solver import AbstractSolver
from hamfit.reductions.triangle import LARGE_STATE_BYTES, AbstractAccumulator, AbstractReduction, Triangle
from hamfit.types import FloatArray


def _buffered_rows(size: int) -> int:
    """R and three times as many waiting rows as columns: factorising R again costs a third on top."""
    return size + max(3 * size, 1024)


class TsqrAccumulator(AbstractAccumulator):
    """The current R factor, on the processor on top of a buffer of rows that wait to be factorised with it."""

    def __init__(self, size: int, device: AbstractDevice | None = None) -> None:
        super().__init__(size, device)
        if device is None:
            self._buffer = np.zeros((_buffered_rows(size), size), order="F")
            self._filled = 0

    def _add(self, panel: DeviceArray) -> None:
        if self._device is not None:
            self._upper = device_factor(self._device, self._device.xp.concatenate([self._upper, panel]))
            return
        taken, size = 0, panel.shape[1]
        while taken < panel.shape[0]:
            step = min(panel.shape[0] - taken, self._buffer.shape[0] - self._filled)
            self._buffer[self._filled : self._filled + step] = panel[taken : taken + step]
            self._filled += step
            taken += step
            if self._filled == self._buffer.shape[0]:
                self._buffer[:size] = triangular_factor(self._buffer)
                self._filled = size

    def state(self) -> Triangle:
        """Everything absorbed so far, on the host."""
        if self._device is None:
            self._upper = triangular_factor(self._buffer[: self._filled])
        return super().state()


class Tsqr(AbstractReduction):
    """R factor of [Z | u]."""

    name: ClassVar[str] = "tsqr"
    accumulates = TsqrAccumulator

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
    """QR of raw columns: every digit is kept, at several times the cost. That directions below rounding are left out is
    its way with features of any number, and no caveat."""

    reduction = Tsqr
    problem = FactorProblem
