"""What a bounded sample of frames tells: forces beside those of the reference, and distances never seen in training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hamfit.data import Dataset
from hamfit.errors import GraphError
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.types import FloatArray

FORCE_FRAMES = 8
EXTRAPOLATION_FRAMES = 64
MOST_POINTS = 4000
"""Force components kept for the plot; errors are over all components of the sample."""


@dataclass(frozen=True, slots=True, eq=False)
class ForceSample:
    """Forces of the reference and of the model at the same positions."""

    true: FloatArray
    """Components stored with the reference, (n,)."""
    learned: FloatArray
    """The same components of the model, (n,)."""
    relative_error: float
    """||learned - true|| / ||true|| over all components of the sampled frames."""
    n_frames: int
    """Frames sampled."""


def sampled_frames(dataset: Dataset, most: int) -> Iterator[Frame]:
    """At most so many frames, spread evenly over all frames of all trajectories."""
    ends = np.cumsum([trajectory.n_frames for trajectory in dataset.trajectories])
    wanted = np.unique(np.linspace(0, ends[-1] - 1, min(most, int(ends[-1]))).round().astype(np.int64))
    for place in wanted.tolist():
        number = int(np.searchsorted(ends, place, side="right"))
        trajectory = dataset.trajectories[number]
        yield trajectory.frame(place - int(ends[number]) + trajectory.n_frames)


def force_sample(model: Model, reference: Dataset) -> ForceSample | None:
    """Forces at some frames of the reference; None where it stores none, or the model has none."""
    if not any(block.part == "force" for block in model.blocks):
        return None
    true, learned = [], []
    for frame in sampled_frames(reference, FORCE_FRAMES):
        if frame.pdot is not None:
            true.append(frame.pdot.ravel())
            learned.append(model.forces(frame).ravel())
    if not true:
        return None
    one, two = np.concatenate(true), np.concatenate(learned)
    size = float(np.linalg.norm(one))
    error = float(np.linalg.norm(two - one)) / (size if size > 0.0 else 1.0)
    # every k-th component, k prime to the number of axes or not, would favour one axis: draw instead
    kept = np.sort(np.random.default_rng(0).permutation(one.size)[:MOST_POINTS])
    return ForceSample(one[kept], two[kept], error, len(true))


def extrapolated_share(model: Model, rollouts: Dataset) -> float | None:
    """Share of edges of sampled rollout frames whose length training never saw; None where no block has edges.

    Frames whose graph cannot be made (a rollout that ran away) are left out.
    """
    outside = total = 0
    for frame in sampled_frames(rollouts, EXTRAPOLATION_FRAMES):
        try:
            few, many = model.extrapolated(frame)
        except GraphError:
            continue
        outside, total = outside + few, total + many
    return outside / total if total else None
