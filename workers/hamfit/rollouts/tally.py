"""What is summed up over the stored frames of a rollout: how well it conserves, and how far it leaves what was seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.inference import Observation
from hamfit.types import FloatArray


@dataclass(slots=True)
class Tally:
    """What is summed up over the stored frames of a rollout."""

    first_energy: float = 0.0
    """H at the start."""
    scale: float = 0.0
    """max(|H(0) - C|, T(0)), C the constants of the model, which change nothing: what drifts are relative to."""
    largest_kinetic_energy: float = 0.0
    """max_t T(t), which takes the place of a scale of zero."""
    energy_change: float = 0.0
    """max_t |H(t) - H(0)|."""
    momentum_change: float = 0.0
    """max_t |P(t) - P(0)|."""
    momentum_scale: float = 0.0
    """sum_i |p_i| at the start, or the largest since where that is more."""
    outside: int = 0
    """Pairs outside the range of distances seen in training, over all frames."""
    pairs: int = 0
    """Pairs that interact, over all frames."""

    @property
    def energy_drift(self) -> float:
        """Largest change of the energy, relative."""
        scale = self.scale or self.largest_kinetic_energy
        return self.energy_change / scale if scale > 0.0 else self.energy_change

    @property
    def momentum_drift(self) -> float:
        """Largest change of the total momentum, relative."""
        return self.momentum_change / self.momentum_scale if self.momentum_scale > 0.0 else self.momentum_change

    def add(
        self, seen: Observation, p: FloatArray, first_momentum: FloatArray, *, constant: float, start: bool
    ) -> None:
        """Take a frame into account; ``constant`` is C."""
        if start:
            self.first_energy = seen.energy
            self.scale = max(abs(seen.energy - constant), seen.kinetic_energy)
        self.largest_kinetic_energy = max(self.largest_kinetic_energy, seen.kinetic_energy)
        self.energy_change = max(self.energy_change, abs(seen.energy - self.first_energy))
        self.momentum_change = max(self.momentum_change, float(np.linalg.norm(p.sum(axis=0) - first_momentum)))
        self.momentum_scale = max(self.momentum_scale, float(np.linalg.norm(p, axis=1).sum()))
        self.outside += seen.outside
        self.pairs += seen.pairs
