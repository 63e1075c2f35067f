"""Particles joined by bonds: spring, anharmonic and Morse networks on chains, rings and lattices."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import numpy as np
from pydantic import Field

from hamfit.errors import SpecError
from hamfit.progress import Progress
from hamfit.systems.geometries import Geometry, GeometryName, bonded_geometry
from hamfit.systems.options import SimulationSpec
from hamfit.systems.pair_laws import Law, anharmonic, morse, spring
from hamfit.systems.potentials import PairSum
from hamfit.systems.simulation import Particles, Simulation, run_smooth
from hamfit.systems.starts import generator, heat, maxwell
from hamfit.types import FloatArray

TRAINING_SIZE = 100
"""Networks of at most this many particles are taken as systems to learn from."""
TRAINING_SPREAD = 2.0
"""Their hottest start, as a factor on displacements and momenta: four times the temperature asked for."""

# Bonds stretch to about 1.5 spacings at the default temperature, diagonals further; both stay below half of
# this.
_SAFE_PERIOD = 5

_SHAPES = {"chain": (10,), "ring": (10,), "square": (3, 3), "cubic": (2, 2, 2)}


class NetworkSpec(SimulationSpec):
    """Options of all bonded networks."""

    geometry: GeometryName = Field(default="chain", description="Who is bonded to whom.")
    shape: tuple[int, ...] | None = Field(
        default=None, description="Particles along each axis, such as 10, 3x3 or 16x16x16; by default 10, 3x3 or 2x2x2."
    )
    dim: int | None = Field(
        default=None, ge=1, description="Dimensions of space; by default as few as the geometry needs."
    )
    periodic: bool = Field(
        default=False, description="Repeat the lattice along its own axes; at least 3 particles along each."
    )
    diagonals: bool = Field(default=False, description="Also bond face diagonals, as a second type of bond.")
    diagonal_strength: float = Field(
        default=0.5, gt=0.0, description="Strength of the diagonal bonds over that of the others."
    )
    spacing: float = Field(default=1.0, gt=0.0, description="Distance of neighbouring sites.")
    mass: float = Field(default=1.0, gt=0.0, description="Mass of every particle.")
    amplitude: float = Field(
        default=0.1,
        ge=0.0,
        description="The coolest start displaces each coordinate by a uniform number up to this, times spacing.",
    )
    temperature: float = Field(
        default=0.005, ge=0.0, description="Temperature of the Maxwell momenta of the coolest start, see spread."
    )
    spread: float | None = Field(
        default=None,
        ge=1.0,
        description="Trajectories start with displacements and momenta scaled by factors from 1 to this; by default"
        " 2 up to 100 particles, which are trained on, and 1 above, which are tested on.",
    )
    r0: float | None = Field(default=None, ge=0.0, description="Rest length of the bonds; by default the spacing.")

    @abstractmethod
    def law(self, strength: FloatArray, rest: FloatArray) -> Law:
        """The law of bonds of relative strength (B, 1) and rest length (B, 1)."""

    def lattice(self) -> Geometry:
        """The sites and bonds that the options describe."""
        return bonded_geometry(
            self.geometry,
            self.shape or _SHAPES[self.geometry],
            dim=self.dim,
            periodic=self.periodic,
            diagonals=self.diagonals,
            spacing=self.spacing,
        )

    def _check_together(self) -> None:
        self.lattice()
        if self.amplitude >= 0.5:
            # Neighbours on a line could then start in each other's place.
            raise SpecError(f"amplitude {self.amplitude:g} lets neighbours change places; keep it below 0.5")


class SpringSpec(NetworkSpec):
    """Options of spring networks, V = beta (r - r0)^2 / 2."""

    beta: float = Field(default=1.0, gt=0.0, description="Stiffness of the bonds.")

    def law(self, strength: FloatArray, rest: FloatArray) -> Law:
        """The law of bonds of relative strength (B, 1) and rest length (B, 1)."""
        return spring(self.beta * strength, rest)


class AnharmonicSpec(NetworkSpec):
    """Options of anharmonic networks, V = beta (r - r0)^2 / 2 + gamma (r - r0)^4 / 4."""

    beta: float = Field(default=1.0, gt=0.0, description="Stiffness of the bonds for small stretches.")
    gamma: float = Field(default=1.0, ge=0.0, description="Strength of the quartic term.")

    def law(self, strength: FloatArray, rest: FloatArray) -> Law:
        """The law of bonds of relative strength (B, 1) and rest length (B, 1)."""
        return anharmonic(self.beta * strength, self.gamma * strength, rest)


class MorseSpec(NetworkSpec):
    """Options of Morse networks, V = D (1 - exp(-a (r - r0)))^2."""

    depth: float = Field(default=0.5, gt=0.0, description="Energy D to break a bond.")
    steepness: float = Field(default=1.0, gt=0.0, description="Inverse width a of the well; the stiffness is 2 D a^2.")

    def law(self, strength: FloatArray, rest: FloatArray) -> Law:
        """The law of bonds of relative strength (B, 1) and rest length (B, 1)."""
        return morse(self.depth * strength, self.steepness, rest)


def network_potential(spec: NetworkSpec) -> PairSum:
    """Energy and forces of a network."""
    lattice = spec.lattice()
    diagonal = (lattice.bond_types == 1)[:, None]
    r0 = spec.spacing if spec.r0 is None else spec.r0
    strength = np.where(diagonal, spec.diagonal_strength, 1.0)
    rest = np.where(diagonal, np.sqrt(2.0) * r0, r0)
    return PairSum(
        spec.law(strength, rest),
        lattice.bonds,
        len(lattice.sites),
        edges=lattice.edges,
        periodic=lattice.periodic,
    )


def run_network(spec: NetworkSpec, progress: Progress) -> Simulation:
    """Simulate a network from displaced sites and Maxwell momenta.

    Raises:
        SpecError: the energy is not conserved; in a short periodic lattice because bonds grew so long that an
            image of the neighbour came nearer than the neighbour.

    """
    lattice = spec.lattice()
    n, d = lattice.sites.shape
    particles = replace(
        Particles.identical(n, d, spec.mass),
        periodic=lattice.periodic,
        box=None if lattice.edges is None else np.diag(lattice.edges),
        bonds=lattice.bonds,
        bond_types=lattice.bond_types,
        bond_labels=lattice.bond_labels,
    )
    spread = spec.spread
    if spread is None:
        spread = TRAINING_SPREAD if n <= TRAINING_SIZE else 1.0
    q = np.empty((n, spec.n_trajectories, d))
    p = np.empty_like(q)
    for k in range(spec.n_trajectories):
        rng, factor = generator(spec.seed, k), heat(k, spread)
        most = factor * spec.amplitude * spec.spacing
        q[:, k] = lattice.sites + rng.uniform(-most, most, size=(n, d))
        p[:, k] = maxwell(particles.masses, d, factor**2 * spec.temperature, rng)
    try:
        return run_smooth(spec, network_potential(spec), particles, q, p, progress)
    except SpecError as error:
        if spec.periodic and min(spec.shape or _SHAPES[spec.geometry]) < _SAFE_PERIOD:
            raise SpecError(
                f"{error}, or a larger shape: bonds may have grown beyond half the box, where they jump to"
                " the next image"
            ) from error
        raise
