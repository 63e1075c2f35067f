"""How often one client may ask: a steady rate, and a burst above it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

_REMEMBERED = 10_000


class RateLimits:
    """Counts requests by key; may be used from any thread.

    For each key one number is kept, the time at which its burst will be whole again (the generic cell rate algorithm).
    At most 10,000 keys are kept, those that asked last; one that comes back after that begins with a whole burst, which
    it would have by then unless as many others asked in the meantime.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow ``per_second`` requests on average, and ``burst`` of them at once (at least one)."""
        self._each = 1.0 / per_second
        self._slack = self._each * (max(burst, 1) - 1)
        self._clock = clock
        self._lock = threading.Lock()
        self._whole_at: OrderedDict[str, float] = OrderedDict()

    def allow(self, key: str) -> float:
        """0.0 when the request is allowed, and counted; else the seconds to wait, and nothing is counted."""
        with self._lock:
            now = self._clock()
            whole_at = max(now, self._whole_at.get(key, now))
            wait = whole_at - now - self._slack
            # rounding must not refuse one who has waited as long as was asked
            if wait > 1e-12 * max(1.0, now):
                return wait
            self._whole_at[key] = whole_at + self._each
            self._whole_at.move_to_end(key)
            while len(self._whole_at) > _REMEMBERED:
                self._whole_at.popitem(last=False)
            return 0.0
