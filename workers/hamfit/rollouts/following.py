"""Rollouts that follow a reference: same starts, frames at the same times, for a comparison frame by frame."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hamfit.data import Dataset
from hamfit.errors import DataError, SpecError
from hamfit.graphs import CutoffGraph
from hamfit.model import Model
from hamfit.progress import Progress, silent
from hamfit.rollouts.driver import RolloutResult, rollout
from hamfit.rollouts.options import IntegratorName, RolloutOptions
from hamfit.rollouts.plan import make_plan
from hamfit.rollouts.starts import initial_states

if TYPE_CHECKING:
    from distributed import Client

#: Relative difference between two intervals of time at which frames count as evenly spaced.
_EVENLY = 1e-6


def smooth_integrator(model: Model) -> IntegratorName:
    """Order 8 for models without a cutoff; Verlet where forces end at one, beyond which no order is kept."""
    return "verlet" if any(isinstance(block.graph, CutoffGraph) for block in model.blocks) else "kahanli8"


def follow(
    model: Model | str | Path,
    reference: Dataset | str | Path,
    *,
    out: str | Path,
    dt: float | None = None,
    integrator: IntegratorName | None = None,
    client: Client | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
    **changes: Any,
) -> RolloutResult:
    """Run a model from the first frame of every trajectory, storing a state for every later frame.

    Args:
        model: a fitted model or its path.
        reference: trajectories with velocities and evenly spaced times, alike in all of them.
        out: where the trajectories go.
        dt: largest step; a whole number of steps fits between two frames. By default half of what a rollout would
            propose, so that the integrator's error stays below what is to be seen of the model's.
        integrator: by default ``smooth_integrator``.
        client: run on this Dask cluster.
        progress: listens to events.
        overwrite: replace what is at ``out``.
        changes: further options of a rollout (``threads``, ``workers``, ``checkpoint_seconds``).

    Raises:
        DataError: the reference has no velocities or too few frames, or its times are unknown or not evenly spaced.
        SpecError, ModelError, StoreError, RolloutError: as ``rollout``.

    """
    opened = model if isinstance(model, Model) else Model.open(model)
    dataset = reference if isinstance(reference, Dataset) else Dataset.open(reference)
    if dt is not None and not (math.isfinite(dt) and dt > 0.0):
        raise SpecError(f"dt is {dt:g}, where a rollout along a reference goes forwards: give a finite number above 0")
    interval, n_frames = _spacing(dataset)
    method = integrator or smooth_integrator(opened)
    if dt is None:
        options = RolloutOptions.build({"steps": 1, "integrator": method, **changes})
        dt = 0.5 * make_plan(opened, initial_states(opened, dataset, options), options)[0].dt
    # two intervals that differ by rounding are one
    between = max(1, math.ceil(interval / abs(dt) * (1.0 - 1e-9)))
    return rollout(
        opened,
        dataset,
        out=out,
        client=client,
        progress=progress,
        overwrite=overwrite,
        steps=between * (n_frames - 1),
        every=between,
        dt=interval / between,
        integrator=method,
        **changes,
    )


def _spacing(dataset: Dataset) -> tuple[float, int]:
    """Time between two frames, and the number of frames of the longest trajectory."""
    intervals = []
    for trajectory in dataset.trajectories:
        where = f"{dataset.path}, trajectory {trajectory.name}"
        if trajectory.n_frames < 2:
            raise DataError(f"{where}: has one frame, so there is nothing to follow: use data with more")
        if not trajectory.has_momenta:
            raise DataError(f"{where}: has no velocities to start with: use data that have them")
        if not trajectory.has_time:
            raise DataError(f"{where}: the times of its frames are unknown: ingest it with --dt")
        intervals.append(np.diff(trajectory.time))
    every = np.concatenate(intervals)
    interval = float(np.median(every))
    if float(np.abs(every / interval - 1.0).max()) > _EVENLY:
        raise DataError(
            f"{dataset.path}: frames are {every.min():g} to {every.max():g} apart in time, where a rollout needs one"
            " interval: use trajectories with evenly spaced frames"
        )
    return interval, max(t.n_frames for t in dataset.trajectories)
