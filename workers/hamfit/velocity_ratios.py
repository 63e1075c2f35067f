"""Velocity over momentum: where it is one number, a model's kinetic energy is |p|^2 / 2m, and the number is 1 / m.

The kinetic block learns T(p) from velocities. How much the ratio may vary for T to count as |p|^2 / 2m is for those to
say who need it: compiled steps multiply momenta by it, other programs know nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.model import Model
from hamfit.types import FloatArray

_MOMENTA = 257


@dataclass(frozen=True, slots=True, eq=False)
class VelocityRatios:
    """(dT/dp) / p of every species over a range of momenta; nan for species that were never seen moving."""

    ratio: FloatArray
    """Its median, (S,)."""
    spread: FloatArray
    """Its largest relative difference from the median, (S,): 0 means exactly |p|^2 / 2m."""


def velocity_ratios(model: Model, *, reach: float = 1.0) -> VelocityRatios | None:
    """The ratios up to ``reach`` times the largest momentum of the training; None for a model without velocities."""
    moving = [(b, t) for b, t in zip(model.blocks, model.theta, strict=True) if b.part == "velocity"]
    if not moving:
        return None
    block, theta = moving[0]
    radial, n_species = block.momentum_functions, len(model.labels)
    if radial is None or len(moving) > 1:
        # of what is more than functions of |p|, or several blocks together, nothing is known
        return VelocityRatios(np.full(n_species, np.nan), np.full(n_species, np.inf))
    ratio, spread = np.full((2, n_species), np.nan)
    for s, (low, high) in enumerate(model.extent_of(block, radial.n_channels)):
        if not (np.isfinite([low, high]).all() and high > 0.0):
            continue
        p = np.linspace(low + 1e-3 * (high - low), reach * high, _MOMENTA)
        slopes = radial.slopes_over_r(s, p) @ theta[radial.columns(s)]
        ratio[s] = np.median(slopes)
        spread[s] = np.abs(slopes / ratio[s] - 1.0).max() if ratio[s] != 0.0 else np.inf
    return VelocityRatios(ratio, spread)
