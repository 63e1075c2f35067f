"""The n-spring and n-body systems of the NeurIPS 2022 benchmark (arXiv 2211.05520), as its code computes
them.

n-spring is a closed ring of N unit masses in the plane with V = sum over springs of (d^2 - 1)^2: its
docstring says linear, its code passes squared distances and counts each spring twice. n-body is four unit
masses under -1/r. The benchmark stores a frame every 0.1; it integrates with Verlet steps of 1e-3, we with
order 8 and steps of 0.01 to 0.05, whose energy error is near rounding. Its generator's random stream is not
reproduced, only its distribution.

Its n-body test trajectory is the training trajectory mirrored, (-R, V), so an invariant model sees nothing
new there. `fresh` starts keep the structure, two binaries that circle each other, with new orbits,
orientations and phases whose distances stay inside the range that the given trajectory covers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from hamfit.errors import SpecError
from hamfit.progress import Progress
from hamfit.systems.geometries import ring_bonds
from hamfit.systems.gravity import gravity_potential
from hamfit.systems.options import SimulationSpec
from hamfit.systems.pair_laws import QUARTIC_SPRING
from hamfit.systems.potentials import PairSum
from hamfit.systems.simulation import Particles, Simulation, run_smooth
from hamfit.systems.starts import generator
from hamfit.types import FloatArray

N_BODIES = 4
"""Bodies of the benchmark's two binaries."""
_GIVEN_X = (1.0, 9.0, 11.0, -1.0)
_GIVEN_VY = (0.05, -0.05, 0.65, -0.65)


class NSpringSpec(SimulationSpec):
    """Options of the benchmark's ring of springs."""

    n_trajectories: int = Field(default=100, ge=1, description="Trajectories, each from a start of its own.")
    n_frames: int = Field(default=100, ge=1, description="Frames stored per trajectory, the start included.")
    dt: float = Field(default=0.01, gt=0.0, description="Step of the reference integrator.")
    every: int = Field(default=10, ge=1, description="Steps between two stored frames.")
    seed: int = Field(default=42, ge=0, description="Seed of the starts; the same seed gives the same bits.")
    n_bodies: int = Field(default=5, ge=3, description="Number of bodies on the ring.")
    width: float = Field(
        default=2.0,
        gt=0.0,
        description="Starts are uniform in a square of this edge; the benchmark has 2, a little more covers its rarest"
        " starts.",
    )


class NBodySpec(SimulationSpec):
    """Options of the benchmark's four bodies."""

    n_trajectories: int = Field(default=1, ge=1, description="Trajectories; more than 1 for fresh starts only.")
    n_frames: int = Field(default=10_000, ge=1, description="Frames stored per trajectory, the start included.")
    dt: float = Field(default=0.05, gt=0.0, description="Step of the reference integrator.")
    every: int = Field(default=2, ge=1, description="Steps between two stored frames.")
    start: Literal["given", "mirror", "fresh"] = Field(
        default="given", description="The benchmark's start, its mirror image (the benchmark's test), or fresh ones."
    )
    dim: int = Field(
        default=3, ge=2, le=3, description="Dimensions of space, 2 or 3; the benchmark's orbits lie in the plane z = 0."
    )

    def _check_together(self) -> None:
        if self.start != "fresh" and self.n_trajectories != 1:
            raise SpecError(
                f"start '{self.start}' is one trajectory, {self.n_trajectories} are asked for; take --start fresh"
            )


def run_nspring(spec: NSpringSpec, progress: Progress) -> Simulation:
    """Simulate rings from q ~ U[0, width)^2 and v ~ U[0, 0.1)^2 minus its mean."""
    n = spec.n_bodies
    bonds = ring_bonds(n)
    types = np.zeros(n, dtype=np.int64)
    particles = replace(Particles.identical(n, 2), bonds=bonds, bond_types=types, bond_labels=("bond",))
    q = np.empty((n, spec.n_trajectories, 2))
    p = np.empty_like(q)
    for k in range(spec.n_trajectories):
        rng = generator(spec.seed, k)
        q[:, k] = rng.uniform(0.0, spec.width, (n, 2))
        v = rng.uniform(0.0, 0.1, (n, 2))
        p[:, k] = v - v.mean(axis=0)
    return run_smooth(spec, PairSum(QUARTIC_SPRING, bonds, n), particles, q, p, progress)


def run_nbody(spec: NBodySpec, progress: Progress) -> Simulation:
    """Simulate the four bodies."""
    particles = Particles.identical(N_BODIES, spec.dim)
    q = np.zeros((N_BODIES, spec.n_trajectories, spec.dim))
    p = np.zeros_like(q)
    for k in range(spec.n_trajectories):
        if spec.start == "fresh":
            q[:, k, :2], p[:, k, :2] = _two_binaries(generator(spec.seed, k))
        else:
            q[:, k, 0] = np.array(_GIVEN_X) * (-1.0 if spec.start == "mirror" else 1.0)
            p[:, k, 1] = _GIVEN_VY
    return run_smooth(spec, gravity_potential(particles.masses), particles, q, p, progress)


def _two_binaries(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Positions and velocities of two binaries circling each other, both (4, 2).

    The given start has binaries of separation 2 and relative speed 0.7 (apocentre 2, pericentre 0.65), at
    distance 10 with relative speed 0.6 (apocentre 10, pericentre 8.2). Fresh ones start at their apocentres
    too, on rounder orbits that lie inside these ranges with room for the pull of the other binary.
    """
    distance, speed = rng.uniform(9.4, 9.8), rng.uniform(0.62, 0.64)
    direction, across = _frame(rng)
    q, v = np.empty((4, 2)), np.empty((4, 2))
    for binary, sign in ((0, 1.0), (1, -1.0)):
        separation, pericentre = rng.uniform(1.6, 1.9), rng.uniform(0.8, 1.2)
        # Vis viva at the apocentre, for the relative motion of two unit masses: mu = 2.
        relative = math.sqrt(4.0 * pericentre / (separation * (separation + pericentre)))
        along, sideways = _frame(rng)
        centre, drift = 0.5 * sign * distance * direction, 0.5 * sign * speed * across
        for body, side in ((2 * binary, 1.0), (2 * binary + 1, -1.0)):
            q[body] = centre + 0.5 * side * separation * along
            v[body] = drift + 0.5 * side * relative * sideways
    return q, v


def _frame(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A random direction in the plane and the one 90 degrees ahead of it."""
    angle = rng.uniform(0.0, 2.0 * math.pi)
    return np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
