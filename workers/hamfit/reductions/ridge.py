"""From the states of all groups to coefficients: the ridge is chosen by leaving out one group of frames at a time.

Each group's state (Gram matrix or R factor) is kept to the end, so leave-group-out needs no second pass over the
data: the problem without group g is the sum of the other states, and the error on group g is a quadratic form of its
own state. The problem solved is

    min_z  sum_g |u_g - Z_g (z - centre)|^2  +  ridge * N * |(z / spectrum)|^2,     N = number of rows,

where u holds the residuals of ``centre``. ``spectrum`` are the relative singular values of the whitened basis, so
the penalty is an ordinary ridge on the coefficients of the unwhitened, column-scaled features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh

from hamfit.errors import FitError
from hamfit.reductions.triangle import Triangle
from hamfit.reductions.tsqr import triangular_factor
from hamfit.types import FloatArray

#: Ridges tried, relative to the mean square of a column. Zero is the answer for data without noise.
RIDGES: tuple[float, ...] = (0.0, *(10.0**e for e in range(-26, -2)))
#: Whitened columns with a condition number above this were whitened from a sample that was not representative.
WHITE_CONDITION = 1e4


@dataclass(frozen=True, slots=True, eq=False)
class Penalty:
    """What the ridge acts on."""

    spectrum: FloatArray
    """Scale of each coefficient, (k,): small where the data say little; inf where nothing is to be penalised."""
    centre: FloatArray
    """The coefficients whose residuals are the targets, (k,); zero where the targets are the data themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Coefficients and how far they can be trusted."""

    coefficients: FloatArray
    """z, (k,)."""
    ridge: float
    """The ridge used."""
    rank: int
    """Numerical rank of the problem."""
    condition: float
    """Condition number of the matrix that was solved with: that of Z (or of Z P)."""
    residual_square: float
    """Squared residual over all rows."""
    held_out_square: float
    """Squared residual over all groups, each by the fit to the others; nan with a single group."""
    factor: FloatArray
    """Upper F (k, k) with F^T F = Z^T Z + ridge term: the variance of a row x is |F^-T x|^2 times that of the noise."""
    trials: tuple[tuple[float, float], ...]
    """(ridge, squared held-out residual) of every ridge tried."""
    rewhitened: bool = False
    """Whether the whitened columns had to be whitened again from their Gram matrix."""


class _GramProblem:
    """Z^T Z and Z^T u of some groups."""

    def __init__(self, gram: FloatArray, n_rows: int) -> None:
        self.gram, self.n_rows = gram, n_rows

    def solve(self, ridge: float, penalty: Penalty) -> FloatArray:
        matrix, right = self.system(ridge, penalty)
        try:
            shift: FloatArray = cho_solve(cho_factor(matrix, check_finite=False), right, check_finite=False)
        except np.linalg.LinAlgError:
            shift = _pseudo_solve(matrix, right)
        return shift + penalty.centre

    def system(self, ridge: float, penalty: Penalty) -> tuple[FloatArray, FloatArray]:
        weight = ridge * self.n_rows / penalty.spectrum**2
        matrix = self.gram[:-1, :-1] + np.diag(weight)
        return matrix, self.gram[:-1, -1] - weight * penalty.centre

    def residual_square(self, coefficients: FloatArray, penalty: Penalty) -> float:
        shift = np.append(coefficients - penalty.centre, -1.0)
        return max(float(shift @ self.gram @ shift), 0.0)


class _FactorProblem:
    """The R factor of [Z | u] of some groups."""

    def __init__(self, upper: FloatArray, n_rows: int) -> None:
        self.upper, self.n_rows = upper, n_rows

    def solve(self, ridge: float, penalty: Penalty) -> FloatArray:
        # in t = z / spectrum the penalty is the identity, and the SVD serves every ridge
        left, singular, right = self._decomposed(penalty)
        kept = singular > singular[0] * singular.size * np.finfo(np.float64).eps
        strength = ridge * self.n_rows
        start = left.T @ self.upper[:, -1]
        # the centre is zero here: targets are the data themselves
        filtered = np.where(kept, singular, 0.0) / np.where(kept, singular**2 + strength, 1.0) * start
        return np.asarray(right.T @ filtered * penalty.spectrum)

    def _decomposed(self, penalty: Penalty) -> tuple[FloatArray, FloatArray, FloatArray]:
        if not hasattr(self, "_svd"):
            self._svd = np.linalg.svd(self.upper[:, :-1] * penalty.spectrum, full_matrices=False)
        return self._svd

    def singular_values(self, penalty: Penalty) -> FloatArray:
        return self._decomposed(penalty)[1]

    def residual_square(self, coefficients: FloatArray, penalty: Penalty) -> float:
        residual = self.upper @ np.append(coefficients, -1.0)
        return float(residual @ residual)


def solve_groups(
    kind: str,
    groups: Sequence[Triangle],
    penalty: Penalty,
    *,
    extra: Sequence[Triangle] | None = None,
    extra_weight: float = 0.0,
    ridge: float | None = None,
    whitened: bool = False,
) -> Solution:
    """Solve for the coefficients, choosing the ridge by leave-group-out unless it is given.

    Args:
        kind: ``gram`` or ``factor``: what the triangles are.
        groups: one state for each group of frames.
        penalty: scales and centre of the ridge.
        extra: states of further rows of each group (energies), which count with ``extra_weight`` in the solution
            but not in the held-out error.
        extra_weight: weight of a squared extra residual.
        ridge: use this ridge instead of choosing.
        whitened: whether the columns are meant to be white already, so that a large condition number is an anomaly.

    Raises:
        FitError: no rows were given.

    """
    if not groups or sum(state.n_rows for state in groups) == 0:
        raise FitError("no rows reached the solver: the data hold no frame that the blocks asked for can use")
    make = _FactorProblem if kind == "factor" else _GramProblem
    full = [state.unpack() for state in groups]
    more = [state.unpack() for state in extra] if extra and extra_weight > 0.0 else None
    rows = [state.n_rows for state in groups]

    def joined(members: Sequence[int]) -> _GramProblem | _FactorProblem:
        n_rows = sum(rows[m] for m in members)
        if kind == "factor":
            parts = [full[m] for m in members]
            parts += [np.sqrt(extra_weight) * more[m] for m in members] if more else []
            return _FactorProblem(triangular_factor(np.vstack(parts)), n_rows)
        gram = np.zeros_like(full[0])
        for m in members:
            gram += full[m]
            if more:
                gram += extra_weight * more[m]
        return _GramProblem(_symmetric(gram), n_rows)

    everything = range(len(groups))
    judges = [make(m if kind == "factor" else _symmetric(m), n) for m, n in zip(full, rows, strict=True)]
    used = [g for g in everything if rows[g] > 0]
    trials: list[tuple[float, float]] = []
    candidates = RIDGES if ridge is None else (ridge,)
    if len(used) > 1:
        held_out = np.zeros(len(candidates))
        for g in used:
            others = joined([m for m in used if m != g])
            for index, value in enumerate(candidates):
                held_out[index] += judges[g].residual_square(others.solve(value, penalty), penalty)
        trials = [(value, float(error)) for value, error in zip(candidates, held_out, strict=True)]
        chosen, best = min(trials, key=lambda trial: trial[1])
    else:
        chosen, best = (1e-12 if ridge is None else ridge), float("nan")
    total = joined(used)
    coefficients = total.solve(chosen, penalty)
    condition, rank, factor = _conditioning(total, chosen, penalty)
    again = whitened and condition > WHITE_CONDITION
    if again and isinstance(total, _GramProblem):
        # the sample was not representative: the eigenvectors of the Gram matrix whiten once more
        coefficients = _pseudo_solve(*total.system(chosen, penalty)) + penalty.centre
    return Solution(
        coefficients=coefficients,
        ridge=chosen,
        rank=rank,
        condition=condition,
        residual_square=float(sum(judges[g].residual_square(coefficients, penalty) for g in used)),
        held_out_square=best,
        factor=factor,
        trials=tuple(trials),
        rewhitened=again,
    )


def _conditioning(
    problem: _GramProblem | _FactorProblem, ridge: float, penalty: Penalty
) -> tuple[float, int, FloatArray]:
    """Condition number and rank of Z in units of its column norms, and the factor of the regularised problem."""
    size = penalty.spectrum.size
    weight = ridge * problem.n_rows / penalty.spectrum**2
    if isinstance(problem, _FactorProblem):
        singular = problem.singular_values(penalty)
        kept = singular > singular[0] * size * np.finfo(np.float64).eps
        factor = triangular_factor(np.vstack([problem.upper[:, :-1], np.diag(np.sqrt(weight))]))
        smallest = singular[-1]
        condition = float(singular[0] / smallest) if smallest > 0.0 else float("inf")
        return condition, int(np.count_nonzero(kept)), factor
    gram = problem.gram[:-1, :-1]
    norms = np.sqrt(np.diag(gram))
    norms = np.where(norms > 0.0, norms, 1.0)
    values = eigh(gram / np.outer(norms, norms), eigvals_only=True, check_finite=False)
    kept = values > values[-1] * size * np.finfo(np.float64).eps
    condition = float(np.sqrt(values[-1] / values[0])) if values[0] > 0.0 else float("inf")
    matrix = gram + np.diag(weight)
    lift = np.finfo(np.float64).eps * size * float(np.max(np.diag(matrix)))
    factor = np.asarray(np.linalg.cholesky(matrix + lift * np.eye(size)).T)
    return condition, int(np.count_nonzero(kept)), factor


def _pseudo_solve(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Minimum-norm solution in column-scaled coordinates, for matrices that rounding has made indefinite."""
    norms = np.sqrt(np.abs(np.diag(matrix)))
    norms = np.where(norms > 0.0, norms, 1.0)
    values, vectors = eigh(matrix / np.outer(norms, norms), check_finite=False)
    kept = values > values[-1] * values.size * np.finfo(np.float64).eps
    inverse = np.where(kept, 1.0 / np.where(kept, values, 1.0), 0.0)
    return np.asarray(vectors @ (inverse * (vectors.T @ (right / norms))) / norms)


def _symmetric(upper: FloatArray) -> FloatArray:
    return np.asarray(upper + np.triu(upper, 1).T)
