"""Lennard-Jones liquids: one species, and the binary mixture of Kob and Andersen.

Starts are melted crystals. Atoms begin on a face-centred cubic lattice (in the plane: triangular) of the
density asked for, run half of `melt_steps` at `melt_temperature` and half at `temperature`, velocities
being rescaled every 10 steps, and are then left alone: the stored frames are those of constant energy, and
the first has exactly the kinetic temperature asked for. Kob-Andersen: W. Kob and H. C. Andersen, Phys. Rev.
E 51 (1995) 4626; 80 % A, 20 % B, epsilon 1, 1.5, 0.5 and sigma 1, 0.8, 0.88 for AA, AB, BB, each cut at 2.5
sigma.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from pydantic import Field

from hamfit.errors import SpecError
from hamfit.integrators import VERLET, drift_of_masses, kick_drift_kick
from hamfit.progress import Progress
from hamfit.systems.geometries import fcc
from hamfit.systems.lennard_jones import LennardJones, PairTable
from hamfit.systems.options import SimulationSpec
from hamfit.systems.simulation import Particles, Run, Simulation, assembled, finished_run, frame_counter
from hamfit.systems.starts import generator, maxwell, rescaled
from hamfit.types import FloatArray, IntArray

_VERLET_NAME = "velocity Verlet (symplectic, order 2)"
VERLET_TOLERANCE = 1e-2
"""Largest relative energy error of a Verlet reference; at dt 0.004 and temperature 0.72 it is about 1e-4."""

TILE_STEPS = 20
"""Steps between tiling and the first stored frame."""

_RESCALE_EVERY = 10


class LiquidSpec(SimulationSpec):
    """Options shared by the liquids."""

    density: float = Field(default=0.8442, gt=0.0, description="Atoms per unit volume.")
    temperature: float = Field(default=0.72, gt=0.0, description="Kinetic temperature of the first stored frame.")

    n_trajectories: int = Field(default=1, ge=1, description="Trajectories, each from a start of its own.")
    n_frames: int = Field(default=20, ge=1, description="Frames stored per trajectory, the start included.")
    dt: float = Field(default=0.004, gt=0.0, description="Step of the reference integrator.")
    every: int = Field(default=50, ge=1, description="Steps between two stored frames.")
    shape: tuple[int, ...] = Field(
        default=(5, 5, 5),
        description="Crystal cells along each axis; 5x5x5 holds 500 atoms (4 a cell), 12x7 holds 168 (2 a cell).",
    )
    tile: int = Field(
        default=1,
        ge=1,
        description="Repeat the melted box this many times along each axis: the cheap way to a million atoms.",
    )
    mass: float = Field(default=1.0, gt=0.0, description="Mass of every atom.")
    melt_steps: int = Field(
        default=600, ge=0, description="Steps before the first stored frame; 0 starts from the crystal."
    )
    melt_temperature: float = Field(default=3.0, gt=0.0, description="Temperature of the first half of these steps.")
    skin: float = Field(
        default=0.3, gt=0.0, description="Pairs are listed this far beyond the cutoff; changes speed only."
    )

    def _check_together(self) -> None:
        if len(self.shape) < 2:
            raise SpecError(f"shape {self.shape[0]} is one number; a liquid needs 3 (5x5x5) or, in the plane, 2 (12x7)")


class LennardJonesSpec(LiquidSpec):
    """Options of the Lennard-Jones liquid."""

    cutoff: float = Field(default=2.5, gt=0.0, description="Distance beyond which atoms do not interact.")
    epsilon: float = Field(default=1.0, gt=0.0, description="Depth of the well.")
    sigma: float = Field(default=1.0, gt=0.0, description="Size of an atom.")

    @property
    def table(self) -> PairTable:
        """Parameters of the one pair of species."""
        return PairTable(*(np.full((1, 1), value) for value in (self.epsilon, self.sigma, self.cutoff)))


class KobAndersenSpec(LiquidSpec):
    """Options of the Kob-Andersen mixture."""

    density: float = Field(default=1.2, gt=0.0, description="Atoms per unit volume.")
    temperature: float = Field(default=1.0, gt=0.0, description="Kinetic temperature of the first stored frame.")
    cutoff: float = Field(
        default=2.5, gt=0.0, description="Distance, in sigmas of the pair, beyond which atoms do not interact."
    )

    @property
    def table(self) -> PairTable:
        """Parameters of the mixture: a cutoff of 2.5 gives 2.5, 2.0 and 2.2."""
        sigma = np.array([[1.0, 0.8], [0.8, 0.88]])
        return PairTable(np.array([[1.0, 1.5], [1.5, 0.5]]), sigma, self.cutoff * sigma)


def run_lennard_jones(spec: LennardJonesSpec, progress: Progress) -> Simulation:
    """Simulate the liquid."""
    sites, edges = fcc(spec.shape, spec.density)
    liquid = _Box(spec.table, ("1",), np.zeros(len(sites), dtype=np.int64), spec.mass, edges)
    return _run(spec, liquid, sites, progress)


def run_kob_andersen(spec: KobAndersenSpec, progress: Progress) -> Simulation:
    """Simulate the mixture; which sites hold species "2" (B) is the same in all trajectories of one seed."""
    sites, edges = fcc(spec.shape, spec.density)
    n = len(sites)
    n_small = round(0.2 * n)
    if n_small == 0:
        raise SpecError(f"{n} atoms are too few for a mixture of 80 % and 20 %; take a larger shape")
    species = np.zeros(n, dtype=np.int64)
    # The key is longer than that of any trajectory, [seed, k], so the streams differ.
    species[np.random.default_rng([spec.seed, 0, 1]).permutation(n)[:n_small]] = 1
    return _run(spec, _Box(spec.table, ("1", "2"), species, spec.mass, edges), sites, progress)


@dataclass(frozen=True, slots=True, eq=False)
class _Box:
    """A periodic box of particles without their positions."""

    table: PairTable
    labels: tuple[str, ...]
    species: IntArray
    mass: float
    edges: FloatArray

    @property
    def particles(self) -> Particles:
        masses = np.full(len(self.species), self.mass)
        return Particles(self.labels, self.species, masses, (True,) * len(self.edges), np.diag(self.edges))

    def potential(self, skin: float) -> LennardJones:
        return LennardJones(self.table, self.species, self.edges, skin=skin)


def _run(spec: LiquidSpec, cell: _Box, sites: FloatArray, progress: Progress) -> Simulation:
    tell = frame_counter(progress, spec.n_trajectories * spec.n_frames)
    species = np.tile(cell.species, spec.tile ** len(cell.edges))
    box = replace(cell, species=species, edges=cell.edges * spec.tile)
    runs = tuple(_trajectory(spec, cell, box, sites, k, tell) for k in range(spec.n_trajectories))
    return assembled(spec, box.particles, runs, _VERLET_NAME)


def _trajectory(
    spec: LiquidSpec, cell: _Box, box: _Box, sites: FloatArray, trajectory: int, tell: Callable[[], None]
) -> Run:
    rng = generator(spec.seed, trajectory)
    hot = spec.melt_temperature if spec.melt_steps else spec.temperature
    p = maxwell(np.full(len(sites), spec.mass), sites.shape[1], hot, rng)
    n_hot = spec.melt_steps // 2
    q, p = _thermalised(spec, cell, sites, p, n_hot, hot)
    q, p = _thermalised(spec, cell, q, p, spec.melt_steps - n_hot, spec.temperature)
    if spec.tile > 1:
        # Copies get momenta of their own and a moment to forget that they were one box.
        q = tiled_positions(q, cell.edges, spec.tile)
        p = maxwell(np.full(len(q), spec.mass), q.shape[1], spec.temperature, rng)
        q, p = _thermalised(spec, box, q, p, TILE_STEPS, spec.temperature)
    particles, potential = box.particles, box.potential(spec.skin)
    force, drift = potential.forces(q), drift_of_masses(np.asarray(1.0 / spec.mass))
    frames = []
    for frame in range(spec.n_frames):
        if frame:
            q, p, force = kick_drift_kick(VERLET, q, p, force, spec.dt, spec.every, potential.forces, drift)
        frames.append((q, p, force, potential.energy(q)))
        tell()
    qs, ps, forces, energies = (np.stack(column) for column in zip(*frames, strict=True))
    return finished_run(spec, particles, qs, ps, forces, energies, VERLET_TOLERANCE)


def _thermalised(
    spec: LiquidSpec, box: _Box, q: FloatArray, p: FloatArray, n_steps: int, temperature: float
) -> tuple[FloatArray, FloatArray]:
    """Positions and momenta after `n_steps`, rescaled to `temperature` every few steps and at the end."""
    masses = np.full(len(q), spec.mass)
    p = rescaled(p, masses, temperature)
    if n_steps == 0:
        return q, p
    potential = box.potential(spec.skin)
    force, drift = potential.forces(q), drift_of_masses(np.asarray(1.0 / spec.mass))
    for done in range(0, n_steps, _RESCALE_EVERY):
        steps = min(_RESCALE_EVERY, n_steps - done)
        q, p, force = kick_drift_kick(VERLET, q, p, force, spec.dt, steps, potential.forces, drift)
        p = rescaled(p, masses, temperature)
    return q, p


def tiled_positions(q: FloatArray, edges: FloatArray, times: int) -> FloatArray:
    """Positions (N, d) of a box and of its copies shifted by whole edges, (times^d N, d), copy after copy."""
    axes = [np.arange(times, dtype=np.float64)] * len(edges)
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 1, len(edges)) * edges
    return np.asarray((shifts + q).reshape(-1, len(edges)))
