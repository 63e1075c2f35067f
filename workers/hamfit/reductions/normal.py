"""Normal equations: the Gram matrix of [Z | u], accumulated panel by panel and solved by Cholesky.

The fastest reduction (one symmetric rank-m update a panel), and the least accurate on raw columns: forming Z^T Z
squares the condition number, and random features are numerically rank deficient. On whitened columns (condition
about 10) it loses nothing, so that the solver ``sketched`` reduces by it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.linalg.blas import dsyrk

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.reductions.factors import EPS, factor_of_gram, invertible, symmetric, unit_diagonal
from hamfit.reductions.problems import AbstractProblem, Outcome
from hamfit.reductions.solver import AbstractSolver
from hamfit.reductions.triangle import AbstractAccumulator, AbstractReduction, Triangle
from hamfit.types import FloatArray

#: Condition number at which normal equations have lost all but a few digits.
_CONDITION = 1e6


class GramAccumulator(AbstractAccumulator):
    """Upper triangle of sum of panel^T panel."""

    def _add(self, panel: DeviceArray) -> None:
        # the transpose of a C-ordered panel is the Fortran-ordered matrix that BLAS wants: no copy, and a symmetric
        # update is half the work of a product of two matrices
        if self._device is None:
            self._upper = dsyrk(1.0, panel.T, beta=1.0, c=self._upper, overwrite_c=1)
        elif self._device.kind == "cuda":
            from cupy import cublas

            cublas.syrk("N", panel.T, out=self._upper, alpha=1.0, beta=1.0)
        else:
            self._upper += panel.T @ panel


class AbstractGram(AbstractReduction):
    """Gram matrix of [Z | u], whatever its products are computed in."""

    squared: ClassVar[bool] = True

    def merge(self, first: Triangle, second: Triangle, device: AbstractDevice | None = None) -> Triangle:
        """The sum of both Gram matrices, which no device is worth."""
        return Triangle(first.packed + second.packed, first.n_rows + second.n_rows)

    @staticmethod
    def matrix(state: Triangle) -> FloatArray:
        """The symmetric matrix."""
        return symmetric(state.unpack())

    @staticmethod
    def joined(weighted: Sequence[tuple[FloatArray, float]]) -> FloatArray:
        """The weighted sum."""
        return np.asarray(sum(weight * matrix for matrix, weight in weighted))

    @staticmethod
    def square(matrix: FloatArray, shift: FloatArray) -> float:
        """See ``AbstractReduction.square``; cancellation limits it to eps times the squares of the single terms."""
        return max(float(shift @ matrix @ shift), 0.0)

    @staticmethod
    def column_squares(matrix: FloatArray) -> FloatArray:
        """The diagonal."""
        return np.diag(matrix)

    @staticmethod
    def factor(state: Triangle) -> Triangle:
        """The R factor, by eigenvectors; directions below rounding come out as zero."""
        return factor_of_gram(state)

    def precise(self) -> AbstractReduction:
        """The Gram matrix in float64."""
        return Gram(self.n_columns)

    @property
    def working_bytes(self) -> int:
        """Memory of one accumulator."""
        return 8 * (self.n_columns + 1) ** 2


class Gram(AbstractGram):
    """Gram matrix of [Z | u] in float64."""

    name: ClassVar[str] = "normal"
    accumulates = GramAccumulator


class GramOutcome(Outcome):
    """How normal equations are solved."""

    CHOLESKY = "by Cholesky's decomposition of the normal equations"
    EIGENVECTORS = (
        "by eigenvectors of the normal equations, without the directions below rounding, because rounding had made the"
        " matrix indefinite and Cholesky's decomposition failed"
    )


class GramProblem(AbstractProblem):
    """Normal equations, by Cholesky: for raw columns (the textbook way) and for thousands of whitened ones."""

    takes = Gram

    def solve(self, ridge: float) -> tuple[FloatArray, Outcome]:
        """Coefficients z, (k,); a matrix that rounding has made indefinite is solved by its eigenvectors."""
        matrix, right = self._system(ridge)
        try:
            shift: FloatArray = cho_solve(cho_factor(matrix, check_finite=False), right, check_finite=False)
            outcome = GramOutcome.CHOLESKY
        except np.linalg.LinAlgError:
            shift, outcome = _by_eigenvectors(matrix, right), GramOutcome.EIGENVECTORS
        return shift + self.penalty.centre, outcome

    def _system(self, ridge: float) -> tuple[FloatArray, FloatArray]:
        weight = self.weights(ridge)
        return self.matrix[:-1, :-1] + np.diag(weight), self.matrix[:-1, -1] - weight * self.penalty.centre

    def spectrum(self) -> FloatArray:
        """Singular values of the column-scaled Z, empty columns left out; below sqrt(eps) they are rounding."""
        gram = self.matrix[:-1, :-1]
        used = np.diag(gram) > 0.0
        scaled, _ = unit_diagonal(gram[np.ix_(used, used)])
        values: FloatArray = eigh(scaled, eigvals_only=True, check_finite=False)
        return np.asarray(np.sqrt(np.maximum(values[::-1], 0.0)))

    def factor(self, ridge: float) -> FloatArray:
        """Upper factor of the regularised matrix."""
        matrix, _ = self._system(ridge)
        root = factor_of_gram(Triangle.pack(np.pad(matrix, (0, 1)), self.n_rows)).unpack()
        return invertible(root[:-1, :-1])


def _by_eigenvectors(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Minimum-norm solution in column-scaled coordinates."""
    scaled, norms = unit_diagonal(matrix)
    values, vectors = eigh(scaled, check_finite=False)
    kept = values > values[-1] * values.size * EPS
    inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
    return np.asarray(vectors @ (inverse * (vectors.T @ (right / norms))) / norms)


class Normal(AbstractSolver):
    """The normal equations of raw columns."""

    reduction = Gram
    problem = GramProblem

    def caveats(self, name: str, part: Mapping[str, Any]) -> list[str]:
        """What squaring the condition number costs, and how often Cholesky failed."""
        condition, solves = part["solved_condition"], part["outcome"]["solves"]
        out = []
        if condition > _CONDITION:
            out.append(
                f"the {name} part has condition number {condition:.1e}, which normal equations square: expect errors "
                "of 1e-4 to 1e-3; use --solver sketched"
            )
        failed = solves.get(GramOutcome.EIGENVECTORS.method, 0)
        if failed:
            out.append(
                f"the {name} part was solved {GramOutcome.EIGENVECTORS.value}, {failed} times in "
                f"{sum(solves.values())} (one for each ridge tried without each group, one for the result); "
                "use --solver sketched"
            )
        return out
