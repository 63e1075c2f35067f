"""What programs that run models find in blocks: functions of distances and of densities, whatever block they are of."""

from __future__ import annotations

from dataclasses import dataclass

from hamfit.features.manybody_round import Round
from hamfit.features.radial import RadialFeatures
from hamfit.graphs import AbstractGraph, CutoffGraph
from hamfit.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PairFunctions:
    """E = 1/2 sum over edges of sum_k theta_k phi_k(r)."""

    radial: RadialFeatures
    """phi_k of each channel."""
    graph: AbstractGraph
    """The edges."""


@dataclass(frozen=True, slots=True, eq=False)
class DensityFunctions:
    """E = sum_i F(rho_i), rho_i a sum over the neighbours of i: a round of message passing with one density."""

    layer: Round
    """The round, of l_max 0 and one radial function."""
    graph: CutoffGraph
    """The neighbours."""
    extent: FloatArray
    """Shortest and longest distance of training, (C, 2)."""
