"""Ridge regression from a state: what every form of the problem offers, and how a solution may come about.

All minimise |u - Z (z - centre)|^2 + ridge * N * |z / spectrum|^2, where u holds the residuals of ``centre``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

import numpy as np

from hamfit.reductions.triangle import AbstractReduction
from hamfit.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Penalty:
    """What the ridge acts on."""

    spectrum: FloatArray
    """Scale of each coefficient, (k,): small where the data say little."""
    centre: FloatArray
    """The coefficients whose residuals are the targets, (k,); zero where the targets are the data themselves."""


class Outcome(Enum):
    """How a solution came about: every form of the problem lists its own ways, and none changes method unsaid.

    The value of a member is what a user reads of it: "the force part was solved ...".
    """

    @property
    def method(self) -> str:
        """Its name in reports."""
        return self.name.lower().replace("_", " ")


class AbstractProblem(ABC):
    """The rows of some groups, ready to be solved for any ridge."""

    takes: ClassVar[type[AbstractReduction]]
    """The reduction whose states it is made of."""

    def __init__(self, matrix: FloatArray, n_rows: int, penalty: Penalty) -> None:
        self.matrix, self.n_rows, self.penalty = matrix, n_rows, penalty

    @abstractmethod
    def solve(self, ridge: float) -> tuple[FloatArray, Outcome]:
        """Coefficients z, (k,), and how they came about."""

    @abstractmethod
    def spectrum(self) -> FloatArray:
        """Singular values of the column-scaled Z, descending, at most (k,)."""

    @abstractmethod
    def factor(self, ridge: float) -> FloatArray:
        """Upper F (k, k) with F^T F = Z^T Z + ridge term."""

    def weights(self, ridge: float) -> FloatArray:
        """Diagonal of the ridge term, (k,)."""
        return np.asarray(ridge * self.n_rows / self.penalty.spectrum**2)
