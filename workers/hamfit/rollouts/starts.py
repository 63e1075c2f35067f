"""Where rollouts start: stored frames, with their momenta or with thermal ones.

The plan of a run is a sequence of (trajectory, frame, replica) that takes no memory to speak of and pickles as the path
of its dataset; a worker reads a state when its turn comes. The thermal momenta of a state come from a generator of its
own, seeded by (seed, trajectory, frame, replica): they are the same alone or beside others, in any order.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from hamfit.data import Dataset
from hamfit.data.units import check_units_of_model
from hamfit.errors import DataError, ModelError, SpecError, located
from hamfit.frames import Frame
from hamfit.graphs import BondGraph
from hamfit.model import Model
from hamfit.rollouts.options import RolloutSpec
from hamfit.rollouts.selection import FrameSelection
from hamfit.types import FloatArray

QUADRATIC_TOLERANCE = 1e-3
"""Largest relative difference between a model's velocities and p / m at which momenta may be drawn as if equal.

The rms over the particles of a species. It changes the temperature by as much, far less than the fluctuations of any
system that is simulated, while a kinetic energy that truly differs from |p|^2 / 2m does so by percents."""


@dataclass(frozen=True, slots=True)
class StartPlan:
    """Which state to start from."""

    trajectory: int
    """Position of its trajectory in the dataset."""
    frame: int
    """Number of its frame there, from 0."""
    replica: int
    """Number of its copy with momenta of its own, from 0."""


@dataclass(frozen=True, slots=True, eq=False)
class InitialState:
    """A state to start from."""

    name: str
    """Unique among the states of a run, and fit to name a trajectory: run-3-frame-10-replica-2."""
    frame: Frame
    """Positions as stored, and momenta; forces, velocities and energy are left out, for they belong to the source."""
    trajectory: str
    """Name of the source trajectory."""
    frame_index: int
    """Number of the frame there."""
    replica: int
    """Number of the copy."""


class InitialStates:
    """The plans of all states, trajectory by trajectory, and the way to load one; see `initial_states`."""

    def __init__(self, model: Model, dataset: Dataset, options: RolloutSpec) -> None:
        self.dataset = dataset
        self._replicas, self._temperature, self._seed = options.replicas, options.temperature, options.seed
        selection = FrameSelection.parse(options.frames)
        self._frames = [selection.of(t.n_frames, f"{dataset.path}, trajectory {t.name}") for t in dataset.trajectories]
        self._ends = list(accumulate(len(frames) * options.replicas for frames in self._frames))
        self._conserved = model.conserves_momentum
        # Of the model only what checks the momenta: a factor of its covariance may take hundreds of megabytes.
        kinetic = [(b, t) for b, t in zip(model.blocks, model.theta, strict=True) if b.part == "velocity"]
        self._kinetic = replace(
            model,
            blocks=tuple(block for block, _ in kinetic),
            theta=tuple(theta for _, theta in kinetic),
            factors={},
            provenance={},
        )

    def __len__(self) -> int:
        return self._ends[-1]

    def __iter__(self) -> Iterator[StartPlan]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> StartPlan:
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(f"state {index} does not exist: there are {len(self)}")
        trajectory = bisect_right(self._ends, index)
        first = self._ends[trajectory - 1] if trajectory else 0
        frame, replica = divmod(index - first, self._replicas)
        return StartPlan(trajectory, self._frames[trajectory][frame], replica)

    def name(self, plan: StartPlan) -> str:
        """The name of a state, unique among these; nothing is read."""
        name = f"{self.dataset.trajectories[plan.trajectory].name}-frame-{plan.frame}"
        return name if self._replicas == 1 else f"{name}-replica-{plan.replica}"

    def load(self, plan: StartPlan) -> InitialState:
        """Read one state, and draw its momenta where a temperature was given.

        Raises:
            StoreError: the dataset is damaged.
            ModelError: the model's kinetic energy is not |p|^2 / 2m at the momenta drawn.

        """
        trajectory = self.dataset.trajectories[plan.trajectory]
        stored = trajectory.frame(plan.frame)
        p = stored.p
        if self._temperature is not None:
            entropy = [self._seed, plan.trajectory, plan.frame, plan.replica]
            rng = np.random.default_rng(np.random.SeedSequence(entropy))
            energy = self.dataset.units.boltzmann * self._temperature
            p = thermal_momenta(stored.masses, stored.dim, energy, rng, conserved=self._conserved)
        frame = replace(stored, p=p, qdot=None, pdot=None, potential_energy=None, stress=None)
        if self._temperature is not None:
            with located(self.dataset.path, trajectory.name, plan.frame):
                _check_quadratic(self._kinetic, frame)
        return InitialState(self.name(plan), frame, trajectory.name, plan.frame, plan.replica)


def initial_states(model: Model | str | Path, dataset: Dataset | str | Path, options: RolloutSpec) -> InitialStates:
    """The states from which to run a model: frames of every trajectory of a dataset.

    Args:
        model: what will be run.
        dataset: where the states are stored.
        options: ``frames`` of each trajectory, and the ``replicas``, ``temperature`` and ``seed`` of their momenta.

    Raises:
        SpecError: options contradict each other.
        DataError: a frame does not exist, states have no momenta and no temperature is given, or units differ.
        ModelError: the model does not know the species, bonds or dimension of the data, or its kinetic energy is not
            |p|^2 / 2m, so that momenta of a temperature cannot be drawn.

    """
    model = model if isinstance(model, Model) else Model.open(model)
    dataset = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
    replicas, temperature = options.replicas, options.temperature
    if replicas > 1 and not temperature:
        raise SpecError(f"{replicas} replicas without a temperature would all be equal: give one above 0, or 1 replica")
    check_compatible(model, dataset)
    states = InitialStates(model, dataset, options)
    for trajectory in dataset.trajectories:
        where = f"{dataset.path}, trajectory {trajectory.name}"
        if temperature is None and not trajectory.has_momenta:
            raise DataError(f"{where}: has no velocities to start with: give a temperature to draw them at")
        if temperature and trajectory.n_particles == 1 and model.conserves_momentum:
            raise DataError(f"{where}: one particle on its own has no temperature: leave the temperature out")
    if temperature is not None and len(states):
        states.load(states[0])  # a kinetic energy that refuses a temperature does so now, not on a worker
    return states


def check_compatible(model: Model, dataset: Dataset) -> None:
    """ModelError or DataError where a model cannot run states of a dataset; reads metadata and species at most."""
    check_units_of_model(dataset.path, dataset.units, model.units)
    if dataset.dim != model.dim:
        raise ModelError(
            f"{dataset.path} is {dataset.dim}-dimensional, the model {model.dim}-dimensional: use other data"
        )
    needs_bonds = any(isinstance(block.graph, BondGraph) for block in model.blocks)
    places = [block.kind for block in model.blocks if block.needs_open_space]
    strange = _unknown(dataset.labels, model.labels)
    strange_bonds = _unknown(dataset.bond_labels, model.bond_labels) if needs_bonds else {}
    for trajectory in dataset.trajectories:
        where = f"{dataset.path}, trajectory {trajectory.name}"
        _refuse(where, "species", strange, trajectory.species if strange else (), model.labels)
        if needs_bonds and "bonds" not in trajectory.fields:
            raise ModelError(f"{where}: has no bonds, along which the model's forces act: use data with bonds")
        types = trajectory.bond_types if strange_bonds else None
        _refuse(where, "bond type", strange_bonds, () if types is None else types, model.bond_labels)
        if places and any(trajectory.periodic):
            raise ModelError(
                f"{where}: is periodic, where the model's {places[0]} has no meaning: use data in open space"
            )


def thermal_momenta(
    masses: FloatArray, dim: int, thermal_energy: float, rng: np.random.Generator, *, conserved: bool
) -> FloatArray:
    """Maxwell-Boltzmann momenta for |p|^2 / 2m, scaled to exactly the temperature asked for, (N, d).

    With conserved total momentum the centre of mass is put to rest, and the kinetic energy is d (N - 1) / 2 times
    `thermal_energy` (k_B T): the centre of mass takes no part in the motion. In an outer field it does: nothing is
    taken off, and the kinetic energy is d N / 2 times k_B T. Angular momentum is left as drawn.
    """
    p = np.sqrt(masses)[:, None] * rng.standard_normal((len(masses), dim))
    freedoms = p.size
    if conserved:
        p -= masses[:, None] * (p.sum(axis=0) / masses.sum())
        freedoms -= dim
    if thermal_energy == 0.0:
        return np.zeros_like(p)
    kinetic = 0.5 * float(np.sum(p**2 / masses[:, None]))
    return np.asarray(p * math.sqrt(0.5 * freedoms * thermal_energy / kinetic))


def _check_quadratic(model: Model, frame: Frame) -> None:
    if not model.blocks or frame.p is None:
        return
    frame = model.adapt(frame)
    assert frame.p is not None
    exact = frame.p / frame.masses[:, None]
    wrong = np.sum((model.velocities(frame) - exact) ** 2, axis=1)
    for kind in np.unique(frame.species):
        mine = frame.species == kind
        error = math.sqrt(float(np.sum(wrong[mine])))
        size = math.sqrt(float(np.sum(exact[mine] ** 2)))
        if not error <= QUADRATIC_TOLERANCE * size:
            raise ModelError(
                f"momenta of a temperature are drawn for |p|^2 / 2m, from which the model's kinetic energy of species"
                f" {frame.labels[kind]} differs (velocities by {error / size if size else error:.0e}):"
                " start from stored velocities, without a temperature"
            )


def _unknown(names: Sequence[str], known: Sequence[str]) -> dict[int, str]:
    return {index: name for index, name in enumerate(names) if name not in known}


def _refuse(where: str, what: str, strange: dict[int, str], present: Iterable[int], known: Sequence[str]) -> None:
    for index in np.unique(np.asarray(present, dtype=np.int64)):
        if index in strange:
            names = ", ".join(known)
            raise ModelError(
                f"{where}: {what} {strange[int(index)]} is unknown to the model (known: {names}): refit it"
            )
