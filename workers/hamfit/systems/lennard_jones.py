"""Lennard-Jones particles in a periodic box: 4 eps ((sigma/r)^12 - (sigma/r)^6), energy shifted to 0 at the
cutoff.

The force is not shifted: it drops from its value at r_c to zero, as in LAMMPS's `pair_style lj/cut` with
`pair_modify shift yes`. Pairs come from a Verlet list: all pairs within r_c + skin, from vesin, with their
periodic shifts, kept until a particle has moved half the skin. Because shifts are stored with the pairs,
boxes smaller than twice the cutoff need no special care, and positions may stay unwrapped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hamfit.errors import SpecError
from hamfit.systems.potentials import AbstractPotential
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class PairTable:
    """Parameters for each pair of S species; symmetric (S, S) tables."""

    epsilon: FloatArray
    """Depth."""
    sigma: FloatArray
    """Distance of zero energy, before the shift."""
    cutoff: FloatArray
    """Distance beyond which the pair does not interact."""

    def __post_init__(self) -> None:
        for name in ("epsilon", "sigma", "cutoff"):
            table = getattr(self, name)
            if table.ndim != 2 or not np.array_equal(table, table.T) or not (table > 0.0).all():
                raise SpecError(f"{name} must be a symmetric table of positive numbers, one per pair of species")

    @property
    def shift(self) -> FloatArray:
        """Energy at the cutoff, which is subtracted, (S, S)."""
        sixth = (self.sigma / self.cutoff) ** 6
        return np.asarray(4.0 * self.epsilon * sixth * (sixth - 1.0))


class LennardJones(AbstractPotential):
    """Energy and forces of particles in an orthorhombic box that repeats along all its 2 or 3 axes.

    Holds a Verlet list between calls, so one object serves one trajectory and one thread. The list never
    changes which pairs interact, only in which order their forces are summed.
    """

    def __init__(self, table: PairTable, species: IntArray, edges: FloatArray, *, skin: float = 0.3) -> None:
        if len(edges) not in (2, 3):
            raise SpecError(f"a Lennard-Jones box has 2 or 3 edges, not {len(edges)}: give one of a plane or of space")
        if species.size and species.max() >= len(table.sigma):
            raise SpecError(f"species {species.max()} has no row in the table of {len(table.sigma)} species")
        self.table = table
        self.species = species
        # The plane is handled as a slice of space, so that there is one kernel with unrolled axes.
        self._edges = np.pad(edges, (0, 3 - len(edges)), constant_values=1.0)
        self._reach = float(table.cutoff.max()) + skin
        self._slack = (0.5 * skin) ** 2
        self._cutoff2 = table.cutoff**2
        self._sigma2 = table.sigma**2
        self._shift = table.shift
        self._built_at: FloatArray | None = None
        self._listed: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int16]]

    def energy(self, q: FloatArray) -> FloatArray:
        """Potential energy of positions (N, d), shape ()."""
        return np.asarray(self._evaluate(q)[0])

    def forces(self, q: FloatArray) -> FloatArray:
        """-dV/dq of positions (N, d), (N, d)."""
        return self._evaluate(q)[1]

    def _evaluate(self, q: FloatArray) -> tuple[float, FloatArray]:
        # numba takes long to import, and those who only list the systems need none of it.
        from hamfit.systems.pair_kernels import moved_less, sum_pairs

        dim = q.shape[1]
        points = np.ascontiguousarray(np.pad(q, ((0, 0), (0, 3 - dim))))
        if self._built_at is None or not moved_less(points, self._built_at, self._slack):
            self._build(points, dim)
        forces = np.zeros_like(points)
        energy = sum_pairs(
            points,
            *self._listed,
            self._edges,
            self.species,
            self.table.epsilon,
            self._sigma2,
            self._cutoff2,
            self._shift,
            forces,
        )
        return energy, forces[:, :dim]

    def _build(self, points: FloatArray, dim: int) -> None:
        from vesin import NeighborList

        if not np.isfinite(points).all():
            raise SpecError("particles left their box at infinite speed; take a smaller dt or a gentler start")
        periodic = [axis < dim for axis in range(3)]
        # One thread, so that the order of pairs, and with it the last bit of a force, is always the same.
        search = NeighborList(cutoff=self._reach, full_list=False, n_threads=1)
        first, second, image = search.compute(points, np.diag(self._edges), periodic, "ijS")
        self._listed = (first.astype(np.int32), second.astype(np.int32), image.astype(np.int16))
        self._built_at = points.copy()
