"""How good a model is on data: errors of forces, velocities and energies, and how far it had to extrapolate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.data import Dataset, as_datasets
from hamfit.errors import DataError, located
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.types import FloatArray


def evaluate(model: Model | str | Path, data: Dataset | str | Path | Sequence[Dataset | str | Path]) -> dict[str, Any]:
    """Compare a model with every frame of some datasets.

    Returns a JSON-able dict. ``force`` and ``velocity`` are relative errors ||pred - true|| / ||true|| over all
    components of all frames; ``force_mae`` and ``force_rmse`` are per component in the data's units;
    ``energy_mae_per_particle`` is after the constant was fixed by these data; ``extrapolated_share`` is the share of
    edges outside the range seen in training, as ``Model.extrapolated`` counts them. A value is None
    where the data cannot tell.

    Raises ModelError when the data hold species, bond types or dimensions that the model does not know, and
    DataError when they hold neither forces nor velocities or are in other units.
    """
    if not isinstance(model, Model):
        model = Model.open(model)
    datasets = as_datasets(data)
    forces, velocities, energies = _Errors(), _Errors(), _Energies()
    outside = edges = frames = 0
    has_forces = any(block.part == "force" for block in model.blocks)
    for dataset in datasets:
        if dataset.units.name != model.units["name"]:
            raise DataError(
                f"{dataset.path} is in {dataset.units.name} units, the model in {model.units['name']}: ingest it alike"
            )
        for trajectory in dataset.trajectories:
            for start in range(0, trajectory.n_frames, 16):
                for index, stored in enumerate(trajectory.frames(start, min(start + 16, trajectory.n_frames)), start):
                    with located(dataset.path, trajectory.name, index):
                        frame = model.adapt(stored)
                        if frame.pdot is not None and has_forces:
                            forces.add(model.forces(frame), frame.pdot)
                        if frame.qdot is not None and frame.p is not None:
                            velocities.add(model.velocities(frame), frame.qdot)
                        energies.add(model, frame)
                        few, many = model.extrapolated(frame)
                    frames, outside, edges = frames + 1, outside + few, edges + many
    if forces.count == 0 and velocities.count == 0:
        raise DataError(f"{datasets[0].path} holds neither forces nor velocities to compare with: ingest them")
    return {
        "frames": frames,
        "units": dict(model.units),
        "force": forces.relative,
        "velocity": velocities.relative,
        "force_mae": forces.mean_absolute,
        "force_rmse": forces.root_mean_square,
        "energy_mae_per_particle": energies.mean_absolute(len(model.labels)),
        "extrapolated_share": outside / edges if edges else None,
    }


class _Errors:
    """Sums over the components of a vector field."""

    def __init__(self) -> None:
        self.count = 0
        self._square = self._size = self._absolute = 0.0

    def add(self, predicted: FloatArray, true: FloatArray) -> None:
        difference = predicted - true
        self.count += difference.size
        self._square += float(np.sum(difference**2))
        self._size += float(np.sum(true**2))
        self._absolute += float(np.sum(np.abs(difference)))

    @property
    def relative(self) -> float | None:
        if self.count == 0:
            return None
        return float(np.sqrt(self._square / self._size)) if self._size > 0.0 else float(np.sqrt(self._square))

    @property
    def mean_absolute(self) -> float | None:
        return self._absolute / self.count if self.count else None

    @property
    def root_mean_square(self) -> float | None:
        return float(np.sqrt(self._square / self.count)) if self.count else None


class _Energies:
    """Differences of energy, from which one constant for each species is taken before they are judged."""

    def __init__(self) -> None:
        self._differences: list[float] = []
        self._counts: list[np.ndarray] = []

    def add(self, model: Model, frame: Frame) -> None:
        if frame.potential_energy is None:
            return
        self._differences.append(model.potential_energy(frame) - frame.potential_energy)
        self._counts.append(np.bincount(frame.species, minlength=len(model.labels)))

    def mean_absolute(self, n_species: int) -> float | None:
        if not self._differences:
            return None
        counts = np.array(self._counts, dtype=np.float64).reshape(-1, n_species)
        difference = np.array(self._differences)
        shift = counts @ np.linalg.lstsq(counts, difference, rcond=None)[0]
        return float(np.mean(np.abs(difference - shift) / counts.sum(axis=1)))
