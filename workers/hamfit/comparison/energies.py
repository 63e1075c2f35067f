"""The energies that Herr compares: those of the true Hamiltonian where it is known, else the stored ones.

For a dataset made by `simulate` the true potential is rebuilt from its options, and H is evaluated with it on both
trajectories, as the benchmark does. For other data the best there is are the potential energies stored with the
reference and those the learned model gives along the rollout; Herr then also holds the error of the learned energy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np

from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.observables.pressure import twice_kinetic_energy
from hamfit.systems.potentials import AbstractPotential
from hamfit.systems.truth import Truth

EnergySource = Literal["true", "stored"]
"""Whose H is compared: that of the true potential, or the stored potential energies."""


class AbstractEnergies(ABC):
    """H along a reference trajectory and along its rollout."""

    source: EnergySource

    @abstractmethod
    def of_reference(self, frame: Frame) -> float:
        """H of a frame of the reference; nan where it is unknown."""

    @abstractmethod
    def of_rollout(self, frame: Frame) -> float:
        """H of a frame of the rollout; nan where it is unknown."""


class TrueEnergies(AbstractEnergies):
    """One potential for both; make one object for each trajectory."""

    source: EnergySource = "true"

    def __init__(self, truth: Truth, frame: Frame) -> None:
        self._potential: AbstractPotential = truth.potential(frame)

    def of_reference(self, frame: Frame) -> float:
        """The true H of the frame."""
        if not np.isfinite(frame.q).all():
            return np.nan
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return float(self._potential.energy(frame.q)) + 0.5 * twice_kinetic_energy(frame)

    def of_rollout(self, frame: Frame) -> float:
        """The true H of the frame."""
        return self.of_reference(frame)


class StoredEnergies(AbstractEnergies):
    """Stored potential energies; where the model's constants are unknown its first energy is set to the reference's."""

    source: EnergySource = "stored"

    def __init__(self, model: Model, first: Frame, first_rolled: Frame) -> None:
        self._model = model
        used = model.constants[model.adapt(first).species]
        self.aligned = bool(np.isnan(used).any())
        """Whether the constant had to be taken from the first frame."""
        self._shift = 0.0
        if self.aligned:
            self._shift = self.of_reference(first) - self.of_rollout(first_rolled)

    def of_reference(self, frame: Frame) -> float:
        """Stored potential energy, and |p|^2 / 2m."""
        if frame.potential_energy is None:
            return np.nan
        return frame.potential_energy + 0.5 * twice_kinetic_energy(frame)

    def of_rollout(self, frame: Frame) -> float:
        """The learned H of the frame."""
        return learned_energy(self._model, frame) + self._shift


def learned_energy(model: Model, frame: Frame) -> float:
    """The learned H, from the potential energy that the rollout stored or else the model; nan without momenta."""
    potential, kinetic = learned_parts(model, frame)
    return potential + kinetic


def learned_parts(model: Model, frame: Frame) -> tuple[float, float]:
    """The learned V, stored by the rollout or else from the model, and the learned T; nan for both without momenta."""
    if frame.p is None:
        return np.nan, np.nan
    potential = model.potential_energy(frame) if frame.potential_energy is None else frame.potential_energy
    with np.errstate(over="ignore", invalid="ignore"):
        return potential, model.kinetic_energy(frame)
