"""Laws of a pair: energy V(r) and slope over distance V'(r)/r, both from the squared distance.

The squared distance is the natural argument: the force on particle i is -(V'(r)/r) (q_i - q_j), and a law
that is smooth in r^2 needs neither a square root nor a division. Parameters are scalars, or arrays of shape
(pairs, 1) when bonds of different types differ; they broadcast against squared distances of shape (pairs,
states).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hamfit.types import FloatArray

Parameter = float | FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """V of a pair as a function of its squared distance, elementwise."""

    energy: Callable[[FloatArray], FloatArray]
    """V(r)."""
    slope_over_distance: Callable[[FloatArray], FloatArray]
    """V'(r) / r."""


def spring(beta: Parameter, r0: Parameter) -> Law:
    """beta (r - r0)^2 / 2: stiffness and rest length; 0 gives the spring of the textbook, beta r^2 / 2."""
    return anharmonic(beta, 0.0, r0)


def anharmonic(beta: Parameter, gamma: Parameter, r0: Parameter) -> Law:
    """beta (r - r0)^2 / 2 + gamma (r - r0)^4 / 4: stiffness for small stretches, quartic term, rest length."""

    def energy(squared: FloatArray) -> FloatArray:
        square = (np.sqrt(squared) - r0) ** 2
        return np.asarray((0.5 * beta + 0.25 * gamma * square) * square)

    def slope(squared: FloatArray) -> FloatArray:
        r = np.sqrt(squared)
        stretch = r - r0
        return _over((beta + gamma * (stretch * stretch)) * stretch, r)

    return Law(energy, slope)


def morse(depth: Parameter, steepness: Parameter, r0: Parameter) -> Law:
    """D (1 - exp(-a (r - r0)))^2: energy D to break the bond, inverse width a, rest length."""

    def energy(squared: FloatArray) -> FloatArray:
        decay = np.exp(-steepness * (np.sqrt(squared) - r0))
        return np.asarray(depth * (1.0 - decay) ** 2)

    def slope(squared: FloatArray) -> FloatArray:
        r = np.sqrt(squared)
        decay = np.exp(-steepness * (r - r0))
        return _over(2.0 * depth * steepness * decay * (1.0 - decay), r)

    return Law(energy, slope)


QUARTIC_SPRING = Law(lambda squared: (squared - 1.0) ** 2, lambda squared: 4.0 * (squared - 1.0))
"""(r^2 - 1)^2: what the n-spring code of arXiv 2211.05520 computes, though its docstring says linear."""


def gravity(strength: Parameter) -> Law:
    """-G m_i m_j / r, no softening; the strength is G m_i m_j of each pair."""
    return Law(
        lambda squared: np.asarray(-strength / np.sqrt(squared)),
        lambda squared: np.asarray(strength / (squared * np.sqrt(squared))),
    )


def _over(slope: FloatArray | float, r: FloatArray) -> FloatArray:
    # Where r is 0 the force of a law with a rest length has no direction. NumPy's 0/0 or x/0 then gives NaN
    # or inf, which the energy check at the end of a run turns into an error.
    return np.asarray(slope / r)
