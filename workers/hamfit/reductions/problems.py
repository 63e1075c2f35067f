"""Ridge regression from a state: three forms of one problem, by what the state is and how good its columns are.

All minimise |u - Z (z - centre)|^2 + ridge * N * |z / spectrum|^2, where u holds the residuals of ``centre``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh, solve_triangular

from hamfit.reductions.triangle import Triangle
from hamfit.reductions.tsqr import triangular_factor
from hamfit.types import FloatArray

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Penalty:
    """What the ridge acts on."""

    spectrum: FloatArray
    """Scale of each coefficient, (k,): small where the data say little."""
    centre: FloatArray
    """The coefficients whose residuals are the targets, (k,); zero where the targets are the data themselves."""


class AbstractProblem(ABC):
    """The rows of some groups, ready to be solved for any ridge."""

    def __init__(self, upper: FloatArray, n_rows: int, penalty: Penalty) -> None:
        self.upper, self.n_rows, self.penalty = upper, n_rows, penalty

    @abstractmethod
    def solve(self, ridge: float) -> FloatArray:
        """Coefficients z, (k,)."""

    @abstractmethod
    def spectrum(self) -> FloatArray:
        """Singular values of the column-scaled Z, descending, at most (k,)."""

    @abstractmethod
    def factor(self, ridge: float) -> FloatArray:
        """Upper F (k, k) with F^T F = Z^T Z + ridge term."""

    def weights(self, ridge: float) -> FloatArray:
        """Diagonal of the ridge term, (k,)."""
        return np.asarray(ridge * self.n_rows / self.penalty.spectrum**2)


class GramProblem(AbstractProblem):
    """Normal equations, by Cholesky: for raw columns (the textbook way) and for thousands of whitened ones."""

    def solve(self, ridge: float) -> FloatArray:
        """Coefficients z, (k,); a matrix that rounding has made indefinite is solved by its eigenvectors."""
        matrix, right = self._system(ridge)
        try:
            shift: FloatArray = cho_solve(cho_factor(matrix, check_finite=False), right, check_finite=False)
        except np.linalg.LinAlgError:
            shift = _by_eigenvectors(matrix, right)
        return shift + self.penalty.centre

    def _system(self, ridge: float) -> tuple[FloatArray, FloatArray]:
        weight = self.weights(ridge)
        return self.upper[:-1, :-1] + np.diag(weight), self.upper[:-1, -1] - weight * self.penalty.centre

    def spectrum(self) -> FloatArray:
        """Singular values of the column-scaled Z, empty columns left out; below sqrt(eps) they are rounding."""
        gram = self.upper[:-1, :-1]
        used = np.diag(gram) > 0.0
        scaled, _ = unit_diagonal(gram[np.ix_(used, used)])
        values: FloatArray = eigh(scaled, eigvals_only=True, check_finite=False)
        return np.asarray(np.sqrt(np.maximum(values[::-1], 0.0)))

    def factor(self, ridge: float) -> FloatArray:
        """Upper factor of the regularised matrix."""
        matrix, _ = self._system(ridge)
        root = factor_of_gram(Triangle.pack(np.pad(matrix, (0, 1)), self.n_rows)).unpack()
        return _invertible(root[:-1, :-1])


class FactorProblem(AbstractProblem):
    """The R factor of raw columns, by SVD, which serves every ridge."""

    def __init__(self, upper: FloatArray, n_rows: int, penalty: Penalty) -> None:
        super().__init__(upper, n_rows, penalty)
        # in t = z / spectrum the penalty is the identity
        self._svd = np.linalg.svd(upper[:, :-1] * penalty.spectrum, full_matrices=False)

    def solve(self, ridge: float) -> FloatArray:
        """Coefficients z, (k,); without a ridge directions below rounding are dropped."""
        left, singular, right = self._svd
        kept = singular > singular[0] * singular.size * _EPS
        start = left.T @ self.upper[:, -1]
        strength = ridge * self.n_rows
        filtered = np.where(kept, singular, 0.0) / np.where(kept, singular**2 + strength, 1.0) * start
        return np.asarray(right.T @ filtered * self.penalty.spectrum)

    def spectrum(self) -> FloatArray:
        """Singular values of the column-scaled Z."""
        return self._svd[1]

    def factor(self, ridge: float) -> FloatArray:
        """R of Z stacked on the root of the ridge term."""
        return _invertible(triangular_factor(np.vstack([self.upper[:, :-1], np.diag(np.sqrt(self.weights(ridge)))])))


class WhiteFactorProblem(AbstractProblem):
    """The R factor of whitened columns, by QR: nothing is squared, so rare rows of any size do no harm."""

    def solve(self, ridge: float) -> FloatArray:
        """Coefficients z, (k,)."""
        columns, target = self.upper[:, :-1], self.upper[:, -1]
        if ridge == 0.0:
            norms = np.sqrt(np.einsum("ij,ij->j", columns, columns))
            norms = np.where(norms > 0.0, norms, 1.0)
            shift = np.linalg.lstsq(columns / norms, target, rcond=columns.shape[1] * _EPS)[0] / norms
            return np.asarray(shift + self.penalty.centre)
        # columns scaled by the spectrum put the large rows first, where Householder QR is stable row by row
        spectrum, strength = self.penalty.spectrum, np.sqrt(ridge * self.n_rows)
        below = np.hstack([strength * np.eye(columns.shape[1]), -strength * (self.penalty.centre / spectrum)[:, None]])
        above = np.hstack([columns * spectrum, target[:, None]])
        upper = triangular_factor(np.vstack([above, below]))
        scaled = solve_triangular(upper[:-1, :-1], upper[:-1, -1], check_finite=False)
        return np.asarray(scaled * spectrum + self.penalty.centre)

    def spectrum(self) -> FloatArray:
        """Singular values of the column-scaled Z, empty columns left out."""
        columns = self.upper[:, :-1]
        norms = np.sqrt(np.einsum("ij,ij->j", columns, columns))
        used = norms > 0.0
        values: FloatArray = np.linalg.svd(columns[:, used] / norms[used], compute_uv=False)
        return values

    def factor(self, ridge: float) -> FloatArray:
        """R of Z stacked on the root of the ridge term."""
        return _invertible(triangular_factor(np.vstack([self.upper[:, :-1], np.diag(np.sqrt(self.weights(ridge)))])))


def factor_of_gram(gram: Triangle) -> Triangle:
    """The R factor that belongs to a Gram matrix; directions below its rounding come out as zero.

    Columns are scaled to unit norm first, so that a column of small residuals keeps its digits.
    """
    scaled, norms = unit_diagonal(symmetric(gram.unpack()))
    values, vectors = eigh(scaled, check_finite=False)
    kept = values > values[-1] * values.size * _EPS
    root = np.sqrt(np.where(kept, values, 0.0))[:, None] * vectors.T
    return Triangle.pack(triangular_factor(root * norms), gram.n_rows)


def _invertible(upper: FloatArray) -> FloatArray:
    """The triangle with what rounding made of its dead directions lifted to rounding itself."""
    diagonal = np.diag(upper)
    floor = _EPS * upper.shape[0] * float(np.max(np.abs(diagonal), initial=0.0)) or 1.0
    return np.asarray(upper + np.diag(np.where(diagonal < floor, floor - diagonal, 0.0)))


def symmetric(upper: FloatArray) -> FloatArray:
    """The symmetric matrix with this upper triangle."""
    return np.asarray(upper + np.triu(upper, 1).T)


def unit_diagonal(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A Gram matrix with its columns scaled to unit norm, and the norms; empty columns stay, with norm one."""
    norms = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    norms = np.where(norms > 0.0, norms, 1.0)
    return matrix / np.outer(norms, norms), norms


def _by_eigenvectors(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Minimum-norm solution in column-scaled coordinates."""
    scaled, norms = unit_diagonal(matrix)
    values, vectors = eigh(scaled, check_finite=False)
    kept = values > values[-1] * values.size * _EPS
    inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
    return np.asarray(vectors @ (inverse * (vectors.T @ (right / norms))) / norms)
