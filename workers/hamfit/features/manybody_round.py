"""One round of message passing as data, and its forward pass.

``Round`` holds everything sampled as plain arrays, so that a block is data plus the code that applies it.
A further round would be another ``Round`` whose edges also carry the features of the neighbours from the
round before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.features.manybody_moments import bump_moments, invariants, mix
from hamfit.features.manybody_radial import RadialBumps
from hamfit.graphs import Edges
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """How neighbours are summed, standardised and turned into sampled features, for each species of centre.

    Columns of the block are the tanh features of all species, then the direct links of each species.
    """

    l_max: int
    """Highest rank of angular moments, 0 to 3."""
    radial: RadialBumps
    """Bumps in the distance."""
    mixing: FloatArray
    """Mixtures g_c of the bumps for each species of centre, (S, S*B, n_radial)."""
    mean: FloatArray
    """Mean of each invariant over the sample, per species of centre, (S, n_invariants)."""
    deviation: FloatArray
    """Standard deviation of the same, 1 where an invariant never varied, (S, n_invariants)."""
    weights: FloatArray
    """Hidden weights for standardised invariants, (n_invariants, n_features), columns grouped by species."""
    bias: FloatArray
    """Hidden biases, (n_features,)."""
    first: IntArray
    """Features of species s are columns first[s] to first[s + 1], (S + 1,)."""
    direct_links: bool
    """Whether the standardised invariants are columns too."""

    @property
    def n_species(self) -> int:
        """Number of species S."""
        return int(self.mean.shape[0])

    @property
    def n_features(self) -> int:
        """Number of tanh features."""
        return int(self.bias.size)

    @property
    def n_invariants(self) -> int:
        """Number of invariants of one environment."""
        return int(self.mean.shape[1])

    @property
    def n_columns(self) -> int:
        """tanh features and direct links together."""
        return self.n_features + (self.n_species * self.n_invariants if self.direct_links else 0)

    def columns(self, species: int) -> slice:
        """Columns of the tanh features of one species."""
        return slice(int(self.first[species]), int(self.first[species + 1]))

    def direct(self, species: int) -> slice:
        """Columns of the direct links of one species; empty when there are none."""
        width = self.n_invariants if self.direct_links else 0
        start = self.n_features + species * width
        return slice(start, start + width)

    def environments(self, edges: Edges, centres: IntArray, species: IntArray) -> tuple[FloatArray, FloatArray]:
        """Mixed moments (C, M, n_radial) and standardised invariants (C, n_invariants) of the centres.

        ``edges`` are those of ``centres`` (C,); ``species`` (N,) is of all particles.
        """
        own = species[centres]
        moments = mix(bump_moments(edges, centres, species, self.radial, self.l_max), self.mixing, own)
        values = invariants(moments, self.l_max)
        return moments, (values - self.mean[own]) / self.deviation[own]

    def hidden(self, standard: FloatArray, species: IntArray) -> dict[int, tuple[IntArray, FloatArray]]:
        """For each species present: the environments it has, and their tanh features (n, own features)."""
        result = {}
        for s in range(self.n_species):
            own = np.flatnonzero(species == s)
            if own.size:
                columns = self.columns(s)
                activation = standard[own] @ self.weights[:, columns] + self.bias[columns]
                result[s] = own, np.tanh(activation, out=activation)
        return result

    def pool(
        self, standard: FloatArray, species: IntArray, total: FloatArray
    ) -> dict[int, tuple[IntArray, FloatArray]]:
        """Add the features of all environments to ``total`` (n_columns,); returns their tanh as ``hidden`` does."""
        hidden = self.hidden(standard, species)
        for s, (own, tanh) in hidden.items():
            total[self.columns(s)] += tanh.sum(axis=0)
            if self.direct_links:
                total[self.direct(s)] += standard[own].sum(axis=0)
        return hidden

    def energy_slope(
        self, hidden: dict[int, tuple[IntArray, FloatArray]], species: IntArray, theta: FloatArray
    ) -> FloatArray:
        """dE/dI of every environment by its unstandardised invariants, (C, n_invariants)."""
        slope = np.zeros((species.size, self.n_invariants))
        for s, (own, tanh) in hidden.items():
            columns = self.columns(s)
            slope[own] = ((1.0 - tanh**2) * theta[columns]) @ self.weights[:, columns].T
            if self.direct_links:
                slope[own] += theta[self.direct(s)]
        return slope / self.deviation[species]
