"""Radial functions of the many-body block: smooth bumps times a smooth cutoff, per ordered pair of species.

Bumps are evenly spaced in log r between the shortest distance seen in the data and the cutoff: forces change
fastest where particles are close, and a larger cutoff should not cost resolution there (copper, cutoff 2.6
nearest-neighbour distances: a quarter of the held-out error of bumps evenly spaced in r). They are wide, twice
their spacing, because narrow ones leave the gaps between neighbour shells undetermined and then fail on
hotter data. Mixing them into the radial functions g_c is linear, so it happens after summing over neighbours,
not here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.errors import FeatureError
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class RadialBumps:
    """B bumps, Gaussian in log r, times (1 - (r / cutoff)^2)^2, so that forces end continuously.

    The square did better than the cube, most of all on copper (held-out error 0.6 of it): nothing is gained
    by a softer end than the forces themselves have.
    """

    lower: FloatArray
    """Distance at the centre of the first bump for each pair of species, (S, S), positive where cutoff is."""
    cutoff: FloatArray
    """Distance where every function ends for each pair, (S, S); 0 where species do not interact."""
    n_bumps: int
    """Number of bumps B, at least 2."""
    width: float
    """Standard deviation of a bump over the spacing of bump centres, both in log r."""

    def __post_init__(self) -> None:
        if self.n_bumps < 2 or not self.width > 0:
            raise FeatureError(
                f"n_bumps is {self.n_bumps} and width {self.width}: give at least 2 bumps of positive width"
            )
        if self.lower.shape != self.cutoff.shape or self.cutoff.ndim != 2:
            raise FeatureError(f"lower {self.lower.shape} and cutoff {self.cutoff.shape} must both be (S, S)")
        if np.any((self.cutoff > 0) & ((self.lower >= self.cutoff) | (self.lower <= 0))):
            raise FeatureError("the first bump is not between zero and the cutoff: give a larger cutoff")

    def evaluate(self, distance: FloatArray, centre: IntArray, neighbour: IntArray) -> tuple[FloatArray, FloatArray]:
        """Values and derivatives by r at each distance (E,), both (E, B), for the species at both ends."""
        lower, cutoff = self.lower[centre, neighbour], self.cutoff[centre, neighbour]
        per_width = (self.n_bumps - 1) / (self.width * np.log(cutoff / lower))
        offset = (np.log(distance / lower) * per_width)[:, None] - np.arange(self.n_bumps) / self.width
        bump = np.exp(-0.5 * offset**2)
        inside = np.maximum(1.0 - (distance / cutoff) ** 2, 0.0)
        taper = inside**2
        taper_slope = -4.0 * inside * distance / cutoff**2
        offset *= (-per_width * taper / distance)[:, None]
        offset += taper_slope[:, None]
        offset *= bump
        bump *= taper[:, None]
        return bump, offset
