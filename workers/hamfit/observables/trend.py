"""Whether a time series drifts: its slope, with a standard error that correlated frames do not shrink.

The series is cut into blocks of equally many frames, and a straight line is put through the averages of the blocks.
The scatter of these about the line gives the error of the slope. The energy of a symplectic integrator oscillates, and
oscillations shorter than a block average out instead of passing for noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from hamfit.observables.blocking import block_length
from hamfit.types import FloatArray

THREE_SIGMA = 0.0027
"""Two-sided probability of three standard deviations."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through a time series."""

    slope: float
    """Change per unit time."""
    standard_error: float
    """Standard error of the slope."""
    n_blocks: int
    """Blocks that the line was put through, or series whose slopes were averaged."""
    freedom: int
    """Degrees of freedom of the standard error."""

    @property
    def p_value(self) -> float:
        """Probability of a slope at least this large without a trend (Student's t, two-sided)."""
        return float(2.0 * stdtr(self.freedom, -abs(self.in_errors)))

    @property
    def is_significant(self) -> bool:
        """Whether there is a trend: what three standard errors are when the error is known well."""
        return self.p_value < THREE_SIGMA

    @property
    def in_errors(self) -> float:
        """Slope in standard errors: no trend where its size is below 2 or 3."""
        if self.slope == 0.0:
            return 0.0
        return self.slope / self.standard_error if self.standard_error > 0.0 else float(np.copysign(np.inf, self.slope))


def linear_trend(time: FloatArray, series: FloatArray) -> Trend | None:
    """The trend of series (T,) over time (T,); None with fewer than 4 frames, or with values that are not finite.

    Frames at the end that do not fill a block are left out.
    """
    if len(series) < 4 or not (np.isfinite(series).all() and np.isfinite(time).all()):
        return None
    length = block_length([len(series)])
    n = len(series) // length
    x = time[: n * length].reshape(n, length).mean(axis=1)
    y = series[: n * length].reshape(n, length).mean(axis=1)
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    slope = float(x @ y) / spread
    # a constant series differs from its mean by rounding
    if np.ptp(series) <= 1e-15 * np.abs(series).max():
        return Trend(0.0, 0.0, n, n - 2)
    return Trend(slope, float(np.sqrt(np.sum((y - slope * x) ** 2) / (n - 2) / spread)), n, n - 2)


def combined_trend(trends: list[Trend]) -> Trend | None:
    """The mean slope of independent series, its error from their scatter; None with fewer than three."""
    if len(trends) < 3:
        return None
    slopes = np.array([trend.slope for trend in trends])
    return Trend(float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(len(slopes))), len(slopes), len(slopes) - 1)
