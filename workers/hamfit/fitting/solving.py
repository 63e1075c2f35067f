"""From the groups' states to a model and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from hamfit.fitting.basis import RESIDUALS, Basis, PartBasis
from hamfit.fitting.part_stream import keeps_rare_rows, rare
from hamfit.fitting.partial import PartialState
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.reductions import Form, Penalty, Solution, Triangle, Tsqr, factor_of_gram, solve_groups
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
    constants: FloatArray | None
    """Coefficients of the columns that rows of frames have of their own (of energies: those of a particle of each
    species), in data units; None where there are none."""
    factor: FloatArray
    """(n_raw, k): covariance of theta is factor @ factor^T."""
    report: Mapping[str, Any]
    """JSON-able diagnostics."""


def solve_part(
    basis: Basis,
    part: PartBasis,
    groups: Sequence[PartialState],
    *,
    ridge: float | None,
    weights: Mapping[str, float],
) -> SolvedPart:
    """Choose the ridge, solve, and go back from whitened to raw coefficients."""
    form, states, of_frames = _states(basis, part, groups)
    n_rows = sum(state.n_rows for state in states)
    counts = {name: sum(state.n_rows for state in found) for name, found in of_frames.items()}
    solution = solve_groups(
        form,
        states,
        _penalty(part, states, form),
        # a weight of one lets all rows of frames together count as much as all forces together
        extra=tuple((of_frames[k], weights[k] ** 2 * n_rows / n) for k, n in counts.items() if n),
        ridge=ridge,
    )
    n_white = part.n_features
    coefficients = solution.coefficients[:n_white]
    scale = part.target_scale
    theta = coefficients if part.whitening is None else part.whitening.projection @ coefficients
    constants = solution.coefficients[n_white:] * scale if part.n_own else None
    noise = np.sqrt(solution.residual_square / max(1, n_rows - solution.rank)) * scale
    inverse = solve_triangular(solution.factor, np.eye(part.n_columns), check_finite=False)[:n_white]
    factor = inverse if part.whitening is None else part.whitening.projection @ inverse
    square = sum(group.squares[part.part] for group in groups)
    report = _report(part, groups, solution, n_rows, square, noise)
    for name, n in counts.items():
        report |= {f"{name}_rows": n, f"{name}_weight": weights[name]}
    return SolvedPart(part, theta * scale, coefficients, constants, factor * noise, report)


def _states(
    basis: Basis, part: PartBasis, groups: Sequence[PartialState]
) -> tuple[Form, list[Triangle], dict[str, list[Triangle]]]:
    """One state for each group, rare rows included, and its form; beside them those of rows of frames, by kind."""
    states = [group.triangles[part.part] for group in groups]
    of_frames = {rows.name: [group.triangles[rows.name] for group in groups] for rows in part.frame_rows}
    if not keeps_rare_rows(part):
        return ("factor" if basis.reduction == "tsqr" else "gram"), states, of_frames
    # a refinement has joined both kinds of rows already
    if basis.reduction != RESIDUALS:
        reduction = Tsqr(part.n_columns)
        states = [
            reduction.merge(factor_of_gram(state), group.triangles[rare(part)])
            for state, group in zip(states, groups, strict=True)
        ]
    factors = {name: [factor_of_gram(state) for state in found] for name, found in of_frames.items()}
    return "white-factor", states, factors


def _penalty(part: PartBasis, states: Sequence[Triangle], form: Form) -> Penalty:
    if part.whitening is not None:
        spectrum, centre = part.whitening.spectrum, part.whitening.preliminary
    else:
        # raw columns: the ridge acts on coefficients of columns scaled to unit mean square
        square = np.zeros(part.n_raw)
        for state in states:
            upper = state.unpack()[: part.n_raw + 1, : part.n_raw]
            square += np.diag(upper) if form == "gram" else np.einsum("ij,ij->j", upper, upper)
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
