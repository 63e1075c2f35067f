"""What every engine offers: a fixed set of particles under a fitted model, moved from frame to frame.

An engine is begun at a state and advanced by whole numbers of steps. Beginning makes everything anew from (q, p) alone:
cells, lists and forces. So a rollout that begins its engine at every frame it stores can be continued from that frame to the
same bits, and a checkpoint is nothing but (q, p).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from hamfit.errors import HamfitError
from hamfit.types import FloatArray


class BlewUp(HamfitError):
    """A state is no longer finite."""

    def __init__(self, step: int) -> None:
        super().__init__(f"positions are not finite after step {step}: take a smaller dt or a gentler start")
        self.step = step
        """Steps of the failed call that had been made."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What is known of a state beside its coordinates."""

    potential_energy: float
    """V(q), constants of the model included where they are known."""
    kinetic_energy: float
    """T(p)."""
    forces: FloatArray
    """-dV/dq, (N, d)."""
    virial: FloatArray | None
    """sum over pairs of d (x) f, minus the derivative of V by the strain, (d, d); None where it has no meaning."""
    outside: int
    """Pairs outside the range of distances seen in training."""
    pairs: int
    """Pairs that interact."""

    @property
    def energy(self) -> float:
        """H(q, p)."""
        return self.potential_energy + self.kinetic_energy


class AbstractEngine(ABC):
    """Moves N particles; not to be shared between threads."""

    description: str
    """How forces are computed, in words."""

    @abstractmethod
    def begin(self, q: FloatArray, p: FloatArray) -> Observation:
        """Start from unwrapped positions and momenta, (N, d) each.

        Raises GraphError, ModelError or DataError when the state does not fit the model.
        """

    @abstractmethod
    def advance(self, n_steps: int) -> None:
        """Make whole steps; raises BlewUp when the state is no longer finite."""

    @abstractmethod
    def state(self) -> tuple[FloatArray, FloatArray]:
        """Unwrapped positions and momenta, (N, d) each, as new arrays in the order of ``begin``."""

    def close(self) -> None:
        """Let go of threads; the engine is not used afterwards."""


def is_finite(q: FloatArray, p: FloatArray) -> bool:
    """Whether a state can go on."""
    return bool(np.isfinite(q).all() and np.isfinite(p).all())
