"""The kernels of a rollout on a device: forces, steps and counts over neighbour lists, arrays in arrays out.

Stages of a batch are launched without a look at what came of them. Where a particle leaves the skin, the word ``halt``
holds the stage at which that happened, and all that was launched for later does nothing (``kernels/cuda/stepping.cu``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.kernels.density import Densities
from hamfit.kernels.pair_forces import LawRows
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


def on_device(device: AbstractDevice, numbers: Any) -> Any:
    """A copy of an array on the device, or of a named tuple of them, such as ``LawRows`` or ``Densities``."""
    if isinstance(numbers, tuple):
        return cast(Any, type(numbers))._make(on_device(device, one) for one in numbers)
    return device.upload(numbers)


def _lists(bodies: DeviceBodies, lists: NeighbourLists) -> tuple[DeviceArray, ...]:
    return bodies.atoms, lists.listed, lists.codes, lists.counts, lists.translations


def _laws(laws: LawRows) -> tuple[DeviceArray | int, ...]:
    words, species = laws.rows.shape[1], laws.channels.shape[0]
    return laws.channels, laws.rows, laws.inverse, laws.cutoff2, words, species, *laws.tables


def _distances(densities: Densities) -> tuple[DeviceArray | int, ...]:
    """What kernels take of the functions of the distance."""
    nothing = densities.rows.shape[0] - 1
    return densities.which, densities.rows, densities.which.shape[0], nothing, *densities.functions


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
    device: AbstractDevice, bodies: DeviceBodies, lists: NeighbourLists, laws: LawRows, stage: int
) -> None:
    """Forces of all pairs into ``bodies``, unless the batch halted at ``stage`` or before; laws are on the device."""
    last = stage, bodies.halt, bodies.force
    device.launch_each("pair_forces", bodies.n, *_lists(bodies, lists), *_laws(laws), *last)


def pair_observe(device: AbstractDevice, bodies: DeviceBodies, lists: NeighbourLists, laws: LawRows) -> FloatArray:
    """Forces of all pairs into ``bodies``; energy and virial, (7,)."""
    sums = device.xp.empty((OBSERVED_WORDS, bodies.n))
    device.launch_each("pair_observe", bodies.n, *_lists(bodies, lists), *_laws(laws), bodies.force, sums)
    return device.download(sums.sum(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class DeviceDensities:
    """A one-density model and its particles on a device."""

    functions: Densities
    """The functions of the model, on the device."""
    energy: DeviceArray
    """F of each particle, (N,)."""
    steep: DeviceArray
    """F' of each particle, (N,)."""

    def sum(self, device: AbstractDevice, bodies: DeviceBodies, lists: NeighbourLists, stage: int) -> None:
        """F and F' of the density around all particles, unless the batch halted at ``stage`` or before."""
        d, last = self.functions, (stage, bodies.halt, self.energy, self.steep)
        arguments = *_lists(bodies, lists), *_distances(d), *d.embeddings, d.empty, *last
        device.launch_each("density_sums", bodies.n, *arguments)

    def push(self, device: AbstractDevice, bodies: DeviceBodies, lists: NeighbourLists, stage: int) -> None:
        """Forces from F' into ``bodies``, unless the batch halted at ``stage`` or before."""
        last = self.steep, stage, bodies.halt, bodies.force
        device.launch_each("density_forces", bodies.n, *_lists(bodies, lists), *_distances(self.functions), *last)

    def observe(self, device: AbstractDevice, bodies: DeviceBodies, lists: NeighbourLists) -> FloatArray:
        """Forces from F' into ``bodies``; energy of the pair functions, and virial, (7,)."""
        sums = device.xp.empty((OBSERVED_WORDS, bodies.n))
        last = self.steep, bodies.force, sums
        device.launch_each("density_observe", bodies.n, *_lists(bodies, lists), *_distances(self.functions), *last)
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
