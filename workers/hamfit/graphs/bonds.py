"""Particles joined by bonds that the frame lists, each with a type.

Under periodic directions a bond is the shortest vector between the images of its two particles. So a bond
list must name each pair once: in a periodic lattice of two cells along a direction the two bonds between
the same neighbours (one inside the box, one around it) would both be that same shortest vector, and one of
them wrong. Such lists are refused; use three cells or more along each periodic direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hamfit.errors import GraphError, SpecError
from hamfit.frames import Frame
from hamfit.graphs.graph import AbstractGraph, Edges, Prepared, checked_centres, coincident, padded_positions
from hamfit.graphs.lattice import Lattice
from hamfit.kernels.bonds import bonded_edges, bonds_of_particles, minimum_images
from hamfit.types import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class BondGraph(AbstractGraph):
    """Joins the particles that the frame's bonds name; the channel is the bond type."""

    kind: ClassVar[str] = "bonds"

    bond_labels: tuple[str, ...]
    """Names of the bond types."""

    def __post_init__(self) -> None:
        if len(self.bond_labels) == 0:
            raise SpecError("bond_labels is empty: name at least one type of bond")

    @property
    def channel_labels(self) -> tuple[str, ...]:
        """The bond types."""
        return self.bond_labels

    def prepare(self, frame: Frame) -> PreparedBonds:
        """All bonds as vectors, and for each particle its bonds, in O(N + B) time and memory.

        Raises GraphError for a frame without bonds or without their types (where there are several),
        positions that are not finite, a singular box, and bonds that name no particle, join a particle to
        itself, join coincident particles, have unknown types, or join the same two particles twice.
        """
        q = padded_positions(frame)
        bonds = _checked_bonds(frame)
        types = self._checked_types(frame, len(bonds))
        offsets, half, twice = bonds_of_particles(bonds, len(q))
        if twice >= 0:
            i, j = bonds[twice].tolist()
            raise GraphError(
                f"bonds join particles {i} and {j} twice, where a bond is their shortest vector: "
                "list each pair once, and give a periodic lattice three cells or more along each direction"
            )
        lattice = Lattice.of(frame)
        vectors = minimum_images(q, bonds, lattice.vectors, lattice.inverse, lattice.heights, lattice.periodic)
        lengths = np.sqrt(vectors[:, 0] ** 2 + vectors[:, 1] ** 2 + vectors[:, 2] ** 2)
        if lengths.size and lengths.min() == 0:
            raise coincident(*sorted(bonds[int(np.argmin(lengths))].tolist()))
        return PreparedBonds(offsets, half, bonds, types, vectors, lengths)

    def _checked_types(self, frame: Frame, n_bonds: int) -> IntArray:
        """Type of each bond, (B,); all zero when the frame has none and there is only one to choose."""
        n_types = len(self.bond_labels)
        if frame.bond_types is None:
            if n_types > 1:
                raise GraphError(
                    f"the frame has no bond_types: say which of {', '.join(self.bond_labels)} each bond is"
                )
            return np.zeros(n_bonds, dtype=np.int64)
        if frame.bond_labels and frame.bond_labels != self.bond_labels:
            raise GraphError(
                f"the frame names its bond types {', '.join(frame.bond_labels)} where the graph has "
                f"{', '.join(self.bond_labels)}: use frame.relabel first"
            )
        types = np.ascontiguousarray(frame.bond_types, dtype=np.int64)
        if types.shape != (n_bonds,):
            raise GraphError(f"bond_types has shape {types.shape} for {n_bonds} bonds: give one for each bond")
        if n_bonds and (types.min() < 0 or types.max() >= n_types):
            raise GraphError(f"bond_types has indices outside 0 to {n_types - 1}: correct them")
        return types


def _checked_bonds(frame: Frame) -> IntArray:
    if frame.bonds is None:
        raise GraphError("the frame has no bonds: give them, or use a cutoff")
    bonds = np.ascontiguousarray(frame.bonds, dtype=np.int64)
    if bonds.ndim != 2 or bonds.shape[1] != 2:
        raise GraphError(f"bonds has shape {bonds.shape}: give two particles for each bond, (bonds, 2)")
    if bonds.size and (bonds.min() < 0 or bonds.max() >= frame.n_particles):
        wrong = int(bonds.min() if bonds.min() < 0 else bonds.max())
        raise GraphError(f"bonds name particle {wrong}: the frame has particles 0 to {frame.n_particles - 1}")
    own = np.flatnonzero(bonds[:, 0] == bonds[:, 1])
    if own.size:
        raise GraphError(f"bond {own[0]} joins particle {bonds[own[0], 0]} to itself: remove it")
    return bonds


class PreparedBonds(Prepared):
    """Bonds as vectors, and the bonds of each particle in the order of the list; particles as they are numbered."""

    def __init__(self, offsets: IntArray, *bonds: npt.NDArray[Any]) -> None:
        self.order = np.arange(len(offsets) - 1, dtype=np.int64)
        self._kernel_arguments = (offsets, *bonds)

    def edges(self, centres: IntArray) -> Edges:
        """Every bond of every centre. Raises GraphError when a centre is no particle."""
        return Edges(*bonded_edges(checked_centres(centres, len(self.order)), *self._kernel_arguments))
