from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hamfit.errors import DataError
from hamfit.fitting import FitResult
from hamfit.observables.pressure import pressure, pressure_from_virial, temperature
from worlds import liquids


def test_pressure_is_minus_the_slope_of_the_energy_with_volume(binary_fit: FitResult) -> None:
    model, frame = binary_fit.model, liquids(3, 1, n_species=2)[0]
    assert frame.box is not None
    assert frame.p is not None
    box, p = frame.box, frame.p

    def energy(volume: float) -> float:
        # positions grow with the box and momenta shrink: the adiabatic strain whose work is -P dV
        scale = (volume / np.linalg.det(box)) ** (1 / 3)
        return model.energy(replace(frame, q=scale * frame.q, box=scale * box, p=p / scale, qdot=None))

    volume, step = float(np.linalg.det(box)), 1e-4
    slope = (energy(volume + step) - energy(volume - step)) / (2 * step)
    assert pressure(model, frame) == pytest.approx(-slope, rel=1e-6)


def test_an_ideal_gas_has_the_pressure_of_its_temperature() -> None:
    frame = liquids(3, 1, n_species=2)[0]
    assert frame.p is not None
    assert frame.box is not None
    twice = sum(float(p @ p) / m for p, m in zip(frame.p, frame.masses, strict=True))
    assert temperature(frame) == pytest.approx(twice / (3 * 26), rel=1e-14)
    volume = float(np.linalg.det(frame.box))
    assert pressure_from_virial(frame, np.zeros((3, 3))) == pytest.approx(twice / 3 / volume, rel=1e-14)
    virial = np.array([[1.0, 9.0, 9.0], [9.0, 2.0, 9.0], [9.0, 9.0, 4.0]])
    more = pressure_from_virial(frame, virial) - pressure_from_virial(frame, np.zeros((3, 3)))
    assert more == pytest.approx(7.0 / (3.0 * volume), rel=1e-12)


def test_open_frames_and_frames_at_unknown_speed_have_no_pressure(binary_fit: FitResult) -> None:
    frame = liquids(3, 1, n_species=2)[0]
    with pytest.raises(DataError, match="no momenta, which temperature and pressure need"):
        pressure(binary_fit.model, replace(frame, p=None, qdot=None))
    with pytest.raises(DataError, match="open in some direction, so it has no volume"):
        pressure(binary_fit.model, replace(frame, periodic=(False, True, True)))
