"""Times the phases of a fit and tells whoever listens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hamfit.fitting.shards import Shard
from hamfit.processes import peak_bytes
from hamfit.progress import Event, Progress, silent


class Clock:
    """Times the phases and tells the listener."""

    def __init__(self, progress: Progress = silent) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @property
    def total(self) -> float:
        """Seconds since the beginning."""
        return round(time.perf_counter() - self._began, 4)

    @contextmanager
    def phase(self, name: str, total: int = 0, rows: int = 0) -> Iterator[Callable[[Shard], None]]:
        """Time the block as one phase; it gets a function to call with every finished shard."""
        began = time.perf_counter()
        done = 0

        def tell() -> None:
            share = rows * done // total if total else 0
            self.progress(Event(name, done, total, share, time.perf_counter() - began, peak_bytes()))

        def one_more(shard: Shard) -> None:
            nonlocal done
            done += 1
            tell()

        tell()
        yield one_more
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - began, 4)
