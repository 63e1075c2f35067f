"""From the states of all groups to coefficients: the ridge is chosen by leaving out one group of frames at a time.

Each group's state (Gram matrix or R factor) is kept to the end, so leave-group-out needs no second pass over the
data: the problem without group g is the sum of the other states, and the error on group g is a quadratic form of its
own state. The problem solved is

    min_z  sum_g |u_g - Z_g (z - centre)|^2  +  ridge * N * |z / spectrum|^2,     N = number of rows,

where u holds the residuals of ``centre``. ``spectrum`` are the relative singular values of the whitened basis, so
the penalty is an ordinary ridge on the coefficients of the unwhitened, column-scaled features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hamfit.errors import FitError
from hamfit.reductions.problems import (
    AbstractProblem,
    FactorProblem,
    GramProblem,
    Penalty,
    WhiteFactorProblem,
    symmetric,
)
from hamfit.reductions.triangle import Triangle
from hamfit.reductions.tsqr import triangular_factor
from hamfit.types import FloatArray

Form = Literal["gram", "factor", "white-factor"]

#: Ridges tried, relative to the mean square of a column. Zero is the answer for data without noise.
RIDGES: tuple[float, ...] = (0.0, *(10.0**e for e in range(-26, -2)))

_PROBLEMS: dict[Form, type[AbstractProblem]] = {
    "gram": GramProblem,
    "factor": FactorProblem,
    "white-factor": WhiteFactorProblem,
}


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
    """Condition number of the matrix that was solved with: that of Z (or of Z P), columns scaled."""
    residual_square: float
    """Squared residual over all rows."""
    held_out_square: float
    """Squared residual over all groups, each by the fit to the others; nan with a single group."""
    factor: FloatArray
    """Upper F (k, k) with F^T F = Z^T Z + ridge term: the variance of a row x is |F^-T x|^2 times that of the noise."""
    trials: tuple[tuple[float, float], ...]
    """(ridge, squared held-out residual) of every ridge tried."""


def solve_groups(
    form: Form,
    groups: Sequence[Triangle],
    penalty: Penalty,
    *,
    extra: Sequence[tuple[Sequence[Triangle], float]] = (),
    ridge: float | None = None,
) -> Solution:
    """Solve for the coefficients, choosing the ridge by leave-group-out unless it is given.

    Args:
        form: what the triangles are: Gram matrices, R factors of raw columns, or R factors of whitened columns.
        groups: one state for each group of frames.
        penalty: scales and centre of the ridge.
        extra: kinds of further rows: states of each group, and the weight that a squared residual has in the solution;
            in the held-out error they do not count.
        ridge: use this ridge instead of choosing.

    Raises:
        FitError: no rows were given.

    """
    used = [g for g, state in enumerate(groups) if state.n_rows > 0]
    if not used:
        raise FitError("no rows reached the solver: the data hold no frame that the blocks asked for can use")
    states = _States(form, groups, extra, penalty)
    candidates = RIDGES if ridge is None else (ridge,)
    chosen, best = (1e-12 if ridge is None else ridge), float("nan")
    trials: list[tuple[float, float]] = []
    if len(used) > 1:
        held_out = np.zeros(len(candidates))
        for g in used:
            others = states.joined([m for m in used if m != g])
            held_out += [states.residual_square(g, others.solve(value)) for value in candidates]
        trials = [(value, float(error)) for value, error in zip(candidates, held_out, strict=True)]
        chosen, best = min(trials, key=lambda trial: trial[1])
    total = states.joined(used)
    coefficients = total.solve(chosen)
    singular = total.spectrum()
    # a Gram matrix cannot tell singular values below sqrt(eps) from zero
    floor = singular.size * np.finfo(np.float64).eps
    floor = np.sqrt(floor) if form == "gram" else floor
    return Solution(
        coefficients=coefficients,
        ridge=chosen,
        rank=int(np.count_nonzero(singular > floor * singular[0])),
        condition=float(singular[0] / singular[-1]) if singular[-1] > 0.0 else float("inf"),
        residual_square=sum(states.residual_square(g, coefficients) for g in used),
        held_out_square=best,
        factor=total.factor(chosen),
        trials=tuple(trials),
    )


class _States:
    """The groups' states, and the problems they make together or alone."""

    def __init__(
        self,
        form: Form,
        groups: Sequence[Triangle],
        extra: Sequence[tuple[Sequence[Triangle], float]],
        penalty: Penalty,
    ) -> None:
        self.make, self.penalty = _PROBLEMS[form], penalty
        self.is_gram = form == "gram"
        self.upper = [self._full(state) for state in groups]
        self.n_rows = [state.n_rows for state in groups]
        self.extra = [([self._full(state) for state in states], weight) for states, weight in extra if weight > 0.0]

    def _full(self, state: Triangle) -> FloatArray:
        return symmetric(state.unpack()) if self.is_gram else state.unpack()

    def joined(self, members: Sequence[int]) -> AbstractProblem:
        """The problem of some groups together."""
        n_rows = sum(self.n_rows[m] for m in members)
        parts = [(self.upper[m], 1.0) for m in members]
        for states, weight in self.extra:
            parts += [(states[m], weight) for m in members]
        if self.is_gram:
            joined = np.zeros_like(self.upper[0])
            for matrix, weight in parts:
                joined += weight * matrix
        else:
            joined = triangular_factor(np.vstack([np.sqrt(weight) * matrix for matrix, weight in parts]))
        return self.make(joined, n_rows, self.penalty)

    def residual_square(self, group: int, coefficients: FloatArray) -> float:
        """Squared residual of one group's rows, extra rows left aside.

        Exact from an R factor; from a Gram matrix cancellation limits it to eps times the squared targets.
        """
        shift = np.append(coefficients - self.penalty.centre, -1.0)
        if self.is_gram:
            return max(float(shift @ self.upper[group] @ shift), 0.0)
        residual = self.upper[group] @ shift
        return float(residual @ residual)
