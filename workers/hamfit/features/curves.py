"""Learned functions of one distance, compiled: after the fit sum_k theta_k phi_k(r) is one curve for each channel.

The curve is made of pieces (``features.pieces``) whose slope is the exact derivative of their value, so energy and
forces stay consistent. It covers the distances seen in training; beyond them the features themselves are summed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.features.pieces import NOTHING, Function, Slope, compile_functions
from hamfit.features.radial import RadialFeatures
from hamfit.kernels.pair_tables import Tables, follow_curve
from hamfit.types import FloatArray, IntArray

#: Shortest distance that pieces begin at, over the longest: they are functions of r > 0, which momenta may not be.
_SHORTEST = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class RadialCurve:
    """f(r) = sum_k theta_k phi_k(r) for every channel."""

    radial: RadialFeatures
    """The features."""
    theta: FloatArray
    """Their coefficients, (n_columns,)."""
    extent: FloatArray
    """Shortest and longest distance of every channel seen in training, (C, 2), nan for none; the pieces cover it."""
    tables: Tables
    """The pieces."""

    @classmethod
    def compile(cls, radial: RadialFeatures, theta: FloatArray, extent: FloatArray) -> RadialCurve:
        """Compile the curves on ``extent`` (channels, 2); where that is nan or empty, the features themselves serve."""
        seen = np.isfinite(extent).all(axis=1) & (extent[:, 1] > extent[:, 0])
        functions = [
            radial_function(radial, theta, c, (max(low, _SHORTEST * high), high)) if seen[c] else NOTHING
            for c, (low, high) in enumerate(extent.tolist())
        ]
        tables = compile_functions(functions)
        return cls(radial, theta, extent, tables._replace(nearest=np.where(seen, tables.nearest, np.inf)))

    def __call__(self, distance: FloatArray, channel: IntArray) -> tuple[FloatArray, FloatArray]:
        """f(r) and f'(r)/r for distances of mixed channels, both (E,)."""
        value, slope = np.empty_like(distance), np.empty_like(distance)
        outside = np.empty(distance.size, dtype=np.int64)
        few = outside[: follow_curve(self.tables, distance, channel, value, slope, outside)]
        if few.size:
            value[few], slope[few] = self.radial.contract(distance[few], channel[few], self.theta)
        return value, slope


def radial_slope(radial: RadialFeatures, theta: FloatArray, c: int) -> Slope:
    """f'(r) of channel c."""
    part = theta[radial.columns(c)]
    return lambda r: np.asarray(radial.slopes_over_r(c, r) @ part) * r


def radial_function(radial: RadialFeatures, theta: FloatArray, c: int, ends: tuple[float, ...]) -> Function:
    """f of channel c, on segments that end at ``ends``: summed up from the last one, where it is small."""
    # the steepest feature must not fall between the points, whatever the others make of it
    steepest = float(np.abs(radial.weights[c]).max(initial=0.0))
    return Function(
        radial_slope(radial, theta, c),
        ends,
        anchor=-1,
        known=float(radial.values(c, np.array([ends[-1]]))[0] @ theta[radial.columns(c)]),
        input_map=radial.input_maps[c],
        fewest=2 ** int(np.ceil(np.log2(max(4.0 * steepest, 1.0)))),
    )
