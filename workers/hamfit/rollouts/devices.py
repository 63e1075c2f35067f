"""Which device runs a rollout.

Bits depend on the device, as other devices round otherwise. So the fingerprint of a plan holds the names of the devices
that it runs on, and a checkpoint is taken up on the device that made it and on no other. What each trajectory was made
on is kept with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from hamfit.devices import AbstractDevice, DeviceChoice, device_for

#: From so many particles on ``auto`` takes a GPU: a step takes some 50 us there however few they are, and some 0.1 us
#: for each particle on one core. An estimate, not yet measured.
WORTHWHILE_PARTICLES = 4000


def device_of(particles: int, choice: DeviceChoice) -> AbstractDevice | None:
    """The device of this process for a rollout of so many particles; None for the processor."""
    return device_for(particles, choice, WORTHWHILE_PARTICLES)


def device_names(particles: Sequence[int], choice: DeviceChoice) -> tuple[str, ...]:
    """Names of the devices that rollouts of these sizes take in this process beside the processor, sorted."""
    found = (device_of(n, choice) for n in set(particles))
    return tuple(sorted({device.name for device in found if device is not None}))
