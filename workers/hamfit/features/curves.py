"""Learned functions of one distance, compiled: after the fit sum_k theta_k phi_k(r) is one curve for each channel.

The curve is a spline of degree 7 whose slope is the exact derivative of its value, so energy and forces stay
consistent. It covers the distances seen in training; beyond them the features themselves are summed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.features.radial import RadialFeatures
from hamfit.features.tables import RadialTable, build_table, spline_polynomials
from hamfit.kernels.cpu import spline_curve
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class RadialCurve:
    """f(r) = sum_k theta_k phi_k(r) for every channel."""

    radial: RadialFeatures
    """The features."""
    theta: FloatArray
    """Their coefficients, (n_columns,)."""
    table: RadialTable
    """The splines."""

    @classmethod
    def compile(cls, radial: RadialFeatures, theta: FloatArray, extent: FloatArray) -> RadialCurve:
        """Compile the curves on ``extent`` (channels, 2); where that is nan or empty, the features themselves serve."""
        return cls(radial, theta, build_table(radial, extent, theta[:, None], np.ones(1)))

    def __call__(self, distance: FloatArray, channel: IntArray) -> tuple[FloatArray, FloatArray]:
        """f(r) and f'(r)/r for distances of mixed channels, both (E,)."""
        value, slope = np.empty_like(distance), np.empty_like(distance)
        outside = np.empty(distance.size, dtype=np.int64)
        table = self.table
        count = spline_curve(
            distance,
            channel,
            table.maps,
            table.low,
            table.scale,
            table.pieces,
            table.first_column,
            table.lift[:, 0],
            spline_polynomials(),
            value,
            slope,
            outside,
        )
        if count:
            few = outside[:count]
            value[few], slope[few] = self.radial.contract(distance[few], channel[few], self.theta)
        return value, slope
