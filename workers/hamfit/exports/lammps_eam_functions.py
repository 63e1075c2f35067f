"""The functions of an embedded-atom model, and their derivatives, as a one-density many-body block holds them.

With l_max = 0 and one radial function the many-body block is an embedded-atom model: E = sum_i F_s(rho_i) + half the
sum over pairs of phi(r), with rho_i = sum_j g_st(r_ij) (Daw and Baskes, Phys. Rev. B 29, 6443 (1984); g depends on the
species s of the centre and t of the neighbour: Finnis and Sinclair, Phil. Mag. A 50, 45 (1984)). Two freedoms of that
form are used:

- rho may be scaled, g -> a g and F(rho) -> F(rho / a): a makes the mean density of the training data 1, and positive.
- A term k rho of F is a pair term k g. It is moved there so that F' vanishes at the mean density. In a fit large parts
  of F and phi may cancel; so they do here, and not in the program that reads the tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hamfit.errors import ModelError
from hamfit.features.curves import RadialCurve
from hamfit.features.manybody_round import Round
from hamfit.graphs.channels import pair_channels
from hamfit.types import FloatArray

#: A density this many standard deviations from the mean of the training data must still be positive.
_SPREAD = 8.0
#: Densities this many standard deviations from the mean count for the error: one particle in 16,000 is further off.
_JUDGED = 4.0

Slope = Callable[[FloatArray], FloatArray]
"""Distances (k,) to the derivative of a function there, (k,)."""


class Embedding:
    """F of one species as a function of x = rho / (mean rho of the training data), less the part moved to pairs."""

    def __init__(self, layer: Round, theta: FloatArray, s: int, label: str) -> None:
        self._mean, self._deviation = float(layer.mean[s, 0]), float(layer.deviation[s, 0])
        if self._mean == 0.0:
            raise ModelError(f"the training data hold no neighbours of species {label}: fit data that do")
        spread = self._deviation / abs(self._mean)
        has_one_sign = np.all(layer.mixing[s] >= 0.0) or np.all(layer.mixing[s] <= 0.0)
        if _SPREAD * spread >= 1.0 and not has_one_sign:
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
class DistanceFunction:
    """A function of the distance that vanishes at its cutoff, known by its derivative."""

    slope: Slope
    """Its derivative."""
    low: float
    """Below this distance the slope stays what it is there."""
    seen: float
    """Shortest distance of the training data."""
    cutoff: float
    """Distance where it vanishes."""


def distance_functions(
    layer: Round, embeddings: list[Embedding], labels: tuple[str, ...], pair: tuple[RadialCurve, FloatArray] | None
) -> tuple[dict[tuple[int, int], DistanceFunction], dict[tuple[int, int], DistanceFunction]]:
    """The densities g_st, and the pair functions phi_st (s >= t); pairs that do not interact are left out.

    pair: the curve of a pair block beside the density, and the distances seen in training, (channels, 2). Raises
    ModelError for pair forces that jump at a cutoff which is not the greatest.
    """
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
            densities[s, t] = DistanceFunction(
                _density_slope(layer, s, t, embeddings[s].scale), 0.5 * seen, seen, cutoff
            )
    for (s, t), density in densities.items():
        if s >= t:
            terms = [(embeddings[s].moved, density.slope), (embeddings[t].moved, densities[t, s].slope)]
            if pair is not None:
                terms.append((1.0, _curve_slope(pair[0], int(channels[s, t]))))
            low, seen = (min(getattr(density, name), getattr(densities[t, s], name)) for name in ("low", "seen"))
            pairs[s, t] = DistanceFunction(_sum(terms), low, seen, density.cutoff)
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
