"""The kernels of a rollout on a device: forces, steps and counts over neighbour lists, arrays in arrays out.

Stages of a batch are launched without a look at what came of them. Where a particle leaves the skin, the word ``halt``
holds the stage at which that happened, and all that was launched for later does nothing (``kernels/cuda/stepping.cu``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.kernels.density import Densities
from hamfit.kernels.pair_tables import Tables
from hamfit.kernels.stepping import LawRows
from hamfit.types import FloatArray

#: A halt that is none: beyond every stage.
NEVER = np.iinfo(np.int32).max
#: Words that forces of pairs are observed in: energy, and the virial as xx yy zz xy xz yz.
OBSERVED_WORDS = 7


class NeighbourLists(Protocol):
    """Full lists of sorted particles, as ``graphs.device_lists`` builds them."""

    @property
    def listed(self) -> DeviceArray:
        """Neighbours, slot after slot, (most, N) int32."""
        ...

    @property
    def codes(self) -> DeviceArray:
        """Number of the translation to each, (most, N) int32."""
        ...

    @property
    def counts(self) -> DeviceArray:
        """Neighbours of each particle, (N,) int32."""
        ...

    @property
    def translations(self) -> DeviceArray:
        """Lattice translations, (T, 3) float64."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class DeviceBodies:
    """The state of N sorted particles; the arrays stay where they are for as long as an engine lives."""

    atoms: DeviceArray
    """Positions since the last sorting, and the species, (N, 4) float64."""
    momentum: DeviceArray
    """(3, N) float64."""
    force: DeviceArray
    """(3, N) float64."""
    start: DeviceArray
    """Positions when the lists were built, (3, N) float64."""
    rate: DeviceArray
    """Velocity over momentum, (N,) float64."""
    halt: DeviceArray
    """First stage of the batch whose drift left the skin, else NEVER, (1,) int32."""

    @property
    def n(self) -> int:
        """Number of particles N."""
        return int(self.rate.size)


@dataclass(frozen=True, slots=True, eq=False)
class DeviceLaws:
    """``kernels.stepping.LawRows`` on a device."""

    channels: DeviceArray
    """(S, S) int64."""
    rows: DeviceArray
    """(C, longest row) float64."""
    inverse: DeviceArray
    """(C,) int64."""
    cutoff2: DeviceArray
    """(C,) float64."""
    curves: tuple[DeviceArray, ...]
    """The tables, in the order of ``curves.cu``."""

    @classmethod
    def of(cls, device: AbstractDevice, laws: LawRows) -> DeviceLaws:
        """Copies of the laws of all channels."""
        up = device.upload
        curves = upload_curves(device, laws.tables)
        return cls(up(laws.channels), up(laws.rows), up(laws.inverse), up(laws.cutoff2), curves)

    @property
    def arguments(self) -> tuple[DeviceArray | int, ...]:
        """What kernels take."""
        words, species = self.rows.shape[1], self.channels.shape[0]
        return self.channels, self.rows, self.inverse, self.cutoff2, words, species, *self.curves


@dataclass(frozen=True, slots=True, eq=False)
class DeviceDensities:
    """``kernels.density.Densities`` on a device."""

    which: DeviceArray
    """(S, S, 3) int64."""
    rows: DeviceArray
    """(G, 6) float64."""
    functions: tuple[DeviceArray, ...]
    """Functions of the distance, in the order of ``curves.cu``."""
    embeddings: tuple[DeviceArray, ...]
    """Functions of the density, likewise."""
    empty: DeviceArray
    """(S,) float64."""

    @classmethod
    def of(cls, device: AbstractDevice, densities: Densities) -> DeviceDensities:
        """Copies of the functions of a model."""
        return cls(
            device.upload(densities.which),
            device.upload(densities.rows),
            upload_curves(device, densities.functions),
            upload_curves(device, densities.embeddings),
            device.upload(densities.empty),
        )

    @property
    def arguments(self) -> tuple[DeviceArray | int, ...]:
        """What kernels take of the functions of the distance."""
        nothing = self.rows.shape[0] - 1
        return self.which, self.rows, self.which.shape[0], nothing, *self.functions


def upload_curves(device: AbstractDevice, tables: Tables) -> tuple[DeviceArray, ...]:
    """Tables as kernels take them."""
    fields = "segments", "ends", "maps", "low", "scale", "pieces", "first", "coefficients", "nearest", "farthest"
    return tuple(device.upload(getattr(tables, name)) for name in fields)


def _lists(bodies: DeviceBodies, lists: NeighbourLists) -> tuple[DeviceArray, ...]:
    return bodies.atoms, lists.listed, lists.codes, lists.counts, lists.translations


def kick_and_drift(
    device: AbstractDevice, bodies: DeviceBodies, kick: float, drift: float, limit2: float, stage: int
) -> None:
    """Move all particles, and halt at ``stage`` where one is farther than sqrt(limit2) from its start."""
    b = bodies
    arguments = b.atoms, b.momentum, b.force, b.start, b.rate, kick, drift, limit2, stage, b.halt
    device.launch_each("kick_and_drift", b.n, *arguments)


def last_kick(device: AbstractDevice, bodies: DeviceBodies, kick: float) -> None:
    """The kick that ends a whole number of steps."""
    device.launch_each("last_kick", bodies.n, bodies.momentum, bodies.force, kick)


def is_lost(device: AbstractDevice, bodies: DeviceBodies, far: float) -> bool:
    """Whether a number is not finite, or a coordinate beyond ``far``."""
    lost = device.xp.zeros(1, dtype=np.int32)
    device.launch_each("find_lost", bodies.n, bodies.atoms, bodies.momentum, far, lost)
    return bool(device.download(lost)[0])


def pair_forces(
    device: AbstractDevice, bodies: DeviceBodies, lists: NeighbourLists, laws: DeviceLaws, stage: int
) -> None:
    """Forces of all pairs into ``bodies``, unless the batch halted at ``stage`` or before."""
    last = stage, bodies.halt, bodies.force
    device.launch_each("pair_forces", bodies.n, *_lists(bodies, lists), *laws.arguments, *last)


def pair_observe(device: AbstractDevice, bodies: DeviceBodies, lists: NeighbourLists, laws: DeviceLaws) -> FloatArray:
    """Forces of all pairs into ``bodies``; energy and virial, (7,)."""
    sums = device.xp.empty((OBSERVED_WORDS, bodies.n))
    device.launch_each("pair_observe", bodies.n, *_lists(bodies, lists), *laws.arguments, bodies.force, sums)
    return device.download(sums.sum(axis=1))


def density_sums(
    device: AbstractDevice,
    bodies: DeviceBodies,
    lists: NeighbourLists,
    densities: DeviceDensities,
    stage: int,
    energy: DeviceArray,
    steep: DeviceArray,
) -> None:
    """F and F' (N,) of the density around all particles, unless the batch halted at ``stage`` or before."""
    last = stage, bodies.halt, energy, steep
    arguments = *_lists(bodies, lists), *densities.arguments, *densities.embeddings, densities.empty, *last
    device.launch_each("density_sums", bodies.n, *arguments)


def density_forces(
    device: AbstractDevice,
    bodies: DeviceBodies,
    lists: NeighbourLists,
    densities: DeviceDensities,
    stage: int,
    steep: DeviceArray,
) -> None:
    """Forces from F' (N,) into ``bodies``, unless the batch halted at ``stage`` or before."""
    last = steep, stage, bodies.halt, bodies.force
    device.launch_each("density_forces", bodies.n, *_lists(bodies, lists), *densities.arguments, *last)


def density_observe(
    device: AbstractDevice,
    bodies: DeviceBodies,
    lists: NeighbourLists,
    densities: DeviceDensities,
    steep: DeviceArray,
) -> FloatArray:
    """Forces from F' (N,) into ``bodies``; energy of the pair functions, and virial, (7,)."""
    sums = device.xp.empty((OBSERVED_WORDS, bodies.n))
    last = steep, bodies.force, sums
    device.launch_each("density_observe", bodies.n, *_lists(bodies, lists), *densities.arguments, *last)
    return device.download(sums.sum(axis=1))


def count_pairs(
    device: AbstractDevice,
    bodies: DeviceBodies,
    lists: NeighbourLists,
    channels: DeviceArray,
    cutoff2: DeviceArray,
    extents: DeviceArray,
) -> tuple[int, int, int]:
    """Pairs within their cutoffs (C,): those outside extents (C, 2), all, and those at one place."""
    tallies = device.xp.empty((3, bodies.n), dtype=np.int32)
    arguments = channels, cutoff2, extents, channels.shape[0], tallies
    device.launch_each("count_pairs", bodies.n, *_lists(bodies, lists), *arguments)
    # lists are full: every pair is in those of both its ends
    outside, near, coincident = (device.download(tallies.sum(axis=1, dtype=np.int64)) // 2).tolist()
    return outside, near, coincident
