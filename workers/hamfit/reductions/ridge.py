"""From the states of all groups to coefficients: the ridge is chosen by leaving out one group of frames at a time.

Each group's state (Gram matrix or R factor) is kept to the end, so leave-group-out needs no second pass over the
data: the problem without group g is the sum of the other states, and the error on group g is a quadratic form of its
own state. The problem solved is

    min_z  sum_g |u_g - Z_g (z - centre)|^2  +  ridge * N * |z / spectrum|^2,     N = number of rows,

where u holds the residuals of ``centre``. ``spectrum`` are the relative singular values of the whitened basis, so
the penalty is an ordinary ridge on the coefficients of the unwhitened, column-scaled features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hamfit.errors import FitError
from hamfit.reductions.factors import EPS
from hamfit.reductions.problems import AbstractProblem, Outcome, Penalty
from hamfit.reductions.triangle import Triangle
from hamfit.types import FloatArray

#: Ridges tried, relative to the mean square of a column. Zero is the answer for data without noise.
RIDGES: tuple[float, ...] = (0.0, *(10.0**e for e in range(-26, -2)))


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
    outcome: Outcome
    """How the coefficients came about."""
    solves: Mapping[Outcome, int]
    """How often each way was taken: once for every ridge tried without every group, and once for the coefficients."""


@dataclass(frozen=True, slots=True, eq=False)
class FurtherRows:
    """Rows of another kind over the same columns: they count in the solution, but not in the held-out error."""

    states: Sequence[Triangle]
    """One state for each group, of the same reduction as the groups' own."""
    weight: float
    """Weight of a squared residual beside those of the groups' own rows."""


def solve_groups(
    make: type[AbstractProblem],
    groups: Sequence[Triangle],
    penalty: Penalty,
    *,
    further: Sequence[FurtherRows] = (),
    ridge: float | None = None,
) -> Solution:
    """Solve for the coefficients, choosing the ridge by leave-group-out unless it is given.

    Args:
        make: the problem that the states of all groups make together or without one of them.
        groups: one state for each group of frames, as ``make`` takes them.
        penalty: what the ridge acts on.
        further: rows of other kinds; those of weight zero do not take part.
        ridge: use this ridge instead of choosing.

    Raises:
        FitError: no rows were given.

    """
    used = [g for g, state in enumerate(groups) if state.n_rows > 0]
    if not used:
        raise FitError("no rows reached the solver: the data hold no frame that the blocks asked for can use")
    form = make.takes
    own = [form.matrix(state) for state in groups]
    beside = [([form.matrix(s) for s in rows.states], rows.weight) for rows in further if rows.weight > 0.0]
    solves: Counter[Outcome] = Counter()

    def problem(members: Sequence[int]) -> AbstractProblem:
        weighted = [(own[m], 1.0) for m in members]
        weighted += [(matrices[m], weight) for matrices, weight in beside for m in members]
        return make(form.joined(weighted), sum(groups[m].n_rows for m in members), penalty)

    def solved(one: AbstractProblem, value: float) -> tuple[FloatArray, Outcome]:
        coefficients, outcome = one.solve(value)
        solves[outcome] += 1
        return coefficients, outcome

    def residual_square(group: int, coefficients: FloatArray) -> float:
        return form.square(own[group], np.append(coefficients - penalty.centre, -1.0))

    candidates = RIDGES if ridge is None else (ridge,)
    chosen, best = (1e-12 if ridge is None else ridge), float("nan")
    trials: list[tuple[float, float]] = []
    if len(used) > 1:
        held_out = np.zeros(len(candidates))
        for g in used:
            others = problem([m for m in used if m != g])
            held_out += [residual_square(g, solved(others, value)[0]) for value in candidates]
        trials = [(value, float(error)) for value, error in zip(candidates, held_out, strict=True)]
        chosen, best = min(trials, key=lambda trial: trial[1])
    total = problem(used)
    coefficients, outcome = solved(total, chosen)
    singular = total.spectrum()
    rounding = singular.size * EPS
    floor = np.sqrt(rounding) if form.squared else rounding
    return Solution(
        coefficients=coefficients,
        ridge=chosen,
        rank=int(np.count_nonzero(singular > floor * singular[0])),
        condition=float(singular[0] / singular[-1]) if singular[-1] > 0.0 else float("inf"),
        residual_square=sum(residual_square(g, coefficients) for g in used),
        held_out_square=best,
        factor=total.factor(chosen),
        trials=tuple(trials),
        outcome=outcome,
        solves=solves,
    )
