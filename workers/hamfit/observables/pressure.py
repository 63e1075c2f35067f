"""Pressure and temperature of a frame, from momenta and the virial.

P = (sum |p|^2 / m + trace W) / (d volume) with W_ab = -dV/d(eps_ab) under a strain of positions and box; for pair
forces trace W = sum over pairs of r . F. The momenta are those of the frame itself, so that kinetic and potential part
fluctuate together.
"""

from __future__ import annotations

import numpy as np

from hamfit.errors import DataError
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.observables.state import momenta, volume_of
from hamfit.types import FloatArray


def twice_kinetic_energy(frame: Frame) -> float:
    """sum |p|^2 / m; DataError for a frame without momenta."""
    p = momenta(frame)
    if p is None:
        raise DataError("the frame has no momenta, which temperature and pressure need: give velocities")
    return float(np.sum(p * p / frame.masses[:, None]))


def temperature(frame: Frame) -> float:
    """Kinetic temperature k T in the data's energy unit: sum |p|^2 / m / (d (N - 1)), the total momentum being
    conserved; DataError for a frame without momenta."""
    return twice_kinetic_energy(frame) / (frame.dim * max(frame.n_particles - 1, 1))


def pressure_from_virial(frame: Frame, virial: FloatArray) -> float:
    """Pressure of a frame whose virial W (d, d) is known, in energy per volume of the data's units.

    Raises DataError for a frame without momenta, or one that is not periodic in all its directions.
    """
    if not all(frame.periodic):
        raise DataError("the frame is open in some direction, so it has no volume: pressure needs periodic data")
    return (twice_kinetic_energy(frame) + float(np.trace(virial))) / (frame.dim * volume_of(frame))


def pressure(model: Model, frame: Frame) -> float:
    """Pressure of a frame under the model's potential, in energy per volume of the data's units.

    Raises DataError as `pressure_from_virial`, ModelError when the model has no virial (a field block) or does not
    fit the frame.
    """
    virial = model.potential(frame).virial
    assert virial is not None
    return pressure_from_virial(frame, virial)
