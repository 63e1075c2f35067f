"""The Gram matrix in single precision: half the bytes, and on many GPUs a multiple of the speed.

Panels are multiplied in float32, a few thousand rows at a time, and what they give is summed in float64. A Gram matrix
with relative error e solves whitened columns of condition c with a relative error of about e c, some 1e-5. It is good
enough as the matrix of an iterative refinement, whose right-hand side comes of a second pass over the rows in float64:
after one step the error is of the order (e c)^2 (Higham, Accuracy and Stability of Numerical Algorithms, ch. 12).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.blas import ssyrk

from hamfit.devices import DeviceArray
from hamfit.reductions.factors import EPS, join_factors, symmetric, triangular_factor, unit_diagonal
from hamfit.reductions.normal import AbstractGram, GramAccumulator
from hamfit.reductions.triangle import AbstractAccumulator, Triangle

#: Rows that are summed in single precision: in longer sums rounding errors would add up.
SINGLE_ROWS = 4096
#: Relative rounding of such sums: a float32 has 24 bits, errors of thousands of terms add up to some bits more.
_SINGLE_EPS = 1e-6


class MixedGramAccumulator(AbstractAccumulator):
    """Products in float32 and sums over groups of rows in float64; a panel may be of float32 itself."""

    def _add(self, panel: DeviceArray) -> None:
        if self._device is None:
            for first in range(0, panel.shape[0], SINGLE_ROWS):
                rows = np.ascontiguousarray(panel[first : first + SINGLE_ROWS], dtype=np.float32)
                self._upper += ssyrk(1.0, rows.T)
            return
        xp, size = self._device.xp, panel.shape[1]
        rows = panel.astype(xp.float32, copy=False)
        whole = rows.shape[0] // SINGLE_ROWS * SINGLE_ROWS
        rest = rows[whole:]
        products = rest.T @ rest
        if whole:
            # one batch of products: many small launches would leave a GPU idle
            groups = rows[:whole].reshape(-1, SINGLE_ROWS, size)
            sums = xp.matmul(groups.transpose(0, 2, 1), groups).sum(axis=0, dtype=xp.float64)
            products = sums + products
        self._upper += products


class MixedGram(AbstractGram):
    """Gram matrix of [Z | u] whose products are of single precision."""

    name: ClassVar[str] = "mixed"
    single: ClassVar[bool] = True
    accumulates = MixedGramAccumulator


class Residuals(AbstractGram):
    """The last column of the Gram matrix of [Z | r], with r the residuals of a first solution; it merges as that does.

    Streams of rows sum it from local columns, without the others of the matrix and in float64.
    """

    name: ClassVar[str] = "residuals"
    of_residuals: ClassVar[bool] = True
    accumulates = GramAccumulator


def refined_factor(gram: Triangle, rare: Triangle, products: Triangle) -> Triangle:
    """The R factor of all rows of a group once their residuals are known in float64.

    ``gram`` is the Gram matrix of ordinary rows, correct in single precision, and ``rare`` the R factor of all others;
    of both the last column is of no use any more. That of ``products`` holds Z^T r and r^T r of all rows. R^T R is as
    good as ``gram``, while R^T t = Z^T r, with t the last column, holds in double precision.
    """
    columns, norms = unit_diagonal(symmetric(gram.unpack())[:-1, :-1])
    used = np.diag(columns) > 0.0
    values, vectors = eigh(columns[np.ix_(used, used)], check_finite=False)
    # a direction that has drowned in rounding is kept at the size of that: not a digit of Z^T r may be lost
    root = np.sqrt(np.maximum(values, _SINGLE_EPS * values[-1:]))[:, None] * vectors.T
    upper = np.zeros_like(columns)
    upper[np.ix_(used, used)] = triangular_factor(root)
    upper = join_factors(upper * norms, rare.unpack()[:-1, :-1])
    last = products.unpack()[:, -1]
    _, norms = unit_diagonal(upper.T @ upper)
    # R^T t = Z^T r, where some columns may belong to no row at all
    target = np.linalg.lstsq((upper / norms).T, last[:-1] / norms, rcond=last.size * EPS)[0]
    rest = np.sqrt(max(last[-1] - target @ target, 0.0))
    return Triangle.pack(np.vstack([np.column_stack([upper, target]), np.append(0.0 * target, rest)]), products.n_rows)
