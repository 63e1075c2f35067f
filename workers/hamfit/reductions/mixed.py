"""The Gram matrix in single precision: half the bytes, and on many GPUs a multiple of the speed.

Panels are multiplied in float32, a few thousand rows at a time, and what they give is summed in float64. A Gram matrix
with relative error e solves whitened columns of condition c with a relative error of about e c, some 1e-5. It is good
enough as the matrix of an iterative refinement, whose right-hand side comes of a second pass over the rows in float64:
after one step the error is of the order (e c)^2 (Higham, Accuracy and Stability of Numerical Algorithms, ch. 12).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.linalg.blas import ssyrk

from hamfit.reductions.gram import Gram
from hamfit.reductions.triangle import Accumulator, Triangle
from hamfit.types import FloatArray

#: Rows that are summed in single precision: in longer sums rounding errors would add up.
SINGLE_ROWS = 4096


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


class MixedGram(Gram):
    """Gram matrix of [Z | u] whose products are of single precision."""

    name: ClassVar[str] = "mixed"

    def accumulator(self) -> Accumulator:
        """A fresh accumulator."""
        return MixedGramAccumulator(self.n_columns + 1)
