"""R-only QR of tall matrices: the triangular factor of [Z | u], never Q.

Panels are stacked under the current R and factorised again; two shards merge by factorising their stacked R's
(Demmel, Grigori, Hoemmen, Langou, SIAM J. Sci. Comput. 34, A206 (2012), Algorithm 1 without the Q tree). Backward
stable in Z itself: no digit is lost to forming Z^T Z.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.linalg.lapack import dgeqrf, dgeqrf_lwork, dtpqrt

from hamfit.errors import FitError
from hamfit.reductions.triangle import AbstractReduction, Triangle
from hamfit.types import FloatArray

#: Columns that LAPACK's blocked QR of two triangles works on at a time.
_BLOCK = 32


def triangular_factor(rows: FloatArray) -> FloatArray:
    """R of the QR decomposition of rows (m, n), as an upper triangle (n, n) with non-negative diagonal."""
    size = rows.shape[1]
    if rows.shape[0] == 0:
        # LAPACK refuses empty matrices, but no rows are the identity of the monoid
        return np.zeros((size, size))
    # with SciPy's default workspace LAPACK falls back to the unblocked algorithm, six times slower
    workspace = int(dgeqrf_lwork(*rows.shape)[0])
    factor, _, _, info = dgeqrf(np.asfortranarray(rows), lwork=workspace)
    if info != 0:
        raise FitError(f"LAPACK's QR refused argument {-info}: the rows hold values that are not finite")
    upper = np.zeros((size, size))
    kept = min(size, rows.shape[0])
    upper[:kept] = np.triu(factor[:kept])
    return _unique(upper)


def join_factors(first: FloatArray, second: FloatArray) -> FloatArray:
    """R of two stacked upper triangles (n, n); their zeros are not touched, a sixth of the work of a full QR."""
    size = first.shape[0]
    upper, _, _, info = dtpqrt(size, min(_BLOCK, size), np.asfortranarray(first), np.asfortranarray(second))
    if info != 0:
        raise FitError(f"LAPACK's QR refused argument {-info}: the states hold values that are not finite")
    return _unique(np.triu(upper))


def _unique(upper: FloatArray) -> FloatArray:
    """The sign of each row of R is arbitrary: fixing it makes R unique."""
    signs = np.where(np.diag(upper) < 0.0, -1.0, 1.0)
    return np.asarray(upper * signs[:, None])


class TsqrAccumulator:
    """The current R on top of a buffer of rows that wait to be factorised."""

    def __init__(self, size: int) -> None:
        # three times as many waiting rows as columns: factorising R again costs a third on top
        self._buffer = np.zeros((size + max(3 * size, 1024), size), order="F")
        self._size = size
        self._filled = 0
        self._rows = 0

    def absorb(self, panel: FloatArray) -> None:
        """Take the rows of one panel."""
        taken = 0
        while taken < panel.shape[0]:
            step = min(panel.shape[0] - taken, self._buffer.shape[0] - self._filled)
            self._buffer[self._filled : self._filled + step] = panel[taken : taken + step]
            self._filled += step
            taken += step
            if self._filled == self._buffer.shape[0]:
                self._compress()
        self._rows += panel.shape[0]

    def _compress(self) -> None:
        upper = triangular_factor(self._buffer[: self._filled])
        self._buffer[: self._size] = upper
        self._filled = self._size

    def state(self) -> Triangle:
        """The packed R factor."""
        return Triangle.pack(triangular_factor(self._buffer[: self._filled]), self._rows)


class Tsqr(AbstractReduction):
    """R factor of [Z | u]."""

    name: ClassVar[str] = "tsqr"

    def accumulator(self) -> TsqrAccumulator:
        """A fresh accumulator."""
        return TsqrAccumulator(self.n_columns + 1)

    def merge(self, first: Triangle, second: Triangle) -> Triangle:
        """The R factor of both R factors stacked."""
        return Triangle.pack(join_factors(first.unpack(), second.unpack()), first.n_rows + second.n_rows)

    @property
    def working_bytes(self) -> int:
        """Memory of one accumulator: the buffer and LAPACK's copy of it."""
        size = self.n_columns + 1
        return 2 * 8 * size * (size + max(3 * size, 1024))
