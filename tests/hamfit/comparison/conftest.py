"""A model of the n-spring ring, its reference trajectories and its rollouts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hamfit.data import Dataset
from hamfit.fitting import fit
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.systems import simulate
from rolled import roll_all


@dataclass(frozen=True)
class Ring:
    """Rings of five springs."""

    model: Model
    reference: Dataset
    rollouts: Dataset


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    """Three rings, rolled out with a coarse step from frames 0 and 4."""
    folder = tmp_path_factory.mktemp("ring")
    seen = simulate("nspring", folder / "seen", n_trajectories=6, n_frames=20, width=2.2)
    model = fit(seen, options=FitOptions(features=16, threads=1, checkpoint=False)).model
    reference = simulate("nspring", folder / "reference", n_trajectories=3, n_frames=20, seed=7)
    rollouts = roll_all(folder / "rollouts", model, reference, dt=0.01, steps=150, every=5, starts=(0, 4))
    return Ring(model, reference, rollouts)
