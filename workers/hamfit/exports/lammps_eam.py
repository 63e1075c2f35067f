"""One-density models as files for `pair_style eam/alloy` and `eam/fs` (DYNAMO setfl format).

With l_max = 0 and one radial function the many-body block is an embedded-atom model: E = sum_i F_s(rho_i) + half the
sum over pairs of phi(r), with rho_i = sum_j g_st(r_ij) (Daw and Baskes, Phys. Rev. B 29, 6443 (1984); g depends on the
species s of the centre and t of the neighbour, which is eam/fs: Finnis and Sinclair, Phil. Mag. A 50, 45 (1984)). Two
freedoms of that form are used:

- rho may be scaled, g -> a g and F(rho) -> F(rho / a): a makes the mean density of the training data 1, and positive.
- A term k rho of F is a pair term k g. It is moved there so that F' vanishes at the mean density. In a fit large parts
  of F and phi may cancel; so they do here, and not in LAMMPS.

LAMMPS differentiates the values it reads over one grid step, which multiplies their rounding by one over the step. So
the values written are integrals of our exact derivatives, and the differences give those back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from hamfit.errors import ModelError
from hamfit.exports.lammps_splines import eam_value_and_slope
from hamfit.features.curves import RadialCurve
from hamfit.features.manybody_round import Round
from hamfit.graphs.channels import pair_channels
from hamfit.types import FloatArray

#: Points of each function tried in turn where their number is not given, and the relative error that is good enough.
POINTS = (4_000, 8_000, 16_000, 32_000, 64_000)
TOLERANCE = 1e-11
#: Grid points beyond the cutoff, which five-point differences up to it need.
_GHOSTS = 4
_PROBES = 20_011
#: Constants up to this many times the largest energy of a pair are part of F.
_LARGEST_CONSTANT = 100.0
#: A density this many standard deviations from the mean of the training data must still be positive.
_SPREAD = 8.0
#: Densities this many standard deviations from the mean count for the error: one particle in 16,000 is further off.
_JUDGED = 4.0

Slope = Callable[[FloatArray], FloatArray]


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
    pair: tuple[RadialCurve, FloatArray] | None,
    n_points: int | None,
) -> EamTables:
    """Tables of a one-density round, with the pair function of ``pair`` (curve and extents of its channels) added.

    constants (S,): energy of a particle beside the features, part of F. Without n_points the grids are refined until
    the error is below TOLERANCE. Raises ModelError for a density that changes sign within the training data, for
    species never seen there, and for pair forces that jump at a cutoff which is not the greatest: eam files hold one.
    """
    embeddings = [_Embedding(layer, theta, s, labels[s]) for s in range(layer.n_species)]
    functions = _pair_functions(layer, embeddings, labels, pair)
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


class _Embedding:
    """F of one species as a function of x = rho / (mean rho of the training data), less the part moved to pairs."""

    def __init__(self, layer: Round, theta: FloatArray, s: int, label: str) -> None:
        self._mean, self._deviation = float(layer.mean[s, 0]), float(layer.deviation[s, 0])
        spread = self._deviation / abs(self._mean) if self._mean else np.inf
        has_one_sign = np.all(layer.mixing[s] >= 0.0) or np.all(layer.mixing[s] <= 0.0)
        if not np.isfinite(spread) or (_SPREAD * spread >= 1.0 and not has_one_sign):
            raise ModelError(
                f"the density of species {label} is {self._mean:.3g} with a spread of {self._deviation:.3g} in the"
                " training data, so it may change its sign, which eam files do not allow: fit again with another seed"
            )
        self.seen = (max(0.0, 1.0 - _JUDGED * spread), 1.0 + _JUDGED * spread)
        """Range of x in which the interpolation is judged."""
        self.scale = 1.0 / self._mean
        """Factor that makes plain densities into x."""
        self.high = max(2.0, 1.0 + 3.0 * _SPREAD * spread)
        """Greatest x of the table; LAMMPS goes on from there with constant slope."""
        columns = layer.columns(s)
        self._weights, self._bias, self._theta = layer.weights[0, columns], layer.bias[columns], theta[columns]
        direct = theta[layer.direct(s)]
        self._direct = float(direct[0]) if direct.size else 0.0
        self.moved = 0.0
        self.moved = float(self.slope(np.ones(1))[0])
        """dF/dx at the mean density: the coefficient k of the term that became k g."""

    def value(self, x: float) -> float:
        """F at x."""
        standard = (x - 1.0) * (self._mean / self._deviation)
        tanh = np.tanh(standard * self._weights + self._bias)
        return float(tanh @ self._theta + self._direct * standard - self.moved * x)

    def slope(self, x: FloatArray) -> FloatArray:
        """dF/dx at x (k,)."""
        standard = (x - 1.0) * (self._mean / self._deviation)
        tanh = np.tanh(np.multiply.outer(standard, self._weights) + self._bias)
        rate = (1.0 - tanh**2) @ (self._weights * self._theta) + self._direct
        return np.asarray(rate * (self._mean / self._deviation) - self.moved)


@dataclass(frozen=True, slots=True, eq=False)
class _Function:
    """A function of the distance that vanishes at its cutoff, known by its derivative."""

    slope: Slope
    low: float
    """Below this distance the slope stays what it is there."""
    seen: float
    """Shortest distance of the training data."""
    cutoff: float


def _pair_functions(
    layer: Round, embeddings: list[_Embedding], labels: tuple[str, ...], pair: tuple[RadialCurve, FloatArray] | None
) -> tuple[dict[tuple[int, int], _Function], dict[tuple[int, int], _Function]]:
    """The densities g_st, and the pair functions phi_st (s >= t); pairs that do not interact are left out."""
    densities, pairs = {}, {}
    channels = pair_channels(len(labels))
    largest = float(layer.radial.cutoff.max())
    for s in range(len(labels)):
        for t in range(len(labels)):
            cutoff, seen = float(layer.radial.cutoff[s, t]), float(layer.radial.lower[s, t])
            if cutoff == 0.0:
                continue
            if pair is not None:
                curve, extent = pair
                channel = int(channels[s, t])
                seen = min(seen, float(np.nan_to_num(extent[channel, 0], nan=seen)))
                if curve.radial.tapers[channel] == "shift" and cutoff < largest:
                    raise ModelError(
                        f"the force between {labels[s]} and {labels[t]} jumps at {cutoff:g}, before the greatest cutoff"
                        f" {largest:g}, and eam files hold one cutoff: fit with a smooth taper or one cutoff"
                    )
            densities[s, t] = _Function(_density_slope(layer, s, t, embeddings[s].scale), 0.5 * seen, seen, cutoff)
    for (s, t), density in densities.items():
        if s >= t:
            terms = [(embeddings[s].moved, density.slope), (embeddings[t].moved, densities[t, s].slope)]
            if pair is not None:
                terms.append((1.0, _curve_slope(pair[0], int(channels[s, t]))))
            low, seen = (min(getattr(density, name), getattr(densities[t, s], name)) for name in ("low", "seen"))
            pairs[s, t] = _Function(_sum(terms), low, seen, density.cutoff)
    return densities, pairs


def _density_slope(layer: Round, s: int, t: int, scale: float) -> Slope:
    width = layer.radial.n_bumps
    mixing = scale * layer.mixing[s, t * width : (t + 1) * width, 0]

    def slope(r: FloatArray) -> FloatArray:
        centre, neighbour = np.full(r.size, s, dtype=np.int64), np.full(r.size, t, dtype=np.int64)
        return np.asarray(layer.radial.evaluate(r, centre, neighbour)[1] @ mixing)

    return slope


def _curve_slope(curve: RadialCurve, channel: int) -> Slope:
    return lambda r: r * curve(r, np.full(r.size, channel, dtype=np.int64))[1]


def _sum(terms: list[tuple[float, Slope]]) -> Slope:
    return lambda r: np.sum([factor * slope(r) for factor, slope in terms], axis=0)


def _tabulated(
    layer: Round,
    embeddings: list[_Embedding],
    functions: tuple[dict[tuple[int, int], _Function], dict[tuple[int, int], _Function]],
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


def _integrated(function: _Function, step: float, n: int) -> FloatArray:
    """Values on the grid: zero at the cutoff; beyond the greatest cutoff polynomials go on, beyond another nothing."""
    r: FloatArray = step * np.arange(n, dtype=np.float64)
    inside = r <= function.cutoff * (1.0 + 1e-12)
    slope: FloatArray = np.zeros(n)
    slope[inside] = function.slope(np.clip(r[inside], function.low, function.cutoff))
    last = int(np.flatnonzero(inside)[-1])
    if last == n - 1 - _GHOSTS:
        weights = np.polynomial.polynomial.polyvander(np.arange(-5.0, 1.0), 5)
        ahead = np.polynomial.polynomial.polyvander(np.arange(1.0, _GHOSTS + 1.0), 5)
        slope[last + 1 :] = ahead @ np.linalg.solve(weights, slope[last - 5 : last + 1])
        return _integral(r, slope, last)
    # the slope has a kink at the cutoff, so the spline must end there
    if r[last] < function.cutoff * (1.0 - 1e-12):
        end = np.array([function.cutoff])
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


def _probes(function: _Function) -> FloatArray:
    return np.linspace(function.seen, function.cutoff, _PROBES)[:-1]


def _rms(exact: FloatArray, got: FloatArray) -> tuple[float, float]:
    """Root mean squares of a function and of its error."""
    return float(np.sqrt(np.mean(exact**2))), float(np.sqrt(np.mean((got - exact) ** 2)))


def _numbers(values: FloatArray) -> Iterator[str]:
    return (f"{value:.17g}" for value in values.tolist())
