"""The embedding function of a species: the energy of a particle as a function of the density around it.

F(rho) = sum_k theta_k tanh(w_k s + b_k) + theta_direct s with s = (rho - mean) / deviation over the training data. It
is compiled as a function of y = s + shift, the density in standard deviations, where the shift makes every y positive
that need be told apart. Two things are taken out of it that many fits hold in amounts of 1e6 and cancel elsewhere: its
value at the mean density, which is a constant, and, on request, its slope there, which is a pair function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.features.manybody_round import Round
from hamfit.features.pieces import Function
from hamfit.types import FloatArray

#: Standard deviations around the mean density that count as seen in training: one particle in 10^9 is further off.
TRAINED = 6.0
#: Standard deviations from the mean that F is compiled to: at least, and at most. No neighbours at all lie between
#: where they can, and that far above the mean too; the tangent goes on from there.
_NEAREST, _FARTHEST = 12.0, 300.0


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """F of one species."""

    mean: float
    """Mean density of the training data."""
    deviation: float
    """Its standard deviation."""
    weights: FloatArray
    """Hidden weights, (n,)."""
    biases: FloatArray
    """Hidden biases, (n,)."""
    theta: FloatArray
    """Coefficients of the tanh features, (n,)."""
    direct: float
    """Coefficient of s itself."""
    moved: float
    """Slope dF/ds that is a pair function instead."""

    @classmethod
    def of(cls, layer: Round, theta: FloatArray, s: int, *, moves: bool) -> Embedding:
        """F of species s in a round of one density; its slope at the mean density is taken out where ``moves``."""
        columns, direct = layer.columns(s), theta[layer.direct(s)]
        whole = cls(
            float(layer.mean[s, 0]),
            float(layer.deviation[s, 0]),
            layer.weights[0, columns],
            layer.bias[columns],
            theta[columns],
            float(direct[0]) if direct.size else 0.0,
            0.0,
        )
        if not moves:
            return whole
        return cls(
            whole.mean,
            whole.deviation,
            whole.weights,
            whole.biases,
            whole.theta,
            whole.direct,
            float(whole.slope(np.array([whole.shift]))[0]),
        )

    @property
    def reach(self) -> float:
        """Standard deviations from the mean that F is compiled to, either way."""
        return float(np.clip(abs(self.mean) / self.deviation + 1.0, _NEAREST, _FARTHEST))

    @property
    def shift(self) -> float:
        """y at the mean density."""
        return self.reach + 1.0

    @property
    def empty(self) -> float:
        """y of a particle without neighbours."""
        return self.shift - self.mean / self.deviation

    @property
    def constant(self) -> float:
        """Energy of a particle beside the compiled F and what was moved to pairs."""
        return float(np.tanh(self.biases) @ self.theta) - self.moved * self.mean / self.deviation

    def value(self, y: FloatArray) -> FloatArray:
        """F at y (n,), without what was moved, with the constant."""
        s = y - self.shift
        tanh = np.tanh(np.multiply.outer(s, self.weights) + self.biases)
        return np.asarray(tanh @ self.theta + self.direct * s - self.moved * (s + self.mean / self.deviation))

    def slope(self, y: FloatArray) -> FloatArray:
        """dF/dy at y (n,), without what was moved."""
        tanh = np.tanh(np.multiply.outer(y - self.shift, self.weights) + self.biases)
        return np.asarray((1.0 - tanh**2) @ (self.weights * self.theta) + (self.direct - self.moved))

    @property
    def function(self) -> Function:
        """F as a function of y that is zero at the mean density."""
        middle, far = self.shift, self.reach
        ends = (middle - far, middle - TRAINED, middle, middle + TRAINED, middle + far)
        return Function(self.slope, ends, anchor=2, known=0.0, input_map="r")
