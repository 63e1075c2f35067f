"""Samplers of hidden weights: ELM, SWIM and gradient-weighted SWIM, in any input dimension.

All return (weights, biases) for tanh features tanh(w . x + b).

- ELM draws without looking at the data: w ~ N(0, scale^2), and the centre (where w . x + b = 0) uniform in a cube
  three times as wide as the unit cube in which the inputs are scaled to lie. Features centred outside the data look
  like monomials of it; with them, and with moderate weights, the fit goes on smoothly a little beyond the data
  (measured on a Lennard-Jones liquid four times hotter: four orders of magnitude). Huang et al.,
  Neurocomputing 70, 489 (2006).
- SWIM takes pairs of data points (x1, x2) and puts the steep part of tanh between them:
  w = s1 (x2 - x1) / |x2 - x1|^2, b = -<w, x1> - s2, with s2 = ln(3)/2, s1 = 2 s2, so that the feature is -1/2 at x1
  and +1/2 at x2. Bolager et al., arXiv 2306.16830, eq. (2) and Algorithm 1.
- Gradient-weighted SWIM draws the pairs with probability proportional to |f(x2) - f(x1)| / |x2 - x1| of a target f
  that a first coarse fit supplies.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hamfit.errors import FeatureError
from hamfit.types import FloatArray

SWIM_S2 = 0.5 * np.log(3.0)
SWIM_S1 = 2.0 * SWIM_S2
#: Standard deviation of ELM weights for inputs in the unit cube. Smaller ones give a smaller numerical rank, larger
#: ones a rougher fit; measured best on smooth laws.
ELM_SCALE = 2.0
#: Range of the centres in every dimension.
ELM_CENTRES = (-1.0, 2.0)
#: Pairs closer than this in the unit cube are not used: their features are steps that no finite table resolves.
SWIM_MIN_DISTANCE = 0.02


def sample_elm(n: int, dim: int, rng: np.random.Generator, scale: float = ELM_SCALE) -> tuple[FloatArray, FloatArray]:
    """Weights (n, dim) and biases (n,) for inputs in the unit cube."""
    weights = rng.normal(0.0, scale, size=(n, dim))
    centres = rng.uniform(*ELM_CENTRES, size=(n, dim))
    return weights, -np.einsum("kd,kd->k", weights, centres)


def swim_from_pairs(first: FloatArray, second: FloatArray) -> tuple[FloatArray, FloatArray]:
    """SWIM weights (n, dim) and biases (n,) of given pairs of points, each (n, dim)."""
    difference = second - first
    weights = SWIM_S1 * difference / np.einsum("kd,kd->k", difference, difference)[:, None]
    return weights, -np.einsum("kd,kd->k", weights, first) - SWIM_S2


def sample_swim(
    points: FloatArray,
    n: int,
    rng: np.random.Generator,
    target: Callable[[FloatArray], FloatArray] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """SWIM weights (n, dim) and biases (n,) from data points (m, dim) in the unit cube.

    With ``target`` (points (m, dim) -> values (m,)) pairs are drawn in proportion to its difference quotient,
    otherwise uniformly. Raises FeatureError when the points are too few or all alike.
    """
    if points.shape[0] < 2:
        raise FeatureError("SWIM needs at least two data points: give more frames, or use the sampler elm")
    candidates = max(32 * n, 1024)
    first = points[rng.integers(0, points.shape[0], size=candidates)]
    second = points[rng.integers(0, points.shape[0], size=candidates)]
    distance = np.linalg.norm(second - first, axis=1)
    usable = np.flatnonzero(distance >= SWIM_MIN_DISTANCE)
    if usable.size == 0:
        raise FeatureError("all data points are alike: SWIM finds no pairs; give more varied frames or use elm")
    first, second, distance = first[usable], second[usable], distance[usable]
    probability = np.full(usable.size, 1.0 / usable.size)
    if target is not None:
        quotient = np.abs(target(second) - target(first)) / distance
        if quotient.sum() > 0:
            # a share of uniform pairs keeps flat regions covered
            probability = 0.1 * probability + 0.9 * quotient / quotient.sum()
            probability /= probability.sum()
    chosen = rng.choice(usable.size, size=n, replace=True, p=probability)
    return swim_from_pairs(first[chosen], second[chosen])
