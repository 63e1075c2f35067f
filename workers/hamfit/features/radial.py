"""Random features of one scalar: phi_k(r) = tanh(w_k x(r) + b_k) for every channel, and their derivatives.

A channel is a species pair, a bond type (pair block) or a species (kinetic block). The distance r enters through an
input map s(r), r, 1/r or r^2, scaled to x = (s - low) / (high - low), which lies in [0, 1] on the data. The choice
of the map decides orders of magnitude of accuracy: a law that is smooth in x is learnt to rounding, one that is not
is not.

At a cutoff the features are made continuous in one of two ways: ``shift`` subtracts the value at the cutoff (the
force may jump, as in data that were cut hard), ``smooth`` multiplies by (1 - (r / cutoff)^2)^3.

With ``links`` the last two features of every channel are x and x^2 (direct links, as in RVFL networks; Pao, Park,
Sobajic, Neurocomputing 6, 163 (1994)): what is free or harmonic in the mapped distance is then represented exactly.
This module is plain NumPy: it is evaluated directly where exactness matters (inference, tests, the sample that sets
up a fit); the streaming pass over all rows uses the tables of ``features.tables``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hamfit.errors import FeatureError
from hamfit.types import FloatArray, IntArray

InputMap = Literal["r", "1/r", "r2"]
Taper = Literal["shift", "smooth"]
INPUT_MAPS: tuple[InputMap, ...] = ("r", "1/r", "r2")
#: Direct links of a channel: x and x^2.
N_LINKS = 2
_ARRAYS = ("low", "high", "weights", "biases", "cutoffs")


def map_value(input_map: InputMap, r: FloatArray) -> FloatArray:
    """s(r), same shape as r."""
    if input_map == "r":
        return r
    return 1.0 / r if input_map == "1/r" else r * r


def map_slope_over_r(input_map: InputMap, r: FloatArray) -> FloatArray:
    """(ds/dr) / r, same shape as r; finite at r = 0 for the map r^2."""
    if input_map == "r":
        return np.asarray(1.0 / r)
    return np.asarray(-1.0 / (r * r * r)) if input_map == "1/r" else np.full_like(r, 2.0)


def map_inverse(input_map: InputMap, s: FloatArray) -> FloatArray:
    """r(s), same shape as s; infinite where the map 1/r reaches zero."""
    if input_map == "r":
        return s
    if input_map == "r2":
        return np.asarray(np.sqrt(np.maximum(s, 0.0)))
    return np.divide(1.0, s, out=np.full_like(s, np.inf), where=s > 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class RadialFeatures:
    """C channels of n random functions of a distance, columns channel-major."""

    input_maps: tuple[InputMap, ...]
    """Input map of each channel, length C."""
    low: FloatArray
    """Mapped input at x = 0, (C,)."""
    high: FloatArray
    """Mapped input at x = 1, (C,)."""
    weights: FloatArray
    """w, (C, n)."""
    biases: FloatArray
    """b, (C, n)."""
    cutoffs: FloatArray
    """Distance beyond which the features vanish, (C,); inf for none."""
    tapers: tuple[Taper, ...]
    """How the features reach zero at the cutoff, length C."""
    links: bool = True
    """Whether x and x^2 themselves are features."""

    def __post_init__(self) -> None:
        channels = len(self.input_maps)
        if self.weights.shape != self.biases.shape or self.weights.shape[:1] != (channels,):
            raise FeatureError(
                f"weights {self.weights.shape} and biases {self.biases.shape} do not fit {channels} channels"
            )
        if not np.all(self.high > self.low):
            raise FeatureError("the range of distances of a channel is empty: the data hold too few distinct distances")

    @property
    def n_channels(self) -> int:
        """Number of channels C."""
        return len(self.input_maps)

    @property
    def per_channel(self) -> int:
        """Features of one channel, direct links included."""
        return int(self.weights.shape[1]) + N_LINKS * int(self.links)

    @property
    def n_columns(self) -> int:
        """Features of all channels."""
        return self.n_channels * self.per_channel

    def scaled(self, channel: int, r: FloatArray) -> FloatArray:
        """x(r) of one channel; 0 to 1 on the range the features were sampled for."""
        low, high = self.low[channel], self.high[channel]
        return np.asarray((map_value(self.input_maps[channel], r) - low) / (high - low))

    def values(self, channel: int, r: FloatArray) -> FloatArray:
        """phi_k(r) of one channel, (len(r), per_channel)."""
        plain = self._plain(channel, self.scaled(channel, r))
        cutoff = self.cutoffs[channel]
        if not np.isfinite(cutoff):
            return plain
        if self.tapers[channel] == "smooth":
            return np.asarray(plain * ((1.0 - (r / cutoff) ** 2) ** 3)[:, None])
        return plain - self._plain(channel, self.scaled(channel, np.array([cutoff])))

    def slopes_over_r(self, channel: int, r: FloatArray) -> FloatArray:
        """phi_k'(r) / r of one channel, (len(r), per_channel): times the distance vector it is the gradient."""
        x = self.scaled(channel, r)
        plain = self._plain(channel, x)
        slope = 1.0 - plain * plain
        n = self.weights.shape[1]
        slope[:, :n] *= self.weights[channel]
        if self.links:
            slope[:, n] = 1.0
            slope[:, n + 1] = 2.0 * x
        scale = 1.0 / (self.high[channel] - self.low[channel])
        slope *= (map_slope_over_r(self.input_maps[channel], r) * scale)[:, None]
        cutoff = self.cutoffs[channel]
        if np.isfinite(cutoff) and self.tapers[channel] == "smooth":
            v = 1.0 - (r / cutoff) ** 2
            slope *= (v**3)[:, None]
            slope += plain * (-6.0 / cutoff**2 * v**2)[:, None]
        return slope

    def mixed_slopes(self, channel: IntArray, r: FloatArray) -> FloatArray:
        """phi_k'(r) / r for distances of mixed channels, (len(r), per_channel)."""
        if self.n_channels == 1:
            return self.slopes_over_r(0, r)
        out = np.empty((r.size, self.per_channel))
        for c in range(self.n_channels):
            which = np.flatnonzero(channel == c)
            if which.size:
                out[which] = self.slopes_over_r(c, r[which])
        return out

    def _plain(self, channel: int, x: FloatArray) -> FloatArray:
        n = self.weights.shape[1]
        out = np.empty((x.shape[0], self.per_channel))
        np.multiply.outer(x, self.weights[channel], out=out[:, :n])
        out[:, :n] += self.biases[channel]
        np.tanh(out[:, :n], out=out[:, :n])
        if self.links:
            out[:, n] = x
            out[:, n + 1] = x * x
        return out

    def columns(self, channel: int) -> slice:
        """Where the columns of one channel stand among all."""
        return slice(channel * self.per_channel, (channel + 1) * self.per_channel)

    def contract(self, r: FloatArray, channel: IntArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """f(r) = sum_k theta_k phi_k(r) and f'(r)/r for distances of mixed channels, both shaped as r."""
        value = np.zeros_like(r)
        slope = np.zeros_like(r)
        step = max(1, 2**19 // self.per_channel)
        for c in range(self.n_channels):
            which = np.flatnonzero(channel == c)
            part = theta[self.columns(c)]
            for start in range(0, which.size, step):
                piece = which[start : start + step]
                value[piece] = self.values(c, r[piece]) @ part
                slope[piece] = self.slopes_over_r(c, r[piece]) @ part
        return value, slope

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Attributes and arrays that ``from_store`` turns back into the same features."""
        attrs = {"input_maps": list(self.input_maps), "tapers": list(self.tapers), "links": self.links}
        return attrs, {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_store(cls, attrs: dict[str, Any], arrays: dict[str, np.ndarray]) -> RadialFeatures:
        """The features that ``to_store`` described."""
        return cls(
            input_maps=tuple(attrs["input_maps"]),
            tapers=tuple(attrs["tapers"]),
            links=bool(attrs["links"]),
            **{name: arrays[name] for name in _ARRAYS},
        )
