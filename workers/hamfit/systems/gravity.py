"""Bodies that attract each other by -G m_i m_j / r, all pairs, open space, no softening.

Random starts of gravitating bodies end in close encounters that no fixed step survives. Starts here are
perturbations of the rotating regular polygon, a relative equilibrium in which all distances stay bounded
for about a revolution: N equal masses m on a circle of radius R turn with angular velocity w, w^2 = G m /
(4 R^3) sum_{k=1}^{N-1} 1 / sin(pi k / N). For N = 2 this is the Kepler problem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hamfit.errors import SpecError
from hamfit.progress import Progress
from hamfit.systems.laws import Gravity
from hamfit.systems.options import SimulationSpec, option
from hamfit.systems.potentials import PairSum, all_pairs
from hamfit.systems.simulation import Particles, Simulation, run_smooth
from hamfit.systems.starts import generator, heat, without_drift
from hamfit.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class GravitySpec(SimulationSpec):
    """Options of gravitating bodies on a perturbed rotating polygon."""

    dt: float = option(0.02, "Step of the reference integrator.", above=0.0)
    every: int = option(5, "Steps between two stored frames.", minimum=1)
    n_bodies: int = option(4, "Number of bodies.", flag="--bodies", minimum=2)
    dim: int = option(3, "Dimensions of space, 2 or 3.", minimum=2)
    strength: float = option(1.0, "Gravitational constant G.", above=0.0)
    mass: float = option(1.0, "Mass of every body.", above=0.0)
    radius: float = option(2.0, "Radius of the polygon.", above=0.0)
    amplitude: float = option(
        0.05,
        "Starts change coordinates and velocities by uniform numbers up to this, times radius and speed.",
        minimum=0.0,
    )
    spread: float = option(2.0, "Trajectories start with perturbations scaled by factors from 1 to this.", minimum=1.0)

    def _check(self) -> None:
        if self.dim > 3:
            raise SpecError(f"gravity lives in 2 or 3 dimensions; dim is {self.dim}")
        if self.amplitude * self.spread >= 0.5 * math.sin(math.pi / self.n_bodies):
            raise SpecError(f"amplitude {self.amplitude:g} lets bodies start in each other's place; take a smaller one")


def gravity_potential(masses: FloatArray, strength: float = 1.0) -> PairSum:
    """Energy and forces of bodies of these masses, (N,)."""
    pairs = all_pairs(len(masses))
    product = strength * masses[pairs[:, 0]] * masses[pairs[:, 1]]
    return PairSum(Gravity(product[:, None]), pairs, len(masses))


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
