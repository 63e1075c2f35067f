"""A solver from outside: conjugate gradients on whitened columns. All that it takes is this file and a registration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hamfit.reductions import AbstractProblem, AbstractSolver, Gram, Outcome, Tsqr
from hamfit.reductions.normal import GramProblem
from hamfit.types import FloatArray

_MOST_STEPS = 2000


class GradientsOutcome(Outcome):
    """How conjugate gradients end."""

    CONVERGED = "by conjugate gradients"
    STOPPED = "by conjugate gradients that were stopped before they had converged"


class GradientsProblem(AbstractProblem):
    """R of all rows; the normal equations are solved without being formed."""

    takes = Tsqr

    def solve(self, ridge: float) -> tuple[FloatArray, Outcome]:
        """Coefficients z, (k,)."""
        columns, weight = self.matrix[:, :-1], self.weights(ridge)
        residual = columns.T @ self.matrix[:, -1] - weight * self.penalty.centre
        shift, direction = np.zeros_like(residual), residual
        square = start = float(residual @ residual)
        for _ in range(_MOST_STEPS):
            if square <= 1e-28 * start:
                return shift + self.penalty.centre, GradientsOutcome.CONVERGED
            image = columns.T @ (columns @ direction) + weight * direction
            length = square / float(direction @ image)
            shift, residual = shift + length * direction, residual - length * image
            square, last = float(residual @ residual), square
            direction = residual + square / last * direction
        return shift + self.penalty.centre, GradientsOutcome.STOPPED

    def spectrum(self) -> FloatArray:
        """Singular values of Z, columns scaled."""
        columns = self.matrix[:, :-1]
        norms = np.linalg.norm(columns, axis=0)
        return np.linalg.svd(columns / np.where(norms > 0.0, norms, 1.0), compute_uv=False)

    def factor(self, ridge: float) -> FloatArray:
        """R of Z stacked on the root of the ridge term."""
        below = np.diag(np.sqrt(self.weights(ridge)))
        return np.asarray(np.linalg.qr(np.vstack([self.matrix[:, :-1], below]), mode="r"))


class Gradients(AbstractSolver):
    """Whitened by a sample, reduced to a Gram matrix, solved by conjugate gradients."""

    whitens = True
    reduction = Gram
    problem = GramProblem
    problem_of_factors = GradientsProblem

    def caveats(self, name: str, part: Mapping[str, Any]) -> list[str]:
        """A solution that is none yet."""
        stopped = part["outcome"]["solves"].get(GradientsOutcome.STOPPED.method, 0)
        return [f"the {name} part was stopped {stopped} times; use --solver sketched"] if stopped else []
