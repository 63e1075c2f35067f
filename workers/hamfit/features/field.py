"""The field block: functions of a particle's absolute position, one set per species.

For traps, gravity and walls. It breaks translation invariance, so it is used only on request, and it refuses
periodic directions, in which an absolute position means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from hamfit.errors import ModelError
from hamfit.features.block import AbstractBlock, Part, Sampled
from hamfit.features.sampling import sample_elm, sample_swim
from hamfit.features.source import Source
from hamfit.features.survey import Sampling
from hamfit.frames import Frame
from hamfit.options import FitSpec
from hamfit.types import FloatArray, IntArray


class FieldBlock(AbstractBlock):
    """tanh(W x + b), and as direct links x and all products x_a x_b, with x the position scaled to the unit cube."""

    kind: ClassVar[str] = "field"
    part: ClassVar[Part] = "force"
    form = "acts at absolute positions"
    has_virial: ClassVar[bool] = False
    conserves_momentum: ClassVar[bool] = False
    needs_open_space: ClassVar[bool] = True

    def __init__(
        self, low: FloatArray, high: FloatArray, weights: FloatArray, biases: FloatArray, species: int
    ) -> None:
        self.low, self.high = low, high
        self.weights, self.biases = weights, biases
        self.n_species = species

    @classmethod
    def sample(cls, frames: Sequence[Frame], *, n_features: int, sampler: str, rng: np.random.Generator) -> FieldBlock:
        """Sample n_features functions from the positions in ``frames``; ``sampler`` is elm or swim."""
        for frame in frames:
            cls.check(frame)
        q = np.concatenate([frame.q for frame in frames])
        low, high = q.min(axis=0), q.max(axis=0)
        high = np.where(high > low, high, low + 1.0)
        if sampler == "elm":
            weights, biases = sample_elm(n_features, q.shape[1], rng)
        else:
            weights, biases = sample_swim((q - low) / (high - low), n_features, rng)
        return cls(low, high, weights, biases, len(frames[0].labels))

    @classmethod
    def sampled(cls, sampling: Sampling) -> Sampled:
        """Functions of the positions met."""
        options = sampling.options
        rng = sampling.rng(6)
        return Sampled(cls.sample(sampling.frames, n_features=options.features, sampler=options.plain_sampler, rng=rng))

    @classmethod
    def expected_columns(cls, options: FitSpec, n_species: int, n_channels: int, dim: int) -> int:
        """Features, coordinates and their products, for each species."""
        return n_species * (options.features + dim * (dim + 3) // 2)

    @property
    def per_species(self) -> int:
        """Features of one species, direct links included."""
        d = self.weights.shape[1]
        return int(self.weights.shape[0] + d * (d + 3) // 2)

    @property
    def n_columns(self) -> int:
        """Number of features."""
        return self.n_species * self.per_species

    def rows(self, source: Source, centres: IntArray) -> FloatArray:
        """Derivatives of all features, (len(centres) * d, n_columns)."""
        frame = source.frame
        n, d = self.weights.shape
        slope = 1.0 - self._tanh(frame.q[centres]) ** 2
        scale = 1.0 / (self.high - self.low)
        out = np.zeros((centres.size, d, self.n_species, self.per_species))
        for s in range(self.n_species):
            mine = np.flatnonzero(frame.species[centres] == s)
            out[mine, :, s, :n] = slope[mine][:, None, :] * (self.weights * scale).T[None]
            out[mine, :, s, n:] = self._link_slopes(frame.q[centres[mine]])
        return out.reshape(centres.size * d, self.n_columns)

    def features(self, source: Source) -> FloatArray:
        """Pooled features of the whole frame, (n_columns,)."""
        return self._pooled(source.frame, self._values(source.frame))

    def energy_and_gradient(
        self, source: Source, theta: FloatArray, virial: FloatArray | None = None
    ) -> tuple[float, FloatArray]:
        """``E = sum_k theta_k Phi_k`` and dE/dq of all particles, (N, d); ModelError where a virial is asked for."""
        if virial is not None:
            raise ModelError(
                "the field block acts at absolute positions, so its energy under strain depends on where the origin is"
                " and it has no virial: ask for virial=False, or fit without the field block"
            )
        frame, n = source.frame, self.weights.shape[0]
        mine = theta.reshape(self.n_species, self.per_species)[frame.species]
        values = self._values(frame)
        slope = (1.0 - values[:, :n] ** 2) * mine[:, :n]
        linked = np.einsum("iak,ik->ia", self._link_slopes(frame.q), mine[:, n:])
        gradient = slope @ self.weights / (self.high - self.low) + linked
        return float(self._pooled(frame, values) @ theta), np.asarray(gradient)

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Attributes and arrays that ``from_store`` turns back into the same block."""
        arrays: dict[str, np.ndarray] = {name: getattr(self, name) for name in ("low", "high", "weights", "biases")}
        return {"n_species": self.n_species}, arrays

    @classmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> FieldBlock:
        """The block that ``to_store`` described."""
        return cls(arrays["low"], arrays["high"], arrays["weights"], arrays["biases"], int(attrs["n_species"]))

    def _pooled(self, frame: Frame, values: FloatArray) -> FloatArray:
        return np.concatenate([values[frame.species == s].sum(axis=0) for s in range(self.n_species)])

    def _values(self, frame: Frame) -> FloatArray:
        """Every feature of one species at every particle, (N, per_species)."""
        x = (frame.q - self.low) / (self.high - self.low)
        a, b = np.triu_indices(x.shape[1])
        return np.hstack([self._tanh(frame.q), x, x[:, a] * x[:, b]])

    def _link_slopes(self, q: FloatArray) -> FloatArray:
        """Derivatives of the direct links by the position, (N, d, d + d (d + 1) / 2)."""
        scale = 1.0 / (self.high - self.low)
        x = (q - self.low) * scale
        d = q.shape[1]
        a, b = np.triu_indices(d)
        out = np.zeros((q.shape[0], d, d + a.size))
        out[:, np.arange(d), np.arange(d)] = scale
        for k, (first, second) in enumerate(zip(a, b, strict=True)):
            out[:, first, d + k] += x[:, second] * scale[first]
            out[:, second, d + k] += x[:, first] * scale[second]
        return out

    def _tanh(self, q: FloatArray) -> FloatArray:
        x = (q - self.low) / (self.high - self.low)
        return np.asarray(np.tanh(x @ self.weights.T + self.biases))
