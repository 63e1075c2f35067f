"""A block of another package: a trap around the origin, functions of |q_i|^2.

Phi_k = sum_i phi_k(|q_i|^2), with phi_k(x) = tanh(w_k x / scale + b_k) and, as direct link, x / scale itself.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from hamfit.errors import ModelError
from hamfit.features.block import AbstractBlock, Part, Sampled
from hamfit.features.source import Source
from hamfit.features.survey import Sampling
from hamfit.options import FitSpec
from hamfit.types import FloatArray, IntArray


class TrapBlock(AbstractBlock):
    """Functions of the squared distance from the origin."""

    kind: ClassVar[str] = "trap"
    part: ClassVar[Part] = "force"
    form = "holds particles around the origin"
    has_virial: ClassVar[bool] = False
    conserves_momentum: ClassVar[bool] = False
    needs_open_space: ClassVar[bool] = True

    def __init__(self, scale: float, weights: FloatArray, biases: FloatArray) -> None:
        self.scale, self.weights, self.biases = scale, weights, biases

    @property
    def n_columns(self) -> int:
        return self.weights.size + 1

    @classmethod
    def sampled(cls, sampling: Sampling) -> Sampled:
        rng = sampling.rng(100)
        scale = max(float(np.max(np.sum(frame.q**2, axis=1))) for frame in sampling.frames)
        n = sampling.options.features
        return Sampled(cls(scale, rng.normal(0.0, 2.0, n), rng.uniform(-1.0, 1.0, n)))

    @classmethod
    def expected_columns(cls, options: FitSpec, n_species: int, n_channels: int, dim: int) -> int:
        return options.features + 1

    def rows(self, source: Source, centres: IntArray) -> FloatArray:
        q = source.frame.q[centres]
        slopes = 2.0 * q[:, :, None] * self._slopes(q)[:, None, :]
        return slopes.reshape(q.size, self.n_columns)

    def features(self, source: Source) -> FloatArray:
        return self._values(source.frame.q).sum(axis=0)

    def energy_and_gradient(
        self, source: Source, theta: FloatArray, virial: FloatArray | None = None
    ) -> tuple[float, FloatArray]:
        if virial is not None:
            raise ModelError("the trap block acts at absolute positions, so it has no virial: ask for none")
        q = source.frame.q
        return float(self._values(q).sum(axis=0) @ theta), 2.0 * q * (self._slopes(q) @ theta)[:, None]

    def _values(self, q: FloatArray) -> FloatArray:
        x = np.sum(q**2, axis=1)[:, None] / self.scale
        return np.hstack([np.tanh(x * self.weights + self.biases), x])

    def _slopes(self, q: FloatArray) -> FloatArray:
        """dphi_k / d|q|^2, (n, n_columns)."""
        x = np.sum(q**2, axis=1)[:, None] / self.scale
        steep = (1.0 - np.tanh(x * self.weights + self.biases) ** 2) * self.weights
        return np.hstack([steep, np.ones_like(x)]) / self.scale

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"scale": self.scale}, {"weights": self.weights, "biases": self.biases}

    @classmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> TrapBlock:
        return cls(float(attrs["scale"]), arrays["weights"], arrays["biases"])


class Stranger:
    """Offered as a block, and none."""
