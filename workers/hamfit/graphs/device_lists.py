"""Neighbour lists with a skin, built on a device from positions there, for particles that move a little every step.

Lists are full: each particle has all its neighbours, so forces are gathered without a scatter. They are laid out slot
after slot, so that the threads of a warp, one for each particle, read words that lie side by side. As long as no
particle has moved half the skin, all pairs within their cutoffs are among them, at
``(x_i - x_j) - translations[code]`` for positions x from which the translations at the time of building are taken off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.graphs.device_cells import cells_of
from hamfit.graphs.lattice import Lattice
from hamfit.graphs.skin import widened
from hamfit.kernels.gpu_cells import SortedCells, list_neighbours
from hamfit.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class DeviceLists:
    """Neighbours of N particles, which are numbered by their sorted places: near ones lie close together."""

    order: DeviceArray
    """Particle at each sorted place, (N,) int32."""
    x: DeviceArray
    """Positions in the box when the lists were built, sorted, (3, N) float64."""
    listed: DeviceArray
    """Sorted place of each neighbour, (room, N) int32; of particle i the first ``counts[i]`` slots."""
    codes: DeviceArray
    """Number of the translation of each neighbour, (room, N) int32."""
    counts: DeviceArray
    """Neighbours of each particle, (N,) int32."""
    translations: DeviceArray
    """Lattice translations, (T, 3) float64."""
    images: IntArray
    """Translations along each axis are -images .. images, on the host, (3,)."""

    @property
    def room(self) -> int:
        """Neighbours that a particle may have."""
        return int(self.listed.shape[0])


def build_lists(
    device: AbstractDevice,
    q: DeviceArray,
    species: DeviceArray,
    lattice: Lattice,
    cutoffs: FloatArray,
    skin: float,
    into: DeviceLists | None = None,
) -> DeviceLists:
    """All neighbours within cutoff and skin of each particle, its own images included.

    q (3, N) float64 positions in any box, in any order, and species (N,) int32, on the device; cutoffs (S, S) on the
    host, where 0 joins none. The order of a particle's neighbours is that of ``CutoffGraph``. Particles at one place
    are neighbours.

    ``into``: earlier lists of the same particles in the same lattice, whose arrays are used again where they have room;
    the same object is returned then, and its arrays are where they were. Where another one is, the earlier is spoilt.

    Nothing is downloaded but a few numbers. Raises GraphError for positions that are not finite, and a cutoff that
    spans more than 10^7 neighbours.
    """
    cells = cells_of(device, q, species, lattice, widened(cutoffs, skin))
    if into is not None and into.counts.size == cells.n_particles and np.array_equal(into.images, cells.images):
        lists = into
        lists.order[...] = cells.order
        lists.x[...] = cells.x
    else:
        translations = device.upload(lattice.translations(cells.images))
        counts = device.xp.empty(cells.n_particles, dtype=np.int32)
        lists = _with_room(device, cells, 0, counts, translations)
    list_neighbours(device, cells, lists.listed, lists.codes, lists.counts)
    most = int(lists.counts.max())
    if most <= lists.room:
        return lists
    # a little more, so that small changes from one building to the next need no new arrays
    lists = _with_room(device, cells, most + most // 8 + 4, lists.counts, lists.translations)
    list_neighbours(device, cells, lists.listed, lists.codes, lists.counts)
    return lists


def _with_room(
    device: AbstractDevice, cells: SortedCells, room: int, counts: DeviceArray, translations: DeviceArray
) -> DeviceLists:
    """Lists of nothing yet."""
    listed, codes = (device.xp.empty((room, cells.n_particles), dtype=np.int32) for _ in range(2))
    return DeviceLists(cells.order, cells.x, listed, codes, counts, translations, cells.images)
