"""Small worlds for the tests: frames and datasets made from formulas, without any of the code under test.

A case is a random arrangement of particles; ``pairs`` lists its pairs by plain loops over particles and images. A
world is a dataset written from frames whose forces and energies follow from a pair law by those same loops.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.data import Dataset, DatasetWriter
from hamfit.frames import Frame
from hamfit.types import FloatArray, IntArray

LABELS = ("A", "B")
#: Distinct for every pair of species, so that a wrong channel cannot hide.
CUTOFFS = np.array([[1.9, 1.6], [1.6, 1.3]])
MASSES = np.array([1.7, 2.9])


@dataclass(frozen=True, slots=True)
class Case:
    """A random frame of a few particles, none closer than ``apart``."""

    name: str
    dim: int
    n: int
    n_species: int = 1
    periodic: bool = False
    skew: float = 0.0
    seed: int = 5
    apart: float = 0.55

    def frame(self, seed: int | None = None) -> Frame:
        """The frame, with momenta, velocities and forces of any values."""
        rng = np.random.default_rng(self.seed if seed is None else seed)
        edge = 1.15 * self.n ** (1 / self.dim)
        box = edge * np.eye(self.dim) + edge * self.skew * np.tri(self.dim, k=-1)
        q = _spread(self.n, box, self.periodic, self.apart, rng)
        species = np.arange(self.n, dtype=np.int64) % self.n_species
        masses = MASSES[species]
        p = rng.normal(size=(self.n, self.dim))
        return Frame(
            q=q,
            species=species,
            labels=LABELS[: self.n_species],
            masses=masses,
            box=box if self.periodic else None,
            periodic=(self.periodic,) * self.dim,
            p=p,
            qdot=p / masses[:, None],
            pdot=rng.normal(size=(self.n, self.dim)),
        )

    @property
    def cutoffs(self) -> FloatArray:
        """Cutoffs of the species there are, (S, S)."""
        return CUTOFFS[: self.n_species, : self.n_species].copy()


#: The boxes are mostly smaller than twice the cutoff, so that particles meet several images of each other.
CASES = (
    Case("open-1d", 1, 5),
    Case("open-2d-binary", 2, 7, n_species=2),
    Case("open-3d-binary", 3, 11, n_species=2),
    Case("ring-1d", 1, 3, periodic=True),
    Case("periodic-2d", 2, 5, periodic=True),
    Case("periodic-3d-binary", 3, 13, n_species=2, periodic=True),
    Case("triclinic-3d-binary", 3, 7, n_species=2, periodic=True, skew=0.3),
)


def _spread(n: int, box: FloatArray, periodic: bool, apart: float, rng: np.random.Generator) -> FloatArray:
    chosen: list[FloatArray] = []
    shifts = images(box, periodic, 1)
    while len(chosen) < n:
        point = rng.uniform(size=box.shape[0]) @ box
        if all(np.linalg.norm(point - other - shifts, axis=1).min() > apart for other in chosen):
            chosen.append(point)
        else:
            apart *= 0.999
    return np.array(chosen)


def images(box: FloatArray | None, periodic: bool, reach: int) -> FloatArray:
    """Lattice translations up to ``reach`` boxes each way, zero included, (M, d)."""
    assert box is not None
    dim = box.shape[0]
    if not periodic:
        return np.zeros((1, dim))
    return np.array(list(itertools.product(range(-reach, reach + 1), repeat=dim)), dtype=float) @ box


def pair_channel(a: int, b: int, n_species: int) -> int:
    """Index of an unordered pair of species among 0-0, 0-1, .., 1-1, .."""
    return list(itertools.combinations_with_replacement(range(n_species), 2)).index((min(a, b), max(a, b)))


def pairs(frame: Frame, cutoffs: FloatArray) -> Iterator[tuple[int, int, int, FloatArray, float]]:
    """Every (i, j, channel, q_i - q_j(image), distance) within the cutoff, both ways round, images included."""
    box = np.eye(frame.dim) if frame.box is None else frame.box
    shifts = images(box, any(frame.periodic), 3)
    for i in range(frame.n_particles):
        for j in range(frame.n_particles):
            a, b = int(frame.species[i]), int(frame.species[j])
            for shift in shifts:
                vector = frame.q[i] - frame.q[j] - shift
                distance = float(np.sqrt(vector @ vector))
                if 0.0 < distance < cutoffs[a, b]:
                    yield i, j, pair_channel(a, b, len(frame.labels)), vector, distance


def everyone(frame: Frame) -> IntArray:
    """All particles."""
    return np.arange(frame.n_particles, dtype=np.int64)


def moved(frame: Frame, i: int, axis: int, step: float, what: str = "q") -> Frame:
    """The frame with one coordinate (or momentum, ``what='p'``) changed."""
    value = getattr(frame, what).copy()
    value[i, axis] += step
    return replace(frame, **{what: value})


def rotation(dim: int, rng: np.random.Generator) -> FloatArray:
    """A random orthogonal matrix."""
    return np.linalg.qr(rng.normal(size=(dim, dim)))[0]


#: V(r) and V'(r) of a pair.
Law = Callable[[FloatArray], tuple[FloatArray, FloatArray]]


def lennard_jones(r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """4 (r^-12 - r^-6) and its derivative; the constant that makes it continuous at a cutoff is the caller's."""
    s = r**-6
    return 4.0 * (s * s - s), -24.0 * (2.0 * s * s - s) / r


def soft_spring(r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """1.3 (r - 1)^2 / 2 and its derivative."""
    return 0.65 * (r - 1.0) ** 2, 1.3 * (r - 1.0)


def with_forces(frame: Frame, law: Law, cutoff: float | None) -> Frame:
    """The frame with the exact forces and energy of a pair law, cut and shifted at ``cutoff``."""
    reach = 1e9 if cutoff is None else cutoff
    box = np.eye(frame.dim) if frame.box is None else frame.box
    vectors = frame.q[:, None, None] - frame.q[None, :, None] - images(box, any(frame.periodic), 1)
    r = np.linalg.norm(vectors, axis=-1)
    near = (r > 0.0) & (r < reach)
    value, slope = law(np.where(near, r, 1.0))
    shift = 0.0 if cutoff is None else float(law(np.array([cutoff]))[0][0])
    energy = 0.5 * float(np.sum((value - shift)[near]))
    force = -np.sum(np.where(near, slope / np.where(near, r, 1.0), 0.0)[..., None] * vectors, axis=(1, 2))
    return replace(frame, pdot=force, potential_energy=energy)


def liquid(
    rng: np.random.Generator,
    *,
    side: int = 3,
    dim: int = 3,
    spacing: float = 1.2,
    jitter: float = 0.11,
    n_species: int = 1,
    cutoff: float | None = 1.75,
    law: Law = lennard_jones,
    periodic: bool = True,
) -> Frame:
    """A shaken lattice of side^dim particles, with momenta and the forces of a pair law."""
    grid = np.array(list(itertools.product(range(side), repeat=dim)), dtype=float)
    n = grid.shape[0]
    q = spacing * (grid + rng.uniform(-jitter, jitter, size=grid.shape))
    species = np.arange(n, dtype=np.int64) % n_species
    masses = MASSES[species]
    p = rng.normal(size=q.shape) * np.sqrt(masses)[:, None]
    frame = Frame(
        q=q,
        species=species,
        labels=LABELS[:n_species],
        masses=masses,
        box=side * spacing * np.eye(dim) if periodic else None,
        periodic=(periodic,) * dim,
        p=p,
        qdot=p / masses[:, None],
    )
    return with_forces(frame, law, cutoff)


def liquids(seed: int, count: int, **how: Any) -> list[Frame]:
    """Independent frames of one liquid."""
    rng = np.random.default_rng(seed)
    return [liquid(rng, **how) for _ in range(count)]


def write(
    path: Path,
    trajectories: Sequence[Sequence[Frame]],
    *,
    velocities: bool = True,
    forces: bool = True,
    energies: bool = True,
    units: str = "lj",
) -> Dataset:
    """A dataset with one trajectory for each sequence of alike frames."""
    first = trajectories[0][0]
    with DatasetWriter.create(path, units=units, labels=first.labels, bond_labels=first.bond_labels) as writer:
        for number, frames in enumerate(trajectories):
            one = frames[0]
            writer.add_trajectory(
                f"run-{number}",
                q=np.array([f.q for f in frames]),
                species=one.species,
                masses=one.masses,
                box=one.box,
                periodic=one.periodic,
                velocity=np.array([f.qdot for f in frames]) if velocities else None,
                force=np.array([f.pdot for f in frames]) if forces else None,
                potential_energy=np.array([f.potential_energy for f in frames]) if energies else None,
                bonds=one.bonds,
                bond_types=one.bond_types,
            )
    return Dataset.open(path)


def relative(got: FloatArray, expected: FloatArray) -> float:
    """||got - expected|| / ||expected||."""
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def force_of(frame: Frame) -> FloatArray:
    """The frame's forces, which it has."""
    assert frame.pdot is not None
    return frame.pdot


def energy_rounding(constants: FloatArray, theta: Sequence[FloatArray], frame: Frame) -> float:
    """What rounding leaves open of an energy: every particle's is a sum of coefficients, which may cancel.

    Constants and coefficients of 1e8 against an energy of a few units, as fits of one composition may have, cost eight
    digits; which way the last ones fall depends on the processor.
    """
    features = frame.n_particles * sum(float(np.abs(one).sum()) for one in theta)
    return float(np.finfo(np.float64).eps * (features + np.abs(np.nan_to_num(constants))[frame.species].sum()))
