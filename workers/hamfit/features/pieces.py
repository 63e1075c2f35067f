"""Functions known by their slopes, as polynomials of degree 7 on equal pieces.

On each piece the slope is interpolated at seven Chebyshev-Lobatto points and the interpolant is integrated, so the
slope of the result is the exact derivative of its value, and both go on without a step from piece to piece. Pieces are
not fitted to values: a fit may hold coefficients of 1e6 that cancel, and differences of such values over a piece lose
five digits that the slopes themselves have (a spline through the values of the embedding function of a fitted binary
mixture: relative error of its slope 2e-9; here 1e-12).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hamfit.features.radial import InputMap, map_inverse, map_slope_over_r, map_value
from hamfit.features.tables import MAP_CODE
from hamfit.kernels.cpu import SPLINE_DEGREE
from hamfit.kernels.pair_tables import Tables, law
from hamfit.relative import relative_rms
from hamfit.types import FloatArray

Slope = Callable[[FloatArray], FloatArray]

_FIRST_PIECES, _MOST_PIECES = 32, 1024
#: Relative error of the slope, rms, at which pieces are fine enough: near the rounding of the functions themselves.
_TOLERANCE = 2e-13
#: Places in a piece where its error is measured, away from the interpolation points.
_PROBES = np.array([0.13, 0.37, 0.63, 0.91])
#: Chebyshev-Lobatto points of one piece, and the matrix from values there to coefficients by rising power.
_POINTS = 0.5 - 0.5 * np.cos(np.pi * np.arange(SPLINE_DEGREE) / (SPLINE_DEGREE - 1))
_COEFFICIENTS = np.linalg.inv(np.vander(_POINTS, SPLINE_DEGREE, increasing=True))


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of r > 0 to compile."""

    slope: Slope
    """Its derivative at r (n,)."""
    ends: tuple[float, ...]
    """Where its segments end, rising: each has pieces as fine as it needs. Beyond, the tangent goes on."""
    anchor: int
    """Which of ``ends`` its values are summed up from, outwards: where it is small, and exactly known."""
    known: float
    """Its value there."""
    input_map: InputMap
    """Pieces are equal in this map of r."""
    fewest: int = _FIRST_PIECES
    """Pieces of a segment to begin with, between 32 and 1024: more where it is steep in places."""


#: A function that is zero, with as few pieces as there can be.
NOTHING = Function(np.zeros_like, (0.5, 1.0), anchor=-1, known=0.0, input_map="r2")


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    end: float
    map_code: int
    low: float
    scale: float
    coefficients: FloatArray
    """(pieces, degree + 1), by rising power of the place in the piece."""


def weighted_sum(terms: Sequence[tuple[float, Slope]]) -> Slope:
    """The derivative of a sum of functions, each with a factor."""
    return lambda r: np.sum([factor * slope(r) for factor, slope in terms], axis=0)


def compile_functions(functions: Sequence[Function]) -> Tables:
    """All functions as the channels of one table."""
    channels = [_segments(function) for function in functions]
    flat = [segment for segments in channels for segment in segments]
    counts = [len(segment.coefficients) for segment in flat]
    return Tables(
        segments=np.concatenate([[0], np.cumsum([len(s) for s in channels])]).astype(np.int64),
        ends=np.array([s.end for s in flat]),
        maps=np.array([s.map_code for s in flat], dtype=np.int64),
        low=np.array([s.low for s in flat]),
        scale=np.array([s.scale for s in flat]),
        pieces=np.array(counts, dtype=np.int64),
        first=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
        coefficients=_aligned(np.vstack([s.coefficients for s in flat])),
        nearest=np.array([function.ends[0] for function in functions]),
        farthest=np.array([function.ends[-1] for function in functions]),
    )


def _aligned(coefficients: FloatArray) -> FloatArray:
    """A copy in which each piece is one line of the cache: lanes load pieces whole."""
    line = 8 * coefficients.shape[1]
    buffer = np.empty(coefficients.size + coefficients.shape[1])
    skip = (-buffer.ctypes.data % line) // 8
    out = buffer[skip : skip + coefficients.size].reshape(coefficients.shape)
    out[:] = coefficients
    return out


def values_and_slopes(tables: Tables, c: int, r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Channel c at r (n,), as the kernels compute it."""
    both = np.array([law(tables, c, x) for x in r.tolist()]).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def n_pieces(tables: Tables, c: int) -> int:
    """Pieces of channel c."""
    return int(tables.pieces[tables.segments[c] : tables.segments[c + 1]].sum())


def _segments(function: Function) -> list[_Segment]:
    spans = list(zip(function.ends[:-1], function.ends[1:], strict=True))
    bare = [_segment(function, low, high) for low, high in spans]
    anchor = function.anchor % len(function.ends)
    value = function.known
    for segment in bare[anchor:]:
        rises = np.cumsum(segment.coefficients.sum(axis=1))
        segment.coefficients[:, 0] = value + np.concatenate([[0.0], rises[:-1]])
        value += float(rises[-1])
    value = function.known
    for segment in bare[:anchor][::-1]:
        rises = np.cumsum(segment.coefficients[::-1].sum(axis=1))[::-1]
        segment.coefficients[:, 0] = value - rises
        value -= float(rises[0])
    return bare


def _segment(function: Function, low: float, high: float) -> _Segment:
    """One segment without its constants."""
    first, last = map_value(function.input_map, np.array([low, high])).tolist()
    slopes = _slope_pieces(function, first, last)
    n = len(slopes)
    coefficients = np.zeros((n, SPLINE_DEGREE + 1))
    coefficients[:, 1:] = slopes * ((last - first) / n) / np.arange(1.0, SPLINE_DEGREE + 1.0)
    return _Segment(high, MAP_CODE[function.input_map], first, n / (last - first), coefficients)


def _slope_pieces(function: Function, first: float, last: float) -> FloatArray:
    """Derivative by the mapped distance on each piece of first .. last, by rising power, (pieces, degree).

    The map may fall with the distance (1/r): then first is above last, and widths and scales are negative.
    """

    def slope(s: FloatArray) -> FloatArray:
        # rounding must not leave the range: a function may be defined no farther
        inside = np.clip(s, min(first, last), max(first, last))
        r = np.clip(map_inverse(function.input_map, inside.ravel()), function.ends[0], function.ends[-1])
        return np.asarray(function.slope(r) / (r * map_slope_over_r(function.input_map, r))).reshape(s.shape)

    best: tuple[FloatArray, float] | None = None
    pieces = min(max(function.fewest, _FIRST_PIECES), _MOST_PIECES)
    while True:
        width = (last - first) / pieces
        starts = first + width * np.arange(pieces)[:, None]
        values = slope(starts + width * _POINTS)
        # coefficients of the rest, because those of a constant would cancel to a hundred roundings
        found = (values - values[:, :1]) @ _COEFFICIENTS.T
        found[:, 0] += values[:, 0]
        exact = slope(starts + width * _PROBES)
        error = relative_rms(found @ np.vander(_PROBES, SPLINE_DEGREE, increasing=True).T, exact)
        # refining past the rounding of the function itself gains nothing
        if best is not None and error > 0.25 * best[1]:
            return best[0]
        best = found, error
        if error <= _TOLERANCE or pieces >= _MOST_PIECES:
            return found
        pieces *= 2
