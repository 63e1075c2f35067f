"""A first look at the data: a few frames that stand for all.

The frames are spread evenly over all trajectories, their number is bounded by particles, so that a survey takes a
second at most whatever the size of the data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hamfit.data import Dataset
from hamfit.features.survey import SURVEY_CENTRES, Survey
from hamfit.frames import Frame

FEWEST_FRAMES, _MOST_FRAMES = 4, 200
#: Particles evaluated for the constant of the energy; beyond, only frames of a new composition.
_ENERGY_PARTICLES = 5000


def few_energy_frames(found: Survey) -> tuple[Frame, ...]:
    """Frames of known potential energy, as many as are quickly evaluated, at least one of each composition."""
    out: list[Frame] = []
    compositions: set[bytes] = set()
    particles = 0
    for frame in found.frames:
        if frame.potential_energy is None:
            continue
        composition = np.bincount(frame.species, minlength=len(frame.labels)).tobytes()
        if particles < _ENERGY_PARTICLES or composition not in compositions:
            out.append(frame)
            compositions.add(composition)
            particles += frame.n_particles
    return tuple(out)


def survey(datasets: Sequence[Dataset], labels: tuple[str, ...], bond_labels: tuple[str, ...]) -> Survey:
    """Read frames spread evenly over all trajectories of all datasets."""
    places = [
        (dataset, trajectory, index)
        for dataset in datasets
        for trajectory in dataset.trajectories
        for index in range(trajectory.n_frames)
    ]
    mean_particles = max(1, sum(t.n_particles for _, t, _ in places) // max(1, len(places)))
    count = min(len(places), _MOST_FRAMES, max(FEWEST_FRAMES, -(-SURVEY_CENTRES // mean_particles)))
    chosen = np.unique(np.linspace(0, max(len(places) - 1, 0), count).round().astype(np.int64))
    known = [k for k, (_, trajectory, _) in enumerate(places) if trajectory.has_energies]
    if known and not np.isin(chosen, known).any():
        # a single known energy fixes the constant, wherever it is
        chosen = np.sort(np.append(chosen, known[0]))
    looked_at = [places[k] for k in chosen]
    return Survey(
        frames=tuple(t.frame(index).relabel(labels, bond_labels) for _, t, index in looked_at),
        places=tuple((str(dataset.path), t.name, index) for dataset, t, index in looked_at),
    )
