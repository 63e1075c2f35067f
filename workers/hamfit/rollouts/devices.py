"""Which device runs a rollout.

Bits depend on the device, as other devices round otherwise; what is right does not. So a rollout runs and is taken up
on whatever device is at hand, and each trajectory tells all those that made it.
"""

from __future__ import annotations

from hamfit.devices import AbstractDevice, DeviceChoice, device_for

#: From so many particles on ``auto`` takes a GPU: a step takes some 50 us there however few they are, and some 0.1 us
#: for each particle on one core. An estimate, not yet measured.
WORTHWHILE_PARTICLES = 4000


def device_of(particles: int, choice: DeviceChoice) -> AbstractDevice | None:
    """The device of this process for a rollout of so many particles; None for the processor."""
    return device_for(particles, choice, WORTHWHILE_PARTICLES)
