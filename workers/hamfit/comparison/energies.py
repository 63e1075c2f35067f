"""The energies that Herr compares: those of the true Hamiltonian where it is known, else the stored ones.

For a dataset made by `simulate` the true potential is rebuilt from its options, and H is evaluated with it on both
trajectories, as the benchmark does. For other data the best there is are the potential energies stored with the
reference and those the learned model gives along the rollout; Herr then also holds the error of the learned energy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.observables.pressure import twice_kinetic_energy
from hamfit.observables.state import momenta
from hamfit.systems.truth import Truth

EnergySource = Literal["true", "stored"]
"""Whose H is compared: that of the true potential, or the stored potential energies."""


@dataclass(frozen=True, slots=True, eq=False)
class Energies:
    """H along a reference trajectory and along its rollout."""

    of_reference: Callable[[Frame], float]
    """H of a frame of the reference; nan where it is unknown."""
    of_rollout: Callable[[Frame], float]
    """H of a frame of the rollout; nan where it is unknown."""
    aligned: bool = False
    """Whether the constant of the latter had to be taken from the first frame."""


def true_energies(truth: Truth, frame: Frame) -> Energies:
    """The true H of both; one potential, to be made anew for each trajectory."""
    potential = truth.potential(frame)

    def energy(frame: Frame) -> float:
        if not np.isfinite(frame.q).all() or momenta(frame) is None:
            return np.nan
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return float(potential.energy(frame.q)) + 0.5 * twice_kinetic_energy(frame)

    return Energies(energy, energy)


def stored_energies(model: Model, first: Frame, first_rolled: Frame) -> Energies:
    """Stored potential energies, and the learned H, whose first is set to theirs where the constants are unknown."""

    def stored(frame: Frame) -> float:
        if frame.potential_energy is None or momenta(frame) is None:
            return np.nan
        return frame.potential_energy + 0.5 * twice_kinetic_energy(frame)

    def learned(frame: Frame) -> float:
        return sum(learned_parts(model, frame))

    if not np.isnan(model.constants[model.adapt(first).species]).any():
        return Energies(stored, learned)
    shift = stored(first) - learned(first_rolled)
    return Energies(stored, lambda frame: learned(frame) + shift, aligned=True)


def learned_parts(model: Model, frame: Frame) -> tuple[float, float]:
    """The learned V, stored by the rollout or else from the model, and the learned T; nan for both without momenta."""
    if frame.p is None:
        return np.nan, np.nan
    potential = model.potential_energy(frame) if frame.potential_energy is None else frame.potential_energy
    with np.errstate(over="ignore", invalid="ignore"):
        return potential, model.kinetic_energy(frame)
