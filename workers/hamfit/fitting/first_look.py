"""A first look at the data: a few frames that stand for all.

The frames are spread evenly over all trajectories, their number is bounded by particles, so that a survey takes a
second at most whatever the size of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hamfit.data import Dataset, Trajectory
from hamfit.features.survey import SURVEY_CENTRES, Survey
from hamfit.fitting.frame_rows import AbstractKind
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


def survey(
    datasets: Sequence[Dataset],
    labels: tuple[str, ...],
    bond_labels: tuple[str, ...],
    kinds: Sequence[AbstractKind] = (),
) -> Survey:
    """Read frames spread evenly over all trajectories of all datasets.

    Among them is one whose energy is known, where there is one, and two that state each of ``kinds``.
    """
    places = [
        (dataset, trajectory, index)
        for dataset in datasets
        for trajectory in dataset.trajectories
        for index in range(trajectory.n_frames)
    ]
    mean_particles = max(1, sum(t.n_particles for _, t, _ in places) // max(1, len(places)))
    count = min(len(places), _MOST_FRAMES, max(FEWEST_FRAMES, -(-SURVEY_CENTRES // mean_particles)))
    chosen = np.unique(np.linspace(0, max(len(places) - 1, 0), count).round().astype(np.int64))
    # a single known energy fixes the constant, wherever it is; the spread of what is stated shows in two
    fixing: tuple[int, Callable[[Trajectory], bool]] = (1, lambda trajectory: trajectory.has_energies)
    for wanted, states_it in [fixing, *((2, kind.is_known) for kind in kinds)]:
        known = [k for k, (_, trajectory, _) in enumerate(places) if states_it(trajectory)]
        if known and np.isin(chosen, known).sum() < wanted:
            chosen = np.union1d(chosen, [known[0], known[-1]][:wanted])
    looked_at = [places[k] for k in chosen]
    return Survey(
        frames=tuple(t.frame(index).relabel(labels, bond_labels) for _, t, index in looked_at),
        places=tuple((str(dataset.path), t.name, index) for dataset, t, index in looked_at),
    )
