"""Velocities and forces from a time series of positions (and momenta) by finite differences of order six.

Rule: the derivative at frame t is that of the polynomial through frames t-3 .. t+3, hence exact for
polynomials of degree 6. With even steps h these are the central differences

    f'  = (-f[-3] +  9 f[-2] -  45 f[-1]            +  45 f[1] -  9 f[2] +   f[3]) / (60 h)
    f'' = (2 f[-3] - 27 f[-2] + 270 f[-1] - 490 f[0] + 270 f[1] - 27 f[2] + 2 f[3]) / (180 h^2)

with errors O(h^6). With uneven steps the weights follow from the same polynomial (order 6 and 5). The first and last
three frames are dropped: one-sided rules there have error constants twenty times larger, and a few bad rows spoil a
least-squares fit.

The same derivative through five frames (order 4) is computed as well; the difference of the two bounds the
error of the coarser and warns when the frames lie too far apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.errors import DataError
from hamfit.relative import relative_rms
from hamfit.types import FloatArray

REACH = 3
"""Frames on each side that a derivative needs, and that are dropped at each end."""

MAX_STEP_RATIO = 4.0
"""Largest ratio of time steps within a series. Beyond it the polynomial oscillates between frames: the series
has a gap (arbitrary)."""


@dataclass(frozen=True, slots=True, eq=False)
class Derivatives:
    """Derivatives at the inner frames of a series of T frames."""

    velocity: FloatArray
    """dq/dt, (T - 6, N, d)."""
    momentum_rate: FloatArray
    """dp/dt, (T - 6, N, d)."""
    error: float
    """Relative rms difference between the rules of order 6 and 4 in dp/dt: an upper guess of the error."""


def stencil_weights(time: FloatArray, reach: int, order: int) -> FloatArray:
    """Weights (T - 2 reach, 2 reach + 1) of the derivative of that order at each inner time.

    From the polynomial through 2 reach + 1 points (a Vandermonde system in (t_j - t_i)/h, h the mean step of
    the window, so that it is well conditioned).
    """
    width = 2 * reach + 1
    windows = np.lib.stride_tricks.sliding_window_view(time, width)
    h = (windows[:, -1] - windows[:, 0]) / (2 * reach)
    x = (windows - windows[:, reach : reach + 1]) / h[:, None]
    vandermonde = x[:, None, :] ** np.arange(width)[None, :, None]
    target = np.zeros((len(x), width, 1))
    target[:, order, 0] = float(np.prod(np.arange(1, order + 1)))
    weights: FloatArray = np.linalg.solve(vandermonde, target)[:, :, 0] / h[:, None] ** order
    return weights


def differentiate(values: FloatArray, time: FloatArray, *, order: int = 1, reach: int = REACH) -> FloatArray:
    """Time derivative of `values` (T, ...) at the inner frames, (T - 2 reach, ...), of order 1 or 2."""
    weights = stencil_weights(time, reach, order)
    n = len(weights)
    # Differences to the middle frame: the weights sum to zero, and subtracting first keeps the digits that
    # large, slowly moving positions would lose.
    middle = values[reach : reach + n]
    result = np.zeros_like(middle)
    for k in range(2 * reach + 1):
        if k != reach:
            result += weights[:, k].reshape(-1, *[1] * (values.ndim - 1)) * (values[k : k + n] - middle)
    return result


def derivatives_of_series(
    where: str,
    q: FloatArray,
    time: FloatArray,
    masses: FloatArray,
    *,
    momentum: FloatArray | None = None,
    velocity: FloatArray | None = None,
) -> Derivatives:
    """Velocities and momentum rates of a series q (T, N, d) at times (T,), masses (N,).

    Momenta are those given, else masses times the given velocities, else masses times dq/dt; dp/dt is the
    first derivative of known momenta, or the masses times the second derivative of q. Velocities given are
    kept. Raises DataError for fewer than 7 frames, times that do not increase, or gaps.
    """
    if len(q) < 2 * REACH + 1:
        raise DataError(f"{where}: has {len(q)} frames: derivatives need at least {2 * REACH + 1} in a row")
    steps = np.diff(time)
    if not (steps > 0).all():
        raise DataError(f"{where}: time does not increase from frame to frame: order the frames by time")
    if steps.max() > MAX_STEP_RATIO * steps.min():
        raise DataError(
            f"{where}: time steps lie between {steps.min():.6g} and {steps.max():.6g}, a gap that derivatives cannot "
            "cross: cut the series there or write frames evenly"
        )
    qdot = differentiate(q, time) if velocity is None else velocity[REACH:-REACH]
    known = momentum if momentum is not None else None if velocity is None else velocity * masses[:, None]
    if known is not None:
        rate = differentiate(known, time)
        coarse = differentiate(known, time, reach=2)[1:-1]
    else:
        rate = differentiate(q, time, order=2) * masses[:, None]
        coarse = differentiate(q, time, order=2, reach=2)[1:-1] * masses[:, None]
    return Derivatives(qdot, rate, relative_rms(coarse, rate))


def unwrapped(q: FloatArray, box: FloatArray, periodic: tuple[bool, ...]) -> FloatArray:
    """Positions (T, N, d) without jumps across the boundary, box (T, d, d) with lattice vectors as rows.

    Each particle is taken to move by less than half a box between frames.
    """
    inverse = np.linalg.inv(box[1:])
    moves = np.einsum("tna,tab->tnb", np.diff(q, axis=0), inverse)
    jumps = np.round(moves) * np.array(periodic, dtype=np.float64)
    result = q.copy()
    result[1:] -= np.cumsum(np.einsum("tna,tab->tnb", jumps, box[1:]), axis=0)
    return result
