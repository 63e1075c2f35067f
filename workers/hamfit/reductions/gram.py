"""Normal equations: the Gram matrix of [Z | u], accumulated panel by panel.

The fastest reduction (one symmetric rank-m update a panel), and the least accurate on raw columns: forming Z^T Z
squares the condition number, and random features are numerically rank deficient. On whitened columns (condition
about 10) it loses nothing.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.linalg.blas import dsyrk

from hamfit.reductions.triangle import AbstractReduction, Accumulator, Triangle
from hamfit.types import FloatArray


class GramAccumulator:
    """Upper triangle of sum of panel^T panel."""

    def __init__(self, size: int) -> None:
        self._gram = np.zeros((size, size), order="F")
        self._rows = 0

    def absorb(self, panel: FloatArray) -> None:
        """Add panel^T panel."""
        # the transpose of a C-ordered panel is the Fortran-ordered matrix that BLAS wants: no copy
        self._gram = dsyrk(1.0, panel.T, beta=1.0, c=self._gram, overwrite_c=1)
        self._rows += panel.shape[0]

    def state(self) -> Triangle:
        """The packed Gram matrix."""
        return Triangle.pack(self._gram, self._rows)


class Gram(AbstractReduction):
    """Gram matrix of [Z | u]."""

    name: ClassVar[str] = "normal"

    def accumulator(self) -> Accumulator:
        """A fresh accumulator."""
        return GramAccumulator(self.n_columns + 1)

    def merge(self, first: Triangle, second: Triangle) -> Triangle:
        """The sum of both Gram matrices."""
        return Triangle(first.packed + second.packed, first.n_rows + second.n_rows)

    @property
    def working_bytes(self) -> int:
        """Memory of one accumulator."""
        return 8 * (self.n_columns + 1) ** 2
