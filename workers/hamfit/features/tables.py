"""Tables of whitened radial features: B-splines of the distance that stand in for n tanh functions per pair.

In the whitened basis (``reductions.whitening``) the columns of Z are k functions of one scalar,
psi_a(r) = sum_n phi_n(r) P[n, a]. Written as uniform B-splines of degree 7 in the mapped distance,
psi_a = sum_m B_m(t(r)) lift[m, a], a row of Z P is (sum over neighbours of the B-spline gradients) @ lift: 24
multiply-adds per pair whatever the number of features, and one matrix product per panel. The table holds energies;
its forces are their exact derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import make_lsq_spline

from hamfit.features.radial import InputMap, RadialFeatures, map_inverse, map_slope_over_r, map_value
from hamfit.graphs import Edges
from hamfit.kernels.cpu import MAP_INVERSE, MAP_R, MAP_SQUARE, SPLINE_DEGREE, spline_rows
from hamfit.relative import relative_rms
from hamfit.types import FloatArray, IntArray

#: Codes of the input maps in kernels.
MAP_CODE: dict[InputMap, int] = {"r": MAP_R, "1/r": MAP_INVERSE, "r2": MAP_SQUARE}
_FIRST_PIECES, _MOST_PIECES = 64, 1024
#: Relative error of the force of the preliminary solution at which a table is fine enough.
_TOLERANCE = 1e-11


@cache
def spline_polynomials() -> FloatArray:
    """Coefficients (degree+1, degree+1), by rising power of u, of the uniform B-splines that overlap one interval.

    Column j belongs to the spline that began degree - j intervals earlier. Cox-de Boor recursion on unit knots
    (de Boor, A Practical Guide to Splines, ch. IX).
    """
    pieces = [np.array([1.0])]
    for p in range(1, SPLINE_DEGREE + 1):
        nothing = np.zeros(1)
        raised: list[FloatArray] = []
        for j in range(p + 1):
            older = pieces[j - 1] if j > 0 else nothing
            newer = pieces[j] if j < p else nothing
            rising = np.polynomial.polynomial.polymul([(p - j) / p, 1.0 / p], older)
            falling = np.polynomial.polynomial.polymul([(1.0 + j) / p, -1.0 / p], newer)
            raised.append(np.polynomial.polynomial.polyadd(rising, falling))
        pieces = raised
    out = np.zeros((SPLINE_DEGREE + 1, SPLINE_DEGREE + 1))
    for j, piece in enumerate(pieces):
        out[: piece.size, j] = piece
    return out


@cache
def spline_slopes() -> FloatArray:
    """Derivatives of ``spline_polynomials`` with respect to u, (degree, degree+1), by rising power."""
    powers = np.arange(1.0, SPLINE_DEGREE + 1.0)[:, None]
    return np.ascontiguousarray(spline_polynomials()[1:] * powers)


def _design(t: FloatArray, pieces: int, polynomials: FloatArray) -> FloatArray:
    """Dense matrix (len(t), pieces + degree) of spline values (or slopes) at t in [0, pieces]."""
    piece = np.minimum(t.astype(np.int64), pieces - 1)
    local = np.vander(t - piece, polynomials.shape[0], increasing=True) @ polynomials
    out = np.zeros((t.size, pieces + SPLINE_DEGREE))
    np.put_along_axis(out, piece[:, None] + np.arange(SPLINE_DEGREE + 1), local, axis=1)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class RadialTable:
    """B-splines of the distance for every channel, and the matrix that lifts them to whitened columns."""

    maps: IntArray
    """Codes of the input maps, (C,)."""
    low: FloatArray
    """Mapped distance at t = 0, (C,)."""
    scale: FloatArray
    """dt/ds, (C,)."""
    pieces: IntArray
    """Number of intervals of each channel, (C,)."""
    first_column: IntArray
    """First local column of each channel, (C,)."""
    lift: FloatArray
    """Spline coefficients of the whitened features, (n_local, k)."""
    error: float
    """Relative error of the table's force for the preliminary solution it was built with, rms over its range."""

    @property
    def n_local(self) -> int:
        """Number of B-splines of all channels."""
        return int(self.lift.shape[0])

    def fill(self, edges: Edges, dim: int, column: int, out: FloatArray, extent: FloatArray) -> IntArray:
        """Add the spline gradients of ``edges`` to ``out``, whose columns from ``column`` on are this table's.

        out (C*dim, at least column + n_local), C order. Returns the indices of the edges outside the table, which
        are left out; widens ``extent`` (channels, 2) to the lengths met.
        """
        outside = np.empty(edges.distance.size, dtype=np.int64)
        count = spline_rows(
            edges.offsets,
            edges.vector,
            edges.distance,
            edges.channel,
            self.maps,
            self.low,
            self.scale,
            self.pieces,
            self.first_column + column,
            spline_slopes(),
            dim,
            out,
            extent,
            outside,
        )
        return outside[:count]


def build_table(
    features: RadialFeatures, extent: FloatArray, projection: FloatArray, preliminary: FloatArray
) -> RadialTable:
    """Tabulate ``features @ projection`` on the distances in ``extent``.

    extent (C, 2): shortest and longest distance of each channel, nan or empty for one without edges; projection
    (n_columns, k); preliminary (k,): a first solution, used only to judge when the table is fine enough.
    """
    lifts, low, scale, pieces, errors = [], [], [], [], []
    for c in range(features.n_channels):
        if not (np.isfinite(extent[c]).all() and extent[c, 1] > extent[c, 0]):
            # a channel without edges: one interval, at infinity, that nothing falls into
            lifts.append(np.zeros((SPLINE_DEGREE + 1, projection.shape[1])))
            low.append(np.inf)
            scale.append(1.0)
            pieces.append(1)
            continue
        ends = np.sort(map_value(features.input_maps[c], extent[c]))
        one = _Channel(features, c, float(ends[0]), float(ends[1]))
        local, count, error = one.tabulate(projection[features.columns(c)], preliminary)
        lifts.append(local)
        low.append(ends[0])
        scale.append(count / (ends[1] - ends[0]))
        pieces.append(count)
        errors.append(error)
    sizes = [local.shape[0] for local in lifts]
    return RadialTable(
        maps=np.array([MAP_CODE[m] for m in features.input_maps], dtype=np.int64),
        low=np.array(low),
        scale=np.array(scale),
        pieces=np.array(pieces, dtype=np.int64),
        first_column=np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
        lift=np.ascontiguousarray(np.vstack(lifts)),
        error=float(max(errors, default=0.0)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Channel:
    """One channel of some features over its range of mapped distances."""

    features: RadialFeatures
    c: int
    low: float
    high: float

    def tabulate(self, projection: FloatArray, preliminary: FloatArray) -> tuple[FloatArray, int, float]:
        """Spline coefficients, number of intervals and error; intervals double until it is small."""
        best: tuple[FloatArray, int, float] | None = None
        # the steepest feature must not fall between the intervals, whatever the preliminary solution makes of it
        steepest = float(np.abs(self.features.weights[self.c]).max(initial=0.0))
        pieces = min(_MOST_PIECES, max(_FIRST_PIECES, 2 ** int(np.ceil(np.log2(max(4.0 * steepest, 1.0))))))
        while True:
            lift = self._interpolate(projection, pieces)
            error = self._force_error(projection @ preliminary, lift @ preliminary, pieces)
            # refining past the rounding of the features themselves gains nothing
            if best is not None and error > 0.25 * best[2]:
                return best
            best = (lift, pieces, error)
            if error <= _TOLERANCE or pieces >= _MOST_PIECES:
                return best
            pieces *= 2

    def _distance(self, t: FloatArray, pieces: int) -> FloatArray:
        return map_inverse(self.features.input_maps[self.c], self.low + (self.high - self.low) * t / pieces)

    def _interpolate(self, projection: FloatArray, pieces: int) -> FloatArray:
        # three points a spline, denser towards the ends where the outer splines barely reach into the range
        n = 3 * (pieces + SPLINE_DEGREE)
        t = 0.5 * pieces * (1.0 - np.cos(np.linspace(0.0, np.pi, n)))
        t = 0.5 * t + 0.5 * np.linspace(0.0, pieces, n)
        values = self.features.values(self.c, self._distance(t, pieces)) @ projection
        knots = np.arange(-SPLINE_DEGREE, pieces + SPLINE_DEGREE + 1, dtype=np.float64)
        return np.ascontiguousarray(make_lsq_spline(t, values, knots, k=SPLINE_DEGREE).c)

    def _force_error(self, theta: FloatArray, coefficients: FloatArray, pieces: int) -> float:
        t: FloatArray = (np.arange(8.0 * pieces) + 0.37) / 8.0
        r = self._distance(t, pieces)
        # dV/ds = (V'/r) / ((ds/dr)/r): compare slopes in s, where no channel's map singularity enters
        exact = self.features.slopes_over_r(self.c, r) @ theta / map_slope_over_r(self.features.input_maps[self.c], r)
        table = _design(t, pieces, spline_slopes()) @ coefficients * (pieces / (self.high - self.low))
        return relative_rms(table, exact)


def most_local_columns(n_channels: int) -> int:
    """Columns of the finest table that may be built, for predictions of memory."""
    return n_channels * (_MOST_PIECES + SPLINE_DEGREE)
