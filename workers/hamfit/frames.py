"""A frame: the state of a particle system at one time.

Everything between the data store and the kernels speaks in frames, so that a block, a graph or a model never needs
to know where the numbers came from. Numbers are in the consistent units of their dataset: ``pdot`` is the time
derivative of ``p`` without any conversion factor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hamfit.errors import DataError, ModelError
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Positions, and where known momenta, velocities, forces and energy, of N particles in d dimensions."""

    q: FloatArray
    """Positions, (N, d), unwrapped or wrapped: only differences modulo the box matter."""
    species: IntArray
    """Index into ``labels`` for each particle, (N,)."""
    labels: tuple[str, ...]
    """Names of the species."""
    masses: FloatArray
    """Mass of each particle, (N,), positive."""
    box: FloatArray | None = None
    """Lattice vectors as rows, (d, d); None for an open system."""
    periodic: tuple[bool, ...] = ()
    """Whether each lattice direction repeats; all False when empty."""
    p: FloatArray | None = None
    """Momenta, (N, d)."""
    qdot: FloatArray | None = None
    """Velocities dq/dt, (N, d)."""
    pdot: FloatArray | None = None
    """Forces dp/dt, (N, d)."""
    potential_energy: float | None = None
    """Potential energy of the whole frame."""
    stress: FloatArray | None = None
    """Stress of the whole frame, (d, d), energy per volume (length^d), symmetric, tension positive."""
    bonds: IntArray | None = None
    """Pairs of bonded particles, (B, 2)."""
    bond_types: IntArray | None = None
    """Index into ``bond_labels`` for each bond, (B,)."""
    bond_labels: tuple[str, ...] = ()
    """Names of the bond types."""

    def __post_init__(self) -> None:
        if self.q.ndim != 2 or not 1 <= self.q.shape[1] <= 3:
            raise DataError(f"q has shape {self.q.shape}: a frame needs (particles, 1..3 dimensions)")
        n, d = self.q.shape
        if not self.periodic:
            object.__setattr__(self, "periodic", (False,) * d)
        expected: dict[str, tuple[int, ...]] = {"species": (n,), "masses": (n,), "p": (n, d), "qdot": (n, d)}
        expected |= {"pdot": (n, d), "box": (d, d), "stress": (d, d)}
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise DataError(f"{name} has shape {value.shape} where {shape} is needed to match q {self.q.shape}")
        if len(self.periodic) != d:
            raise DataError(f"periodic has {len(self.periodic)} entries for {d} dimensions: give one for each")
        if any(self.periodic) and self.box is None:
            raise DataError("a periodic frame has no box: give its lattice vectors")

    @property
    def n_particles(self) -> int:
        """Number of particles N."""
        return int(self.q.shape[0])

    @property
    def dim(self) -> int:
        """Number of space dimensions d."""
        return int(self.q.shape[1])

    def relabel(self, labels: tuple[str, ...], bond_labels: tuple[str, ...] = ()) -> Frame:
        """The same frame with ``species`` and ``bond_types`` indexing other tables of names.

        Raises ModelError when this frame holds a species or bond type that the new table lacks.
        """
        if labels == self.labels and (bond_labels == self.bond_labels or self.bonds is None):
            return self
        species = _translate(self.species, self.labels, labels, "species")
        types = self.bond_types
        if types is not None and self.bonds is not None and bond_labels:
            types = _translate(types, self.bond_labels, bond_labels, "bond type")
        return replace(self, species=species, labels=labels, bond_types=types, bond_labels=bond_labels)


def _translate(index: IntArray, old: tuple[str, ...], new: tuple[str, ...], what: str) -> IntArray:
    table = np.array([new.index(name) if name in new else -1 for name in old], dtype=np.int64)
    present = np.unique(index)
    unknown = [old[k] for k in present if table[k] < 0]
    if unknown:
        known = ", ".join(new)
        raise ModelError(f"{what} {', '.join(unknown)} is unknown here (known: {known}): refit with data that has it")
    return table[index]
