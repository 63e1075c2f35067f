"""Rollouts for the tests, made by a plain leapfrog: what a rollout dataset looks like, whoever writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.data import Dataset, DatasetWriter
from hamfit.fitting import fit
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.systems import simulate
from hamfit.types import FloatArray


@dataclass
class Rolled:
    """One trajectory to be written, (T, N, d) each."""

    name: str
    start: Frame
    q: FloatArray
    v: FloatArray
    energy: FloatArray
    time: FloatArray
    attrs: dict[str, Any] = field(default_factory=dict)


def leapfrog(
    forces: Callable[[Frame], FloatArray], start: Frame, dt: float, steps: int, every: int
) -> tuple[FloatArray, FloatArray]:
    """Positions and velocities at every `every`-th step, the start included, (T, N, d) both."""
    q, v, mass = start.q.copy(), np.asarray(start.qdot).copy(), start.masses[:, None]
    force = forces(start)
    qs, vs = [q.copy()], [v.copy()]
    for step in range(1, steps + 1):
        v += 0.5 * dt * force / mass
        q += dt * v
        force = forces(replace(start, q=q))
        v += 0.5 * dt * force / mass
        if step % every == 0:
            qs.append(q.copy())
            vs.append(v.copy())
    return np.array(qs), np.array(vs)


def roll(model: Model, start: Frame, name: str, *, dt: float, steps: int, every: int, **origin: Any) -> Rolled:
    """A rollout of the model from a frame; `origin` is what it says of its start."""
    q, v = leapfrog(model.forces, start, dt, steps, every)
    energy = np.array([model.potential_energy(replace(start, q=x)) for x in q])
    return Rolled(name, start, q, v, energy, dt * every * np.arange(len(q)), {"rollout": origin} if origin else {})


def write_rollouts(path: Path, rollouts: Sequence[Rolled], *, units: str = "lj") -> Dataset:
    """A dataset of rollouts."""
    first = rollouts[0].start
    with DatasetWriter.create(path, units=units, labels=first.labels, bond_labels=first.bond_labels) as writer:
        for one in rollouts:
            writer.add_trajectory(
                one.name,
                q=one.q,
                species=one.start.species,
                masses=one.start.masses,
                box=one.start.box,
                periodic=one.start.periodic,
                velocity=one.v,
                potential_energy=one.energy,
                time=one.time,
                bonds=one.start.bonds,
                bond_types=one.start.bond_types,
                attrs=one.attrs,
            )
    return Dataset.open(path)


def roll_all(
    path: Path, model: Model, reference: Dataset, *, dt: float, steps: int, every: int, starts: Sequence[int] = (0,)
) -> Dataset:
    """Rollouts from the given frames of every trajectory of the reference."""
    rolled = []
    for trajectory in reference.trajectories:
        for frame in starts:
            origin = {"source": reference.digest, "trajectory": trajectory.name, "frame": frame, "replica": 0}
            name = f"{trajectory.name}.{frame}"
            rolled.append(roll(model, trajectory.frame(frame), name, dt=dt, steps=steps, every=every, **origin))
    return write_rollouts(path, rolled, units=reference.units.name)


@dataclass(frozen=True)
class Ring:
    """Rings of five springs: a model, reference trajectories, rollouts."""

    model: Model
    reference: Dataset
    rollouts: Dataset


def make_ring(folder: Path) -> Ring:
    """Three rings, rolled out with a coarse step from frames 0 and 4."""
    seen = simulate("nspring", folder / "seen", n_trajectories=6, n_frames=20, width=2.2)
    model = fit(seen, options=FitOptions(features=16, threads=1, checkpoint=False)).model
    reference = simulate("nspring", folder / "reference", n_trajectories=3, n_frames=20, seed=7)
    rollouts = roll_all(folder / "rollouts", model, reference, dt=0.01, steps=150, every=5, starts=(0, 4))
    return Ring(model, reference, rollouts)
