"""Bodies that attract each other by -G m_i m_j / r, all pairs, open space, no softening.

Random starts of gravitating bodies end in close encounters that no fixed step survives. Starts here are
perturbations of the rotating regular polygon, a relative equilibrium in which all distances stay bounded
for about a revolution: N equal masses m on a circle of radius R turn with angular velocity w, w^2 = G m /
(4 R^3) sum_{k=1}^{N-1} 1 / sin(pi k / N). For N = 2 this is the Kepler problem.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from hamfit.errors import SpecError
from hamfit.progress import Progress
from hamfit.systems.options import SimulationSpec
from hamfit.systems.pair_laws import gravity
from hamfit.systems.potentials import PairSum, all_pairs
from hamfit.systems.simulation import Particles, Simulation, run_smooth
from hamfit.systems.starts import generator, heat, without_drift
from hamfit.types import FloatArray


class GravitySpec(SimulationSpec):
    """Options of gravitating bodies on a perturbed rotating polygon."""

    dt: float = Field(default=0.02, gt=0.0, description="Step of the reference integrator.")
    every: int = Field(default=5, ge=1, description="Steps between two stored frames.")
    n_bodies: int = Field(default=4, ge=2, description="Number of bodies.")
    dim: int = Field(default=3, ge=2, le=3, description="Dimensions of space, 2 or 3.")
    strength: float = Field(default=1.0, gt=0.0, description="Gravitational constant G.")
    mass: float = Field(default=1.0, gt=0.0, description="Mass of every body.")
    radius: float = Field(default=2.0, gt=0.0, description="Radius of the polygon.")
    amplitude: float = Field(
        default=0.05,
        ge=0.0,
        description="Starts change coordinates and velocities by uniform numbers up to this, times radius and speed.",
    )
    spread: float = Field(
        default=2.0, ge=1.0, description="Trajectories start with perturbations scaled by factors from 1 to this."
    )

    def _check_together(self) -> None:
        if self.amplitude * self.spread >= 0.5 * math.sin(math.pi / self.n_bodies):
            raise SpecError(f"amplitude {self.amplitude:g} lets bodies start in each other's place; take a smaller one")


def gravity_potential(masses: FloatArray, strength: float = 1.0) -> PairSum:
    """Energy and forces of bodies of these masses, (N,)."""
    pairs = all_pairs(len(masses))
    product = strength * masses[pairs[:, 0]] * masses[pairs[:, 1]]
    return PairSum(gravity(product[:, None]), pairs, len(masses))


def run_gravity(spec: GravitySpec, progress: Progress) -> Simulation:
    """Simulate perturbed rotating polygons; raises SpecError when the energy is not conserved."""
    n, d = spec.n_bodies, spec.dim
    particles = Particles.identical(n, d, spec.mass)
    angle = 2.0 * math.pi * np.arange(n) / n
    sites, velocities = np.zeros((n, d)), np.zeros((n, d))
    sites[:, 0], sites[:, 1] = spec.radius * np.cos(angle), spec.radius * np.sin(angle)
    crowd = (1.0 / np.sin(math.pi * np.arange(1, n) / n)).sum()
    speed = math.sqrt(spec.strength * spec.mass * crowd / (4.0 * spec.radius))
    velocities[:, 0], velocities[:, 1] = -speed * np.sin(angle), speed * np.cos(angle)
    q = np.empty((n, spec.n_trajectories, d))
    p = np.empty_like(q)
    for k in range(spec.n_trajectories):
        rng, size = generator(spec.seed, k), spec.amplitude * heat(k, spec.spread)
        q[:, k] = sites + spec.radius * rng.uniform(-size, size, (n, d))
        p[:, k] = without_drift(spec.mass * (velocities + speed * rng.uniform(-size, size, (n, d))), particles.masses)
    return run_smooth(spec, gravity_potential(particles.masses, spec.strength), particles, q, p, progress)
