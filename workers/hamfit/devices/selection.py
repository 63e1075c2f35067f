"""Which device a process computes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache, wraps

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
    """The device for systems of this size: a GPU that nobody asked for by name is left alone by small ones.

    Raises DeviceError as ``choose_device`` does.
    """
    asked = _asked(choice)
    # the size comes first: small systems do not even load CuPy to look for a GPU
    return None if asked == "auto" and particles < worthwhile else choose_device(asked)


def choose_device(choice: DeviceChoice = "auto") -> AbstractDevice | None:
    """The device of this process; None for the processor itself.

    ``auto`` is what HAMFIT_DEVICE says, else a GPU where CuPy finds one. ``cuda`` is the GPU that CuPy takes first (see
    CUDA_VISIBLE_DEVICES). ``emulated`` runs the CUDA source on the processor, to check it where there is no GPU.

    Raises DeviceError when a GPU is asked for and cannot be used, and for other words in HAMFIT_DEVICE.
    """
    asked = _asked(choice)
    if asked == "cpu":
        return None
    if asked == "emulated":
        return _emulated()
    try:
        return _cuda()
    except DeviceError:
        if asked == "cuda":
            raise
        return None


def _asked(choice: DeviceChoice) -> DeviceChoice:
    """The choice, and for ``auto`` what HAMFIT_DEVICE says; ``auto`` only where nobody asks for anything."""
    if choice != "auto":
        return choice
    asked = os.environ.get(VARIABLE, "auto")
    if asked not in CHOICES:
        raise DeviceError(f"{VARIABLE} is '{asked}': give one of {', '.join(CHOICES)}")
    return asked


def _once(make: Callable[[], AbstractDevice]) -> Callable[[], AbstractDevice]:
    """Makes a device when it is first asked for, one for all threads: its ``turn`` must be the same for all.

    A failure is kept too. A machine without a GPU would else look for CuPy with every shard.
    """
    lock = threading.Lock()

    @cache
    def made() -> AbstractDevice | str:
        try:
            return make()
        except DeviceError as error:
            return str(error)

    @wraps(make)
    def device() -> AbstractDevice:
        # threads that ask while another makes it wait here
        with lock:
            found = made()
        if isinstance(found, str):
            # a new exception each time: one that is raised again collects the tracebacks of all who met it
            raise DeviceError(found)
        return found

    return device


@_once
def _cuda() -> AbstractDevice:
    # no CUDA at import time: workers that never compute on a GPU do not pay for it
    from hamfit.devices.cuda import CupyDevice

    return CupyDevice()


@_once
def _emulated() -> AbstractDevice:
    from hamfit.devices.emulated import EmulatedDevice

    return EmulatedDevice()
