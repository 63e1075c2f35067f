"""How many particles a panel on a device takes: as many as a share of its memory holds, fewer once that was too many.

How rows are grouped decides the last bits of their sums. So panels are planned by the memory that the device has, not
by what happens to be free, and are powers of two: devices of one kind take the same ones, until one of them has to
halve them, which is said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

from hamfit.devices.device import AbstractDevice, DeviceMemoryFull
from hamfit.errors import DeviceError
from hamfit.types import IntArray

_LOG = logging.getLogger(__name__)

#: Centres of the largest panel: a hundred thousand rows in three dimensions keep every GPU busy.
MOST_CENTRES = 2**15
#: Centres of the smallest panel: what has no room for these has no room for a fit.
FEWEST_CENTRES = 2**6
#: Share of the device's memory that a panel is planned for; the rest is for the frame, for what nobody counts, and for
#: whatever else is there.
_SHARE = 0.25


class PanelPlan:
    """The size of panels on one device, for as long as one stream of rows lasts."""

    def __init__(self, device: AbstractDevice, *, fewest: int = FEWEST_CENTRES, most: int = MOST_CENTRES) -> None:
        self._device = device
        self._fewest, self._limit = fewest, most
        self._was_halved = False
        self.centres = fewest
        """Centres of the next panel."""

    def measure(self, centre_bytes: float) -> None:
        """Plan panels of centres that take ``centre_bytes`` each, by the memory of the device."""
        fitting = int(_SHARE * self._device.total_bytes() / max(centre_bytes, 1.0))
        whole = 2 ** (max(fitting, 1).bit_length() - 1)
        self.centres = max(self._fewest, min(whole, self._limit))

    def run(self, order: IntArray, work: Callable[[IntArray], None]) -> None:
        """Do ``work`` for all particles in order, panel by panel; what does not fit must have left no trace.

        Raises DeviceError when a panel could hardly be smaller.
        """
        taken = 0
        while taken < order.size:
            some = order[taken : taken + self.centres]
            fits = False
            with suppress(DeviceMemoryFull), self._device.guarded():
                work(some)
                fits = True
            if fits:
                taken += some.size
            else:
                # only here has the exception let go of the arrays of the panel
                self.halve(some.size)

    def halve(self, tried: int) -> None:
        """A panel of ``tried`` centres did not fit: this and all later ones are half as large.

        Raises DeviceError when a panel could hardly be smaller.
        """
        if tried <= self._fewest:
            raise DeviceError(
                f"{self._device.name} has no room for the rows of {tried} particles: free its memory, "
                "give fewer features or a shorter cutoff, or use the device cpu"
            )
        self.centres = self._limit = max(self._fewest, min(tried, self.centres) // 2)
        self._was_halved = True
        # what CuPy keeps for reuse may be in pieces that are too small
        self._device.release()
        _LOG.warning("%s ran out of memory: panels now hold %d particles", self._device.name, self.centres)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it: one sentence once a panel did not fit, else nothing."""
        if not self._was_halved:
            return ()
        return (f"{self._device.name} ran out of memory: smaller panels were taken, which is slower, not worse",)
