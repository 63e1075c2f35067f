"""The definition of radial features, one number at a time, with nothing shared with the code under test."""

from __future__ import annotations

import math

import numpy as np

from hamfit.features.radial import InputMap, RadialFeatures, Taper
from hamfit.frames import Frame
from hamfit.types import FloatArray
from worlds import pairs


def random_radial(
    cutoffs: FloatArray,
    *,
    n: int = 5,
    maps: tuple[InputMap, ...] = ("r", "1/r", "r2"),
    taper: Taper = "smooth",
    links: bool = True,
    seed: int = 2,
) -> RadialFeatures:
    """Features of every channel with the given cutoffs; input maps in turn."""
    rng = np.random.default_rng(seed)
    channels = cutoffs.size
    chosen = tuple(maps[c % len(maps)] for c in range(channels))
    return RadialFeatures(
        input_maps=chosen,
        low=rng.uniform(0.1, 0.3, channels),
        high=rng.uniform(1.5, 2.5, channels),
        weights=rng.normal(0.0, 3.0, (channels, n)),
        biases=rng.normal(0.0, 2.0, (channels, n)),
        cutoffs=cutoffs,
        tapers=(taper,) * channels,
        links=links,
    )


def plain_value(radial: RadialFeatures, c: int, k: int, r: float) -> float:
    """phi_k(r) before anything is done about the cutoff."""
    s = {"r": r, "1/r": 1.0 / r, "r2": r**2}[radial.input_maps[c]]
    x = (s - radial.low[c]) / (radial.high[c] - radial.low[c])
    if k >= radial.weights.shape[1]:
        # the direct links: x, then x^2
        return float(x ** (k - radial.weights.shape[1] + 1))
    return math.tanh(float(radial.weights[c, k] * x + radial.biases[c, k]))


def value(radial: RadialFeatures, c: int, k: int, r: float) -> float:
    """phi_k(r)."""
    plain = plain_value(radial, c, k, r)
    cutoff = float(radial.cutoffs[c])
    if math.isinf(cutoff):
        return plain
    if radial.tapers[c] == "smooth":
        return float(plain * (1.0 - (r / cutoff) ** 2) ** 3)
    return plain - plain_value(radial, c, k, cutoff)


def slope(radial: RadialFeatures, c: int, k: int, r: float) -> float:
    """phi_k'(r) by a central difference of sixth order: good to about 1e-11 of the values."""
    h = 2e-3 * r
    f = {m: value(radial, c, k, r + m * h) for m in (-3, -2, -1, 1, 2, 3)}
    return (f[3] - f[-3] - 9.0 * (f[2] - f[-2]) + 45.0 * (f[1] - f[-1])) / (60.0 * h)


def pooled_pairs(radial: RadialFeatures, frame: Frame, cutoffs: FloatArray) -> FloatArray:
    """Half the sum of phi_k over all ordered pairs, images included, (n_columns,)."""
    out = np.zeros(radial.n_columns)
    for _, _, c, _, r in pairs(frame, cutoffs):
        for k in range(radial.per_channel):
            out[c * radial.per_channel + k] += 0.5 * value(radial, c, k, r)
    return out


def pooled_momenta(radial: RadialFeatures, frame: Frame) -> FloatArray:
    """The sum of phi_k(|p_i|) over all particles, (n_columns,)."""
    assert frame.p is not None
    out = np.zeros(radial.n_columns)
    for i in range(frame.n_particles):
        c = int(frame.species[i])
        for k in range(radial.per_channel):
            out[c * radial.per_channel + k] += value(radial, c, k, float(np.linalg.norm(frame.p[i])))
    return out
