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

from hamfit.reductions.gram import Gram
from hamfit.reductions.problems import symmetric, unit_diagonal
from hamfit.reductions.triangle import AbstractReduction, Accumulator, Triangle
from hamfit.reductions.tsqr import join_factors, triangular_factor
from hamfit.types import FloatArray

#: Rows that are summed in single precision: in longer sums rounding errors would add up.
SINGLE_ROWS = 4096
#: Relative rounding of such sums: a float32 has 24 bits, errors of thousands of terms add up to some bits more.
_SINGLE_EPS = 1e-6
_EPS = float(np.finfo(np.float64).eps)


class MixedGramAccumulator:
    """Upper triangle of sum of panel^T panel, products in float32 and sums over panels in float64."""

    def __init__(self, size: int) -> None:
        self._gram = np.zeros((size, size), order="F")
        self._rows = 0

    def absorb(self, panel: FloatArray) -> None:
        """Add panel^T panel; a panel may be of float32 itself."""
        for first in range(0, panel.shape[0], SINGLE_ROWS):
            rows = np.ascontiguousarray(panel[first : first + SINGLE_ROWS], dtype=np.float32)
            self._gram += ssyrk(1.0, rows.T)
        self._rows += panel.shape[0]

    def state(self) -> Triangle:
        """The packed Gram matrix."""
        return Triangle.pack(self._gram, self._rows)


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
    target = np.linalg.lstsq((upper / norms).T, last[:-1] / norms, rcond=last.size * _EPS)[0]
    rest = np.sqrt(max(last[-1] - target @ target, 0.0))
    return Triangle.pack(np.vstack([np.column_stack([upper, target]), np.append(0.0 * target, rest)]), products.n_rows)


class MixedGram(Gram):
    """Gram matrix of [Z | u] whose products are of single precision."""

    name: ClassVar[str] = "mixed"

    def accumulator(self) -> Accumulator:
        """A fresh accumulator."""
        return MixedGramAccumulator(self.n_columns + 1)

    def precise(self) -> AbstractReduction:
        """The Gram matrix in float64."""
        return Gram(self.n_columns)
