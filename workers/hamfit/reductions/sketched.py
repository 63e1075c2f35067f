"""Sketch and precondition: columns whitened by a sample of rows, reduced by their Gram matrix, solved without loss.

Whitened columns have a condition number of about 10, so that their Gram matrix keeps all digits (``whitening``). Rows
unlike the sample are long in that basis and would drown all others: they are kept apart as an R factor, both are joined
by QR, and nothing is squared again. Beyond some hundreds of columns that costs more than it saves, and the Gram matrix
alone is solved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from hamfit.reductions.factors import EPS, triangular_factor
from hamfit.reductions.mixed import MixedGram, Residuals
from hamfit.reductions.normal import Gram, GramOutcome, GramProblem
from hamfit.reductions.problems import Outcome
from hamfit.reductions.solver import AbstractSolver
from hamfit.reductions.tsqr import AbstractFactorProblem
from hamfit.types import FloatArray

#: Condition number of whitened columns above which Cholesky loses digits that rounding would have kept.
_CONDITION = 1e4
#: A refinement that moves by more than this share of the first step, or of the error of the fit, has not converged;
#: steps of the size of rounding never matter.
_STEP_SHARE, _STEP = 0.1, 1e-10


class WhiteOutcome(Outcome):
    """How the factor of whitened columns is solved."""

    QR = "by QR of the R factor with the ridge below it"
    LEAST_SQUARES = "by least squares on the R factor"
    LEAST_NORM = "by least squares on the R factor, whose rank is not full: the solution of least norm was taken"


class WhiteFactorProblem(AbstractFactorProblem):
    """The R factor of whitened columns, by QR: nothing is squared, so rare rows of any size do no harm."""

    def solve(self, ridge: float) -> tuple[FloatArray, Outcome]:
        """Coefficients z, (k,)."""
        columns, target = self.matrix[:, :-1], self.matrix[:, -1]
        size = columns.shape[1]
        if ridge == 0.0:
            norms = self._norms()
            norms = np.where(norms > 0.0, norms, 1.0)
            white, _, rank, _ = np.linalg.lstsq(columns / norms, target, rcond=size * EPS)
            outcome = WhiteOutcome.LEAST_SQUARES if rank == size else WhiteOutcome.LEAST_NORM
            return np.asarray(white / norms + self.penalty.centre), outcome
        # columns scaled by the spectrum put the large rows first, where Householder QR is stable row by row
        spectrum, strength = self.penalty.spectrum, np.sqrt(ridge * self.n_rows)
        below = np.hstack([strength * np.eye(size), -strength * (self.penalty.centre / spectrum)[:, None]])
        above = np.hstack([columns * spectrum, target[:, None]])
        upper = triangular_factor(np.vstack([above, below]))
        shift: FloatArray = solve_triangular(upper[:-1, :-1], upper[:-1, -1], check_finite=False)
        return np.asarray(shift * spectrum + self.penalty.centre), WhiteOutcome.QR

    def spectrum(self) -> FloatArray:
        """Singular values of the column-scaled Z, empty columns left out."""
        columns, norms = self.matrix[:, :-1], self._norms()
        used = norms > 0.0
        return np.asarray(np.linalg.svd(columns[:, used] / norms[used], compute_uv=False), dtype=np.float64)

    def _norms(self) -> FloatArray:
        return np.asarray(np.sqrt(self.takes.column_squares(self.matrix)[:-1]))


class Sketched(AbstractSolver):
    """The default: accurate, and its cost does not grow with the number of features."""

    whitens = True
    reduction = Gram
    refinement = MixedGram, Residuals
    problem = GramProblem
    problem_of_factors = WhiteFactorProblem

    def caveats(self, name: str, part: Mapping[str, Any]) -> list[str]:
        """A sample that was not like the rows, and single precision that is not enough."""
        out = []
        condition = part["solved_condition"]
        if not part["rare_rows_apart"] and part["ridge"] == 0.0 and condition > _CONDITION:
            out.append(
                f"the whitened columns of the {name} part have condition number {condition:.1e}: the sample of rows "
                "was not representative; compare with --solver tsqr"
            )
        if part["outcome"]["method"] == GramOutcome.EIGENVECTORS.method:
            out.append(f"the {name} part was solved {GramOutcome.EIGENVECTORS.value}; compare with --solver tsqr")
        step = part.get("refinement_step", 0.0)
        if step > max(_STEP, _STEP_SHARE * part.get("first_step", 0.0), _STEP_SHARE * part["train"]):
            out.append(
                f"the second pass over the {name} part still moved its predictions by {step:.1e}: single precision is "
                "not enough for these data; use --precision double"
            )
        return out
