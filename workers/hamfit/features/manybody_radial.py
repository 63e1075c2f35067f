"""Radial functions of the many-body block: smooth bumps times a smooth cutoff, per ordered pair of species.

Bumps sit between the shortest distance seen in the data and the cutoff. They are wide (wider than their
spacing), because narrow ones leave the gaps between neighbour shells undetermined and then fail on hotter
data. Mixing them into the radial functions g_c is linear, so it happens after summing over neighbours, not
here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.errors import FeatureError
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class RadialBumps:
    """B Gaussian bumps b(r) times (1 - (r / cutoff)^2)^3, which ends with two continuous derivatives."""

    lower: FloatArray
    """Centre of the first bump for each pair of species, (S, S)."""
    cutoff: FloatArray
    """Distance where every function ends for each pair, (S, S); 0 where species do not interact."""
    n_bumps: int
    """Number of bumps B, at least 2."""
    width: float
    """Standard deviation of a bump over the spacing of bump centres."""

    def __post_init__(self) -> None:
        if self.n_bumps < 2 or not self.width > 0:
            raise FeatureError(
                f"n_bumps is {self.n_bumps} and width {self.width}: give at least 2 bumps of positive width"
            )
        if self.lower.shape != self.cutoff.shape or self.cutoff.ndim != 2:
            raise FeatureError(f"lower {self.lower.shape} and cutoff {self.cutoff.shape} must both be (S, S)")
        if np.any((self.cutoff > 0) & (self.lower >= self.cutoff)):
            raise FeatureError("the first bump lies beyond the cutoff: give a larger cutoff")

    def evaluate(
        self, distance: FloatArray, centre: IntArray, neighbour: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Values and derivatives by r at each distance (E,), both (E, B), for the species at both ends."""
        lower, cutoff = self.lower[centre, neighbour], self.cutoff[centre, neighbour]
        per_spacing = (self.n_bumps - 1) / (cutoff - lower)
        offset = ((distance - lower) * per_spacing)[:, None] - np.arange(self.n_bumps)
        offset /= self.width
        bump = np.exp(-0.5 * offset**2)
        inside = np.maximum(1.0 - (distance / cutoff) ** 2, 0.0)
        taper = inside**3
        taper_slope = -6.0 * inside**2 * distance / cutoff**2
        offset *= (-per_spacing * taper / self.width)[:, None]
        offset += taper_slope[:, None]
        offset *= bump
        bump *= taper[:, None]
        return bump, offset
