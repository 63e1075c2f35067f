"""What a simulation returns before anything is written, and the loop that produces it for smooth forces.

Every run reports its relative energy error, max_t |E(t) - E(0)| / max(|E(0)|, max_t K(t)): the kinetic
energy keeps the measure meaningful where the total happens to be near zero. A run whose error exceeds the
tolerance is refused rather than stored, because a reference that drifts is none. Stored forces do not
depend on any of this: they are the exact ones at the stored positions.

Smooth forces are integrated by a method of order 8, in drift-kick-drift form. Lennard-Jones forces cut hard at r_c are
discontinuous, so no method keeps an order above 2 there, and plain velocity Verlet is used (`liquids`). Both are
symplectic and time-reversible.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np

from hamfit.errors import SpecError
from hamfit.integrators import KAHAN_LI_8, Composition, drift_kick_drift, drift_of_masses
from hamfit.progress import Event, Progress
from hamfit.systems.options import SimulationSpec
from hamfit.systems.potentials import AbstractPotential
from hamfit.types import FloatArray, IntArray

_ORDER_8 = Composition("kahanli8", 8, KAHAN_LI_8, first="drift")
_ORDER_8_NAME = "Kahan-Li s17odr8a (symplectic, order 8)"

SMOOTH_TOLERANCE = 1e-8
"""Largest relative energy error of an order-8 reference; with the default steps it is 1e-11 and less."""


@dataclass(frozen=True, slots=True, eq=False)
class Particles:
    """What stays the same during a simulation."""

    labels: tuple[str, ...]
    """Names of the species."""
    species: IntArray
    """Index into `labels`, (N,)."""
    masses: FloatArray
    """(N,)."""
    periodic: tuple[bool, ...]
    """Whether each axis repeats, d entries."""
    box: FloatArray | None = None
    """Lattice vectors as rows, (d, d)."""
    bonds: IntArray | None = None
    """Bonded pairs, (B, 2)."""
    bond_types: IntArray | None = None
    """Index into `bond_labels`, (B,)."""
    bond_labels: tuple[str, ...] = ()
    """Names of the bond types."""

    @classmethod
    def identical(cls, n: int, dim: int, mass: float = 1.0) -> Particles:
        """`n` free particles of species "1" and one mass."""
        return cls(("1",), np.zeros(n, dtype=np.int64), np.full(n, mass), (False,) * dim)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One trajectory: T frames of N particles in d dimensions."""

    q: FloatArray
    """Positions, unwrapped, (T, N, d)."""
    p: FloatArray
    """Momenta, (T, N, d)."""
    forces: FloatArray
    """Exact forces at `q`, (T, N, d)."""
    potential_energy: FloatArray
    """(T,)."""
    relative_energy_error: float
    """max_t |E(t) - E(0)| / max(|E(0)|, max_t K(t)) over the stored frames."""


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """Trajectories of one system, in memory."""

    particles: Particles
    runs: tuple[Run, ...]
    step: IntArray
    """Steps of the integrator since the start, (T,)."""
    time: FloatArray
    """(T,)."""
    integrator: str
    """Name and order of the method."""

    @property
    def relative_energy_error(self) -> float:
        """The largest of all runs."""
        return max(run.relative_energy_error for run in self.runs)


def frame_counter(progress: Progress, total: int) -> Callable[[], None]:
    """A function that reports one more frame whenever it is called."""
    started, numbers = time.perf_counter(), count(1)
    return lambda: progress(Event("simulating", next(numbers), total, 0, time.perf_counter() - started, 0))


def run_smooth(
    spec: SimulationSpec,
    potential: AbstractPotential,
    particles: Particles,
    q: FloatArray,
    p: FloatArray,
    progress: Progress,
) -> Simulation:
    """Integrate T starts together with order 8.

    Args:
        spec: frames, step and stride.
        potential: energy and forces of states (N, T, d).
        particles: what stays the same.
        q: starts, (N, T, d).
        p: momenta, (N, T, d).
        progress: told of every frame.

    Raises:
        SpecError: a run's energy error exceeds `SMOOTH_TOLERANCE`.

    """
    drift = drift_of_masses(1.0 / particles.masses[:, None, None])
    tell = frame_counter(progress, spec.n_frames)
    frames = []
    # A run that goes wrong (two particles meeting) ends in inf or NaN; it is refused below, with a reason.
    with np.errstate(all="ignore"):
        for frame in range(spec.n_frames):
            if frame:
                q, p = drift_kick_drift(_ORDER_8, q, p, spec.dt, spec.every, potential.forces, drift)
            frames.append((q, p, potential.forces(q), potential.energy(q)))
            tell()
        # One list per quantity; the axis of frames goes first, that of trajectories is split off.
        qs, ps, forces, energies = (np.stack(column) for column in zip(*frames, strict=True))
        runs = tuple(
            finished_run(spec, particles, qs[:, :, k], ps[:, :, k], forces[:, :, k], energies[:, k], SMOOTH_TOLERANCE)
            for k in range(q.shape[1])
        )
    return assembled(spec, particles, runs, _ORDER_8_NAME)


def finished_run(
    spec: SimulationSpec,
    particles: Particles,
    q: FloatArray,
    p: FloatArray,
    forces: FloatArray,
    energies: FloatArray,
    tolerance: float,
) -> Run:
    """A run with its energy error, refused when that exceeds `tolerance`."""
    kinetic = 0.5 * (p**2 / particles.masses[:, None]).sum(axis=(1, 2))
    total = kinetic + energies
    scale = max(abs(float(total[0])), float(kinetic.max()))
    drift = float(np.abs(total - total[0]).max())
    error = drift / scale if scale > 0.0 else drift
    # Written so that NaN fails too.
    if not (error <= tolerance and np.isfinite(forces).all()):
        raise SpecError(
            f"the energy of the reference trajectory drifts by {error:.1e}, above {tolerance:.0e};"
            f" take a smaller dt than {spec.dt:g}, or a gentler start"
        )
    q, p, forces, energies = map(np.ascontiguousarray, (q, p, forces, energies))
    return Run(q, p, forces, energies, error)


def assembled(spec: SimulationSpec, particles: Particles, runs: tuple[Run, ...], integrator: str) -> Simulation:
    """Runs with the time axis that their options imply."""
    step = np.arange(spec.n_frames, dtype=np.int64) * spec.every
    return Simulation(particles, runs, step, np.asarray(step * spec.dt, dtype=np.float64), integrator)
