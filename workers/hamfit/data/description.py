"""A summary of a dataset for people and programs: what `hamfit info` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hamfit.data.dataset import Dataset, Trajectory

_LISTED = 20
"""Trajectories listed one by one; of the others only the sums are told."""


def describe(path: str | Path) -> dict[str, Any]:
    """JSON-able summary of the dataset at `path`; reads its manifest and the small arrays of some
    trajectories.

    Raises StoreError as `Dataset.open`.
    """
    dataset = Dataset.open(path)
    trajectories = dataset.trajectories
    counts = [t.n_particles for t in trajectories]
    return {
        "path": str(dataset.path),
        "digest": dataset.digest,
        "units": dataset.units.to_attrs(),
        "dim": dataset.dim,
        "labels": list(dataset.labels),
        "bond_labels": list(dataset.bond_labels),
        "n_trajectories": len(trajectories),
        "n_frames": dataset.n_frames,
        "n_particles": [min(counts), max(counts)],
        "n_bytes": dataset.n_bytes,
        "has": {
            field: sum(getattr(t, f"has_{field}") for t in trajectories)
            for field in ("momenta", "velocities", "forces", "energies", "time")
        },
        "trajectories": [_describe_trajectory(dataset, t) for t in trajectories[:_LISTED]],
        "n_trajectories_not_listed": max(0, len(trajectories) - _LISTED),
        "attrs": dataset.attrs,
    }


def _describe_trajectory(dataset: Dataset, trajectory: Trajectory) -> dict[str, Any]:
    numbers = np.bincount(trajectory.species, minlength=len(dataset.labels))
    time = trajectory.time
    return {
        "name": trajectory.name,
        "n_frames": trajectory.n_frames,
        "n_particles": trajectory.n_particles,
        "species": {label: int(k) for label, k in zip(dataset.labels, numbers, strict=True) if k},
        "periodic": list(trajectory.periodic),
        "fields": list(trajectory.fields),
        "n_bonds": 0 if trajectory.bonds is None else len(trajectory.bonds),
        "steps": [int(trajectory.step[0]), int(trajectory.step[-1])],
        "time": [float(time[0]), float(time[-1])] if trajectory.has_time else None,
        "attrs": trajectory.attrs,
    }
