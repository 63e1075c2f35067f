"""Laws of a pair: energy V(r) and slope over distance V'(r)/r, both from the squared distance.

The squared distance is the natural argument: the force on particle i is -(V'(r)/r) (q_i - q_j), and a law
that is smooth in r^2 needs neither a square root nor a division. Parameters are scalars, or arrays of shape
(pairs, 1) when bonds of different types differ; they broadcast against squared distances of shape (pairs,
states).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from hamfit.types import FloatArray

Parameter = float | FloatArray


class AbstractLaw(ABC):
    """V of a pair as a function of its squared distance."""

    @abstractmethod
    def energy(self, squared: FloatArray) -> FloatArray:
        """V(r), elementwise."""

    @abstractmethod
    def slope_over_distance(self, squared: FloatArray) -> FloatArray:
        """V'(r) / r, elementwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Spring(AbstractLaw):
    """beta (r - r0)^2 / 2."""

    beta: Parameter
    """Stiffness."""
    r0: Parameter
    """Rest length; 0 gives the spring of the textbook, beta r^2 / 2."""

    def energy(self, squared: FloatArray) -> FloatArray:
        """V(r), elementwise."""
        return np.asarray(0.5 * self.beta * (np.sqrt(squared) - self.r0) ** 2)

    def slope_over_distance(self, squared: FloatArray) -> FloatArray:
        """V'(r) / r, elementwise."""
        r = np.sqrt(squared)
        return _over(self.beta * (r - self.r0), r)


@dataclass(frozen=True, slots=True, eq=False)
class Anharmonic(AbstractLaw):
    """beta (r - r0)^2 / 2 + gamma (r - r0)^4 / 4."""

    beta: Parameter
    """Stiffness for small stretches."""
    gamma: Parameter
    """Strength of the quartic term."""
    r0: Parameter
    """Rest length."""

    def energy(self, squared: FloatArray) -> FloatArray:
        """V(r), elementwise."""
        square = (np.sqrt(squared) - self.r0) ** 2
        return np.asarray((0.5 * self.beta + 0.25 * self.gamma * square) * square)

    def slope_over_distance(self, squared: FloatArray) -> FloatArray:
        """V'(r) / r, elementwise."""
        r = np.sqrt(squared)
        stretch = r - self.r0
        return _over((self.beta + self.gamma * (stretch * stretch)) * stretch, r)


@dataclass(frozen=True, slots=True, eq=False)
class Morse(AbstractLaw):
    """D (1 - exp(-a (r - r0)))^2."""

    depth: Parameter
    """Energy D to break the bond."""
    steepness: Parameter
    """Inverse width a."""
    r0: Parameter
    """Rest length."""

    def energy(self, squared: FloatArray) -> FloatArray:
        """V(r), elementwise."""
        decay = np.exp(-self.steepness * (np.sqrt(squared) - self.r0))
        return np.asarray(self.depth * (1.0 - decay) ** 2)

    def slope_over_distance(self, squared: FloatArray) -> FloatArray:
        """V'(r) / r, elementwise."""
        r = np.sqrt(squared)
        decay = np.exp(-self.steepness * (r - self.r0))
        return _over(2.0 * self.depth * self.steepness * decay * (1.0 - decay), r)


@dataclass(frozen=True, slots=True, eq=False)
class QuarticSpring(AbstractLaw):
    """(r^2 - 1)^2: what the n-spring code of arXiv 2211.05520 computes, though its docstring says linear."""

    def energy(self, squared: FloatArray) -> FloatArray:
        """V(r), elementwise."""
        return (squared - 1.0) ** 2

    def slope_over_distance(self, squared: FloatArray) -> FloatArray:
        """V'(r) / r = 4 (r^2 - 1), elementwise; smooth at r = 0."""
        return 4.0 * (squared - 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Gravity(AbstractLaw):
    """-G m_i m_j / r, no softening."""

    strength: Parameter
    """G m_i m_j of each pair."""

    def energy(self, squared: FloatArray) -> FloatArray:
        """V(r), elementwise."""
        return np.asarray(-self.strength / np.sqrt(squared))

    def slope_over_distance(self, squared: FloatArray) -> FloatArray:
        """V'(r) / r, elementwise."""
        return np.asarray(self.strength / (squared * np.sqrt(squared)))


def _over(slope: FloatArray | float, r: FloatArray) -> FloatArray:
    # Where r is 0 the force of a law with a rest length has no direction. NumPy's 0/0 or x/0 then gives NaN
    # or inf, which the energy check at the end of a run turns into an error.
    return np.asarray(slope / r)
