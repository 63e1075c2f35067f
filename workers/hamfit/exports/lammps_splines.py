"""How LAMMPS interpolates the tables it reads, in NumPy: what an export will cost in accuracy, known before it runs.

`pair_style table spline` keeps F(r)/r as a cubic spline with uniform knots in r^2 (pair_table.cpp, compute_table);
the eam styles keep every function as piecewise cubics whose slopes at the knots are five-point differences of the
values (pair_eam.cpp, interpolate). Both were read in LAMMPS 22 Jul 2025 and are compared with runs in the tests.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import CubicSpline

from hamfit.types import FloatArray


def table_force(rsq: FloatArray, force: FloatArray, ends: tuple[float, float], r: FloatArray) -> FloatArray:
    """F(r) as `pair_style table spline` computes it.

    rsq (n,): the knots, uniform; force (n,): F there; ends: dF/dr at the first and last knot (FPRIME); r (k,).
    """
    knots = np.sqrt(rsq)
    slopes = [(ends[k] / knots[at] - force[at] / rsq[at]) / (2.0 * knots[at]) for k, at in ((0, 0), (1, -1))]
    spline = CubicSpline(rsq, force / knots, bc_type=((1, slopes[0]), (1, slopes[1])))
    return np.asarray(spline(r * r) * r)


def eam_value_and_slope(values: FloatArray, step: float, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A function and its derivative at x (k,) as the eam styles compute them from ``values`` at 0, step, 2 step, .."""
    n = values.size
    slope = np.empty(n)
    slope[0], slope[-1] = values[1] - values[0], values[-1] - values[-2]
    slope[1], slope[-2] = 0.5 * (values[2] - values[0]), 0.5 * (values[-1] - values[-3])
    slope[2:-2] = ((values[:-4] - values[4:]) + 8.0 * (values[3:-1] - values[1:-3])) / 12.0
    at = np.clip((x / step).astype(np.int64), 0, n - 2)
    p = np.minimum(x / step - at, 1.0)
    rise = values[at + 1] - values[at]
    square = 3.0 * rise - 2.0 * slope[at] - slope[at + 1]
    cube = slope[at] + slope[at + 1] - 2.0 * rise
    value = ((cube * p + square) * p + slope[at]) * p + values[at]
    return value, ((3.0 * cube * p + 2.0 * square) * p + slope[at]) / step
