"""Which device a process computes on."""

from __future__ import annotations

import os
from functools import cache

from hamfit.device_choice import CHOICES, DeviceChoice
from hamfit.devices.device import AbstractDevice
from hamfit.errors import DeviceError

#: From so many particles on ``auto`` takes a GPU: below, launching kernels takes longer than the processor's work. An
#: estimate (a launch takes some 5 us, a particle's rows some 3 us of one core), not yet measured.
WORTHWHILE_PARTICLES = 2000

VARIABLE = "HAMFIT_DEVICE"
"""Environment variable that decides where ``auto`` is asked for: each worker of a cluster may have its own."""


def device_for(
    particles: int, choice: DeviceChoice = "auto", worthwhile: int = WORTHWHILE_PARTICLES
) -> AbstractDevice | None:
    """The device for systems of this size: a GPU that nobody asked for by name is left alone by small ones."""
    device = choose_device(choice)
    asked = choice != "auto" or os.environ.get(VARIABLE, "auto") != "auto"
    return device if asked or particles >= worthwhile else None


def choose_device(choice: DeviceChoice = "auto") -> AbstractDevice | None:
    """The device of this process; None for the processor itself.

    ``auto`` is what HAMFIT_DEVICE says, else a GPU where CuPy finds one. ``cuda`` is the GPU that CuPy takes first (see
    CUDA_VISIBLE_DEVICES). ``emulated`` runs the CUDA source on the processor, to check it where there is no GPU.

    Raises DeviceError when a GPU is asked for and cannot be used, and for other words in HAMFIT_DEVICE.
    """
    if choice == "auto":
        asked = os.environ.get(VARIABLE, "auto")
        if asked not in CHOICES:
            raise DeviceError(f"{VARIABLE} is '{asked}': give one of {', '.join(CHOICES)}")
        choice = asked
    if choice == "cpu":
        return None
    if choice == "emulated":
        return _emulated()
    try:
        return _cuda()
    except DeviceError:
        if choice == "cuda":
            raise
        return None


@cache
def _cuda() -> AbstractDevice:
    # no CUDA at import time: workers that never compute on a GPU do not pay for it
    from hamfit.devices.cuda import CupyDevice

    return CupyDevice()


@cache
def _emulated() -> AbstractDevice:
    from hamfit.devices.emulated import EmulatedDevice

    return EmulatedDevice()
