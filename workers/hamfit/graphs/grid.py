"""Cells that particles are sorted into: sizes of everything, from the box and the cutoff.

Cells are about as wide as the greatest cutoff. Finer cells leave fewer candidates, but so few centres share them that
gathering costs more than it saves (10,976 atoms of a Lennard-Jones liquid, cutoff 2.5, all full lists: 11 ms with cells
as wide as the cutoff, 20 ms at half of that).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.errors import GraphError
from hamfit.graphs.lattice import Lattice
from hamfit.types import FloatArray, IntArray

_MOST_CELLS_PER_PARTICLE = 2
"""Keeps memory O(N) when particles are spread thinly."""
_MOST_NEIGHBOURS = 1e7
"""A mean neighbour count beyond this is a mistake in the cutoff (one list would take half a gigabyte)."""


@dataclass(frozen=True, slots=True, eq=False)
class CellGrid:
    """The cells of one box, or of the bounding box of an open system."""

    low: FloatArray
    """Lowest fractional coordinates, (3,)."""
    scale: FloatArray
    """Cells for each unit of these, (3,)."""
    shape: IntArray
    """Cells along each axis, (3,)."""
    reach: IntArray
    """Cells on either side within which the neighbours of a cell's particles lie, (3,)."""
    search: float
    """The cutoff and what rounding may add to it."""
    expected: float
    """Mean neighbour count of particles spread evenly over a box at least the cutoff thick where open."""

    @classmethod
    def of(cls, lattice: Lattice, low: FloatArray, high: FloatArray, size: float, n: int, cutoff: float) -> CellGrid:
        """The grid for n particles whose fractional coordinates lie in low .. high, (3,) each, along open directions.

        size: the greatest coordinate, positive. Raises GraphError for a cutoff that spans more than 10^7 neighbours.
        """
        low = np.where(lattice.periodic, 0.0, low)
        span = np.where(lattice.periodic, 1.0, high - low)
        # No rounding of positions, fractions or bounding boxes may hide a pair: look a little further.
        search = cutoff * (1 + 1e-9) + 1e-13 * max(size, float(np.abs(lattice.vectors).max()))
        widths = lattice.heights * span
        spans = np.where(lattice.periodic, span, np.maximum(span, cutoff))
        volume = abs(float(np.linalg.det(lattice.vectors))) * float(np.prod(spans))
        expected = 4 / 3 * np.pi * cutoff**3 * n / volume
        if expected > _MOST_NEIGHBOURS:
            raise GraphError(f"cutoff {cutoff:g} means about {expected:.0e} neighbours of each particle: lower it")
        # at least one cell along each axis, else none narrower than the search length, and O(N) in all
        most = _MOST_CELLS_PER_PARTICLE * n
        shape = np.clip(np.floor(widths / search), 1, most)
        while np.prod(shape) > most:
            shape = np.maximum(1, np.floor(0.9 * shape))
        shape = shape.astype(np.int64)
        scale = np.divide(shape, span, out=np.zeros(3), where=span > 0)
        reach = np.ceil(np.divide(search * shape, widths, out=np.zeros(3), where=widths > 0)).astype(np.int64)
        # Along open directions there is nothing to reach beyond the last cell.
        reach = np.where(lattice.periodic, reach, np.minimum(reach, shape - 1))
        return cls(low, scale, shape, reach, search, expected)
