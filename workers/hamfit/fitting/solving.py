"""From the groups' states to a model and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from hamfit.fitting.basis import Basis, PartBasis
from hamfit.fitting.part_stream import keeps_rare_rows, rare
from hamfit.fitting.partial import PartialState
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.reductions import (
    AbstractProblem,
    AbstractReduction,
    AbstractSolver,
    FurtherRows,
    Penalty,
    Solution,
    Triangle,
    Tsqr,
    reduction_named,
    solve_groups,
)
from hamfit.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class SolvedPart:
    """Coefficients of one part and everything worth reporting of them."""

    basis: PartBasis
    """The columns."""
    theta: FloatArray
    """Coefficients of the raw features in data units, (n_raw,)."""
    coefficients: FloatArray
    """Coefficients of the whitened or raw columns, for the scaled targets, (n_features,)."""
    own: Mapping[str, FloatArray]
    """Coefficients of the columns that rows of frames have of their own, by the kind of the rows, in data units."""
    factor: FloatArray
    """(n_raw, k): covariance of theta is factor @ factor^T."""
    report: Mapping[str, Any]
    """JSON-able diagnostics."""


def solve_part(
    basis: Basis,
    part: PartBasis,
    groups: Sequence[PartialState],
    *,
    solver: AbstractSolver,
    ridge: float | None,
    weights: Mapping[str, float],
) -> SolvedPart:
    """Choose the ridge, solve, and go back from whitened to raw coefficients."""
    problem = problem_of(part, solver)
    reduction = reduction_named(basis.reduction)(part.n_columns)
    states = [_main_state(part, reduction, group) for group in groups]
    n_rows = sum(state.n_rows for state in states)
    counts = {rows.name: sum(group.triangles[rows.name].n_rows for group in groups) for rows in part.frame_rows}
    # rows that are never rare stand beside rare ones as an R factor
    take = reduction.precise().factor if keeps_rare_rows(part) else lambda state: state
    further = tuple(
        FurtherRows(
            [take(group.triangles[name]) for group in groups],
            # a weight of one lets all rows of a kind together count as much as all forces together
            weights[name] ** 2 * n_rows / count if count else 0.0,
        )
        for name, count in counts.items()
    )
    solution = solve_groups(problem, states, _penalty(part, states, problem), further=further, ridge=ridge)
    n_white = part.n_features
    coefficients = solution.coefficients[:n_white]
    scale = part.target_scale
    theta = coefficients if part.whitening is None else part.whitening.projection @ coefficients
    own = {
        rows.name: scale * solution.coefficients[part.first_own(rows) :][: rows.columns] for rows in part.frame_rows
    }
    noise = np.sqrt(solution.residual_square / max(1, n_rows - solution.rank)) * scale
    inverse = solve_triangular(solution.factor, np.eye(part.n_columns), check_finite=False)[:n_white]
    factor = inverse if part.whitening is None else part.whitening.projection @ inverse
    square = sum(group.squares[part.part] for group in groups)
    report = _report(part, groups, solution, n_rows, square, noise)
    for name, count in counts.items():
        if count:
            report |= {f"{name}_rows": count, f"{name}_weight": weights[name]}
    return SolvedPart(part, theta * scale, coefficients, own, factor * noise, report)


def problem_of(part: PartBasis, solver: AbstractSolver) -> type[AbstractProblem]:
    """The problem that a part's rows make, rare ones included."""
    return solver.problem_of_factors if keeps_rare_rows(part) else solver.problem


def _main_state(part: PartBasis, reduction: AbstractReduction, group: PartialState) -> Triangle:
    """The state of a group's rows, rare ones included, as the problem takes it."""
    state = group.triangles[part.part]
    # a refinement has joined both kinds of rows already
    if reduction.of_residuals or not keeps_rare_rows(part):
        return state
    return Tsqr(part.n_columns).merge(reduction.factor(state), group.triangles[rare(part)])


def _penalty(part: PartBasis, states: Sequence[Triangle], problem: type[AbstractProblem]) -> Penalty:
    if part.whitening is not None:
        spectrum, centre = part.whitening.spectrum, part.whitening.preliminary
    else:
        # raw columns: the ridge acts on coefficients of columns scaled to unit mean square
        square = np.zeros(part.n_raw)
        for state in states:
            square += problem.takes.column_squares(problem.takes.matrix(state))[: part.n_raw]
        n_rows = sum(state.n_rows for state in states)
        spectrum = 1.0 / np.sqrt(np.where(square > 0.0, square, n_rows) / n_rows)
        centre = np.zeros(part.n_raw)
    # constants are not penalised in earnest; the tiny ridge keeps a fixed composition solvable
    free = np.full(part.n_own, 1e3)
    return Penalty(np.concatenate([spectrum, free]), np.concatenate([centre, np.zeros(part.n_own)]))


def _report(
    part: PartBasis,
    groups: Sequence[PartialState],
    solution: Solution,
    n_rows: int,
    square: float,
    noise: float,
) -> dict[str, Any]:
    whitening = part.whitening
    size = np.sqrt(square)
    return {
        "rows": n_rows,
        "columns": part.n_raw,
        "rank": solution.rank,
        "condition": whitening.condition if whitening is not None else solution.condition,
        "solved_condition": solution.condition,
        "rare_rows": sum(group.triangles[rare(part)].n_rows for group in groups) if keeps_rare_rows(part) else 0,
        "ridge": solution.ridge,
        "outcome": {
            "method": solution.outcome.method,
            "sentence": f"solved {solution.outcome.value}",
            "solves": {outcome.method: count for outcome, count in solution.solves.items()},
        },
        "train": float(np.sqrt(solution.residual_square)) / size if size > 0.0 else 0.0,
        "held_out": float(np.sqrt(solution.held_out_square)) / size if size > 0.0 else 0.0,
        "noise": float(noise),
        "uncertainty": float(noise * np.sqrt(solution.rank / max(1, n_rows))),
        "rare_rows_apart": keeps_rare_rows(part),
        "table_error": part.table_error(),
        "edges_outside_tables": sum(group.outside[part.part] for group in groups),
    }


def constants_from_energies(model: Model, frames: Sequence[Frame]) -> FloatArray:
    """Energy of a particle of each species from frames whose potential energy is known, (S,).

    ``model`` has no constants yet. One known energy is enough; species that no such frame holds get nan. Where
    compositions never vary, the minimum-norm split is taken.
    """
    n_species = len(model.labels)
    residuals, counts = [], []
    for frame in frames:
        if frame.potential_energy is None:
            continue
        residuals.append(frame.potential_energy - model.potential_energy(frame))
        counts.append(np.bincount(frame.species, minlength=n_species))
    out = np.full(n_species, np.nan)
    if residuals:
        matrix = np.array(counts, dtype=np.float64)
        present = matrix.sum(axis=0) > 0
        out[present] = np.linalg.lstsq(matrix[:, present], np.array(residuals), rcond=None)[0]
    return out
