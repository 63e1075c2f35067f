"""The true potential behind a dataset that `simulate` wrote, rebuilt from the options it recorded.

A dataset made by `simulate` carries `attrs["simulation"]` with the name of the system and all its options. From
these this module gives the exact potential energy of any positions, and V(r) for each kind of pair, so that a
learned model and the trajectories it makes can be held against the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from hamfit.errors import SpecError
from hamfit.frames import Frame
from hamfit.systems.catalogue import system
from hamfit.systems.geometries import ring_bonds
from hamfit.systems.gravity import GravitySpec, gravity_potential
from hamfit.systems.lennard_jones import LennardJones
from hamfit.systems.liquids import KobAndersenSpec, LennardJonesSpec
from hamfit.systems.networks import NetworkSpec, network_potential
from hamfit.systems.neurips import N_BODIES, NSpringSpec
from hamfit.systems.options import SimulationSpec
from hamfit.systems.pair_laws import QUARTIC_SPRING, Law, gravity
from hamfit.systems.potentials import AbstractPotential, PairSum
from hamfit.types import FloatArray

TrueLaw: TypeAlias = Callable[[FloatArray], FloatArray]
"""V(r) of one kind of pair, elementwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The law of a built-in system under given options."""

    name: str
    """Name of the system in the catalogue."""
    spec: SimulationSpec
    """Its options."""
    pair_laws: Mapping[str, TrueLaw]
    """The law of each kind of pair by the name of its channel: a bond type, or a pair of species such as `1-2`."""

    def potential(self, frame: Frame) -> AbstractPotential:
        """Energy and forces of states of the frame's particles.

        Raises SpecError when the frame cannot be a state of this system. A potential may remember neighbours
        between calls: take one for each trajectory and thread.
        """
        built = self._potential(frame)
        expected = built.n_particles if isinstance(built, PairSum) else frame.n_particles
        if expected != frame.n_particles:
            raise SpecError(
                f"the {self.name} of these options has {expected} particles, the frame {frame.n_particles}:"
                " compare with the dataset that the frame belongs to"
            )
        return built

    def _potential(self, frame: Frame) -> AbstractPotential:
        spec = self.spec
        if isinstance(spec, NetworkSpec):
            return network_potential(spec)
        if isinstance(spec, NSpringSpec):
            return PairSum(QUARTIC_SPRING, ring_bonds(spec.n_bodies), spec.n_bodies)
        if isinstance(spec, LennardJonesSpec | KobAndersenSpec):
            box = frame.box
            if box is None or not np.array_equal(np.diag(np.diag(box)), box) or not all(frame.periodic):
                raise SpecError(
                    f"{self.name} lives in an orthorhombic periodic box, which the frame has not: compare with the"
                    " dataset that the frame belongs to"
                )
            return LennardJones(spec.table, frame.species, np.diag(box), skin=spec.skin)
        if isinstance(spec, GravitySpec):
            return gravity_potential(np.full(spec.n_bodies, spec.mass), spec.strength)
        return gravity_potential(np.ones(N_BODIES))


def truth_of(attrs: Mapping[str, Any]) -> Truth | None:
    """The truth behind a dataset with these attributes; None for data that `simulate` did not write.

    Raises SpecError when the record names a system or an option that this version does not know.
    """
    record = attrs.get("simulation")
    if not isinstance(record, Mapping) or "system" not in record:
        return None
    name = str(record["system"])
    spec = system(name).spec(record.get("options", {}))
    return Truth(name, spec, _pair_laws(spec))


def _at_distance(law: Law, r: FloatArray) -> FloatArray:
    # laws of several bonds carry parameters of shape (bonds, 1)
    return np.asarray(law.energy(np.atleast_2d(r * r))).reshape(r.shape)


def _cut_lennard_jones(epsilon: float, sigma: float, cutoff: float, r: FloatArray) -> FloatArray:
    """4 epsilon ((sigma/r)^12 - (sigma/r)^6), shifted to zero at the cutoff and zero beyond."""
    sixth, last = (sigma / np.minimum(r, cutoff)) ** 6, (sigma / cutoff) ** 6
    return np.asarray(4.0 * epsilon * (sixth * (sixth - 1.0) - last * (last - 1.0)))


def _pair_laws(spec: SimulationSpec) -> dict[str, TrueLaw]:
    if isinstance(spec, NetworkSpec):
        lattice = spec.lattice()
        r0 = spec.spacing if spec.r0 is None else spec.r0
        kinds = zip(lattice.bond_labels, (1.0, spec.diagonal_strength), (r0, np.sqrt(2.0) * r0), strict=False)
        return {label: partial(_at_distance, spec.law(np.array([[k]]), np.array([[rest]]))) for label, k, rest in kinds}
    if isinstance(spec, NSpringSpec):
        return {"bond": partial(_at_distance, QUARTIC_SPRING)}
    if isinstance(spec, LennardJonesSpec | KobAndersenSpec):
        table = spec.table
        n = len(table.sigma)
        return {
            f"{a + 1}-{b + 1}": partial(_cut_lennard_jones, table.epsilon[a, b], table.sigma[a, b], table.cutoff[a, b])
            for a in range(n)
            for b in range(a, n)
        }
    strength = spec.strength * spec.mass**2 if isinstance(spec, GravitySpec) else 1.0
    return {"1-1": partial(_at_distance, gravity(strength))}
