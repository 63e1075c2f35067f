"""One-density models as files for `pair_style eam/alloy` and `eam/fs` (DYNAMO setfl format).

What the functions are is said in ``lammps_eam_functions``; eam/fs lets a density depend on the species at both ends.

LAMMPS differentiates the values it reads over one grid step, which multiplies their rounding by one over the step. So
the values written are integrals of our exact derivatives, and the differences give those back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from hamfit.exports.lammps_eam_functions import ScaledEmbedding, distance_functions
from hamfit.exports.lammps_splines import eam_value_and_slope
from hamfit.features.curves import RadialCurve
from hamfit.features.manybody_round import Round
from hamfit.features.pieces import Function
from hamfit.relative import rms
from hamfit.types import FloatArray

#: Points of each function tried in turn where their number is not given, and the relative error that is good enough.
POINTS = (4_000, 8_000, 16_000, 32_000, 64_000)
TOLERANCE = 1e-11
#: Grid points beyond the cutoff, which five-point differences up to it need.
_GHOSTS = 4
_PROBES = 20_011
#: Constants up to this many times the largest energy of a pair are part of F.
_LARGEST_CONSTANT = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class EamTables:
    """Everything a setfl file holds, on uniform grids that begin at 0."""

    embedding: FloatArray
    """F of each species, (S, n)."""
    density: FloatArray
    """g_st of centre s and neighbour t, (S, S, n)."""
    pair: FloatArray
    """phi of each pair of species, (S, S, n), symmetric."""
    density_step: float
    """Spacing of the densities."""
    distance_step: float
    """Spacing of the distances."""
    cutoff: float
    """Distance at which LAMMPS stops."""
    missing: FloatArray
    """Energy of a particle of each species that F leaves out, (S,): zero, unless it is so large that it costs digits.

    Data of one composition leave these constants open but for one sum, and fits may make them large.
    """
    error: float
    """Greatest error (rms) that LAMMPS's cubics for F, g and phi make in the force of a pair over the range of the
    training data, relative to the rms of that force."""

    def lines(self, names: tuple[str, ...], masses: FloatArray, comment: tuple[str, str, str]) -> Iterator[str]:
        """The file's text: eam/alloy for one species, eam/fs for several. ``names`` are the species."""
        n = self.embedding.shape[1]
        yield from comment
        yield f"{len(names)} {' '.join(names)}"
        yield f"{n} {self.density_step:.17g} {n} {self.distance_step:.17g} {self.cutoff:.17g}"
        for s in range(len(names)):
            # atomic number, lattice constant and structure are read by LAMMPS and used for nothing
            yield f"{s + 1} {masses[s]:.17g} 0.0 none"
            yield from _numbers(self.embedding[s])
            for centre in range(len(names)):
                yield from _numbers(self.density[centre, s])
        r = self.distance_step * np.arange(n)
        for s in range(len(names)):
            for t in range(s + 1):
                yield from _numbers(r * self.pair[s, t])


def eam_tables(
    layer: Round,
    theta: FloatArray,
    constants: FloatArray,
    labels: tuple[str, ...],
    pair: RadialCurve | None,
    n_points: int | None,
) -> EamTables:
    """Tables of a one-density round, with the pair functions of ``pair`` added.

    constants (S,): energy of a particle beside the features, part of F. Without n_points the grids are refined until
    the error is below TOLERANCE. Raises ModelError for a density that changes sign within the training data, for
    species never seen there, and for pair forces that jump at a cutoff which is not the greatest: eam files hold one.
    """
    embeddings = [ScaledEmbedding(layer, theta, s, labels[s]) for s in range(layer.n_species)]
    functions = distance_functions(layer, embeddings, labels, pair)
    best: EamTables | None = None
    for n in POINTS if n_points is None else (n_points,):
        tables = _tabulated(layer, embeddings, functions, constants, n)
        # where large coefficients cancel, rounding grows with the number of points: more are not always better
        if best is None or tables.error < best.error:
            best = tables
        if best.error <= TOLERANCE:
            break
    assert best is not None
    return best


def _tabulated(
    layer: Round,
    embeddings: list[ScaledEmbedding],
    functions: tuple[dict[tuple[int, int], Function], dict[tuple[int, int], Function]],
    constants: FloatArray,
    n: int,
) -> EamTables:
    n_species, cutoff = layer.n_species, float(layer.radial.cutoff.max())
    step, high = cutoff / (n - 1 - _GHOSTS), max(e.high for e in embeddings)
    density, pair = np.zeros((n_species, n_species, n)), np.zeros((n_species, n_species, n))
    x = np.linspace(0.0, high, n)
    embedding = np.empty((n_species, n))
    judged: dict[str, list[tuple[float, float]]] = {"density": [], "pair": [], "embedding": []}
    missing, largest = np.empty(n_species), 0.0
    for at, function in functions[0].items():
        density[at] = _integrated(function, step, n)
        r = _probes(function)
        judged["density"].append(_rms(function.slope(r), eam_value_and_slope(density[at], step, r)[1]))
    for (s, t), function in functions[1].items():
        pair[s, t] = pair[t, s] = _integrated(function, step, n)
        r = _probes(function)
        # LAMMPS reads r phi and takes phi' = ((r phi)' - phi) / r
        value, slope = eam_value_and_slope(step * np.arange(n) * pair[s, t], step, r)
        largest = max(largest, float(np.abs(value / r).max()))
        judged["pair"].append(_rms(function.slope(r), (slope - value / r) / r))
    for s, e in enumerate(embeddings):
        mean = round(1.0 / float(x[1]))
        embedding[s] = _integral(x, e.slope(x), mean)
        # the constant and the features may be large and cancel, so these two are added first
        missing[s] = e.value(float(x[mean])) + np.nan_to_num(constants[s])
        probes = np.linspace(e.seen[0], e.seen[1], _PROBES)
        judged["embedding"].append(_rms(e.slope(probes), eam_value_and_slope(embedding[s], float(x[1]), probes)[1]))
    if np.abs(missing).max() <= _LARGEST_CONSTANT * largest:
        embedding, missing = embedding + missing[:, None], np.zeros(n_species)
    size, error = ({kind: max(one[k] for one in found) for kind, found in judged.items()} for k in (0, 1))
    worst = max(error["pair"], size["embedding"] * error["density"], size["density"] * error["embedding"])
    scale = max(size["pair"], size["embedding"] * size["density"])
    relative = worst / scale if scale > 0.0 else 0.0
    return EamTables(embedding, density, pair, float(x[1]), step, cutoff, missing, relative)


def _integrated(function: Function, step: float, n: int) -> FloatArray:
    """Values on the grid: zero at the cutoff; beyond the greatest cutoff polynomials go on, beyond another nothing."""
    r: FloatArray = step * np.arange(n, dtype=np.float64)
    low, _, cutoff = function.ends
    inside = r <= cutoff * (1.0 + 1e-12)
    slope: FloatArray = np.zeros(n)
    slope[inside] = function.slope(np.clip(r[inside], low, cutoff))
    last = int(np.flatnonzero(inside)[-1])
    if last == n - 1 - _GHOSTS:
        weights = np.polynomial.polynomial.polyvander(np.arange(-5.0, 1.0), 5)
        ahead = np.polynomial.polynomial.polyvander(np.arange(1.0, _GHOSTS + 1.0), 5)
        slope[last + 1 :] = ahead @ np.linalg.solve(weights, slope[last - 5 : last + 1])
        return _integral(r, slope, last)
    # the slope has a kink at the cutoff, so the spline must end there
    if r[last] < cutoff * (1.0 - 1e-12):
        end = np.array([cutoff])
        knots, slopes = np.concatenate([r[inside], end]), np.concatenate([slope[inside], function.slope(end)])
    else:
        knots, slopes = r[inside], slope[inside]
    out = np.zeros(n)
    out[: last + 1] = _integral(knots, slopes, knots.size - 1)[: last + 1]
    return out


def _integral(x: FloatArray, slope: FloatArray, start: int) -> FloatArray:
    """Integral of the cubic spline through ``slope`` from x[start] to every knot.

    Summed outwards from there, so that values are as exact as they are small: far away they may be huge.
    """
    c, h = CubicSpline(x, slope).c, np.diff(x)
    pieces = (((c[0] / 4.0 * h + c[1] / 3.0) * h + c[2] / 2.0) * h + c[3]) * h
    back = np.cumsum(pieces[:start][::-1])[::-1]
    return np.concatenate([-back, np.zeros(1), np.cumsum(pieces[start:])])


def _probes(function: Function) -> FloatArray:
    _, seen, cutoff = function.ends
    return np.linspace(seen, cutoff, _PROBES)[:-1]


def _rms(exact: FloatArray, got: FloatArray) -> tuple[float, float]:
    """Root mean squares of a function and of its error."""
    return rms(exact), rms(got - exact)


def _numbers(values: FloatArray) -> Iterator[str]:
    return (f"{value:.17g}" for value in values.tolist())
