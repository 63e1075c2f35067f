"""The functions of an embedded-atom model, and their derivatives, as LAMMPS's eam styles want them.

The functions are those of ``inference.density``: E = sum_i F_s(rho_i) + half the sum over pairs of phi(r), with
rho_i = sum_j g_st(r_ij). Two freedoms of that form are used:

- rho may be scaled, g -> a g and F(rho) -> F(rho / a): a makes the mean density of the training data 1, and positive.
- A term k rho of F is a pair term k g. It is moved there so that F' vanishes at the mean density. In a fit large parts
  of F and phi may cancel; so they do here, and not in the program that reads the tables.
"""

from __future__ import annotations

import numpy as np

from hamfit.errors import ModelError
from hamfit.features.curves import RadialCurve
from hamfit.features.manybody_round import Round
from hamfit.features.pieces import Function, Slope, weighted_sum
from hamfit.graphs.channels import pair_channels
from hamfit.inference.density import density_slope
from hamfit.inference.embedding import Embedding
from hamfit.types import FloatArray

#: A density this many standard deviations from the mean of the training data must still be positive.
_SPREAD = 8.0
#: Densities this many standard deviations from the mean count for the error: one particle in 16,000 is further off.
_JUDGED = 4.0


class ScaledEmbedding:
    """F of one species as a function of x = rho / (mean rho of the training data), less the part moved to pairs."""

    def __init__(self, layer: Round, theta: FloatArray, s: int, label: str) -> None:
        self._plain = Embedding.of(layer, theta, s, moves=True)
        mean, deviation = self._plain.mean, self._plain.deviation
        if mean == 0.0:
            raise ModelError(f"the training data hold no neighbours of species {label}: fit data that do")
        spread = deviation / abs(mean)
        has_one_sign = np.all(layer.mixing[s] >= 0.0) or np.all(layer.mixing[s] <= 0.0)
        if _SPREAD * spread >= 1.0 and not has_one_sign:
            raise ModelError(
                f"the density of species {label} is {mean:.3g} with a spread of {deviation:.3g} in the"
                " training data, so it may change its sign, which eam files do not allow: fit again with another seed"
            )
        self.seen = (max(0.0, 1.0 - _JUDGED * spread), 1.0 + _JUDGED * spread)
        """Range of x in which the interpolation is judged."""
        self.scale = deviation / mean
        """Factor that makes densities in standard deviations into x."""
        self.high = max(2.0, 1.0 + 3.0 * _SPREAD * spread)
        """Greatest x of the table; LAMMPS goes on from there with constant slope."""
        self.moved = self._plain.moved / self.scale
        """dF/dx at the mean density: the coefficient k of the term that became k g."""

    def value(self, x: float) -> float:
        """F at x."""
        return float(self._plain.value(self._plain.shift + np.array([x - 1.0]) / self.scale)[0])

    def slope(self, x: FloatArray) -> FloatArray:
        """dF/dx at x (k,)."""
        return self._plain.slope(self._plain.shift + (x - 1.0) / self.scale) / self.scale


def distance_functions(
    layer: Round,
    embeddings: list[ScaledEmbedding],
    labels: tuple[str, ...],
    pair: RadialCurve | None,
) -> tuple[dict[tuple[int, int], Function], dict[tuple[int, int], Function]]:
    """The densities g_st, and the pair functions phi_st (s >= t); pairs that do not interact are left out.

    Their ends are half the shortest distance of the training data, below which the slope stays what it is there, that
    distance, and the cutoff, where they vanish. pair: the curve of a pair block beside the density. Raises ModelError
    for pair forces that jump at a cutoff which is not the greatest.
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
                channel = int(channels[s, t])
                seen = min(seen, float(np.nan_to_num(pair.extent[channel, 0], nan=seen)))
                if pair.radial.tapers[channel] == "shift" and cutoff < largest:
                    raise ModelError(
                        f"the force between {labels[s]} and {labels[t]} jumps at {cutoff:g}, before the greatest cutoff"
                        f" {largest:g}, and eam files hold one cutoff: fit with a smooth taper or one cutoff"
                    )
            densities[s, t] = _function([(embeddings[s].scale, density_slope(layer, s, t))], seen, cutoff)
    for (s, t), density in densities.items():
        if s >= t:
            terms = [(embeddings[s].moved, density.slope), (embeddings[t].moved, densities[t, s].slope)]
            if pair is not None:
                terms.append((1.0, _curve_slope(pair, int(channels[s, t]))))
            _, seen, cutoff = density.ends
            pairs[s, t] = _function(terms, min(seen, densities[t, s].ends[1]), cutoff)
    return densities, pairs


def _function(terms: list[tuple[float, Slope]], seen: float, cutoff: float) -> Function:
    return Function(weighted_sum(terms), (0.5 * seen, seen, cutoff), anchor=-1, known=0.0, input_map="r")


def _curve_slope(curve: RadialCurve, channel: int) -> Slope:
    return lambda r: r * curve(r, np.full(r.size, channel, dtype=np.int64))[1]
