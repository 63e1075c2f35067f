"""The arrays of one trajectory, wherever they lie: in a complete dataset, or in one that is still being written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hamfit.data import layout
from hamfit.data.manifest import TrajectoryEntry
from hamfit.stores.replacing import stamp_of
from hamfit.stores.zarr_array import ArrayEntry, NumericArray, StoredArray


@dataclass(frozen=True, slots=True, eq=False)
class Readable:
    """A trajectory as far as it can be read."""

    name: str
    n_frames: int
    series: Mapping[str, tuple[StoredArray | None, NumericArray]]
    """By element (position, velocity, ..., step, time): full chunks, and the rows that follow them."""
    fixed: Mapping[str, NumericArray]
    """What is the same for all frames: species, mass, box."""
    labels: Sequence[str] = ()
    """Names of the species, where they are known."""

    @classmethod
    def of_entries(
        cls, root: Path, entry: TrajectoryEntry, arrays: Mapping[str, ArrayEntry], labels: Sequence[str] = ()
    ) -> Readable:
        """A finished trajectory below ``root``, by the entries of a manifest. Raises StoreError for damage."""
        series: dict[str, tuple[StoredArray | None, NumericArray]] = {}
        stamp = stamp_of(root)
        for key, path in layout.series_paths(entry.name, entry.fields).items():
            if path in arrays:
                stored = StoredArray(root, arrays[path], stamp)
                series[key] = (stored, np.empty((0, *stored.entry.shape[1:]), dtype=stored.entry.dtype))
        fixed = {
            key: StoredArray(root, arrays[path]).read()
            for key, path in layout.fixed_paths(entry.name).items()
            if path in arrays
        }
        return cls(entry.name, entry.n_frames, series, fixed, labels)

    def bytes_per_frame(self) -> int:
        """Size of one frame in memory."""
        return sum(8 * math.prod(rows.shape[1:]) for _, rows in self.series.values())

    def read(self, start: int, stop: int, step: int = 1) -> dict[str, NumericArray]:
        """Every ``step``-th of the frames start..stop, and what is fixed. Raises StoreError for damage."""
        return {key: self._rows(key, range(start, stop, step)) for key in self.series} | dict(self.fixed)

    def _rows(self, key: str, rows: range) -> NumericArray:
        """These rows; one chunk at a time is read, however far they are apart."""
        stored, rest = self.series[key]
        found = np.empty((len(rows), *rest.shape[1:]), dtype=rest.dtype)
        full = 0 if stored is None else stored.entry.shape[0]
        at = 0
        while stored is not None and at < len(rows) and rows[at] < full:
            size = stored.entry.chunks[0]
            end = min((rows[at] // size + 1) * size, full)
            here = rows[at : at + len(range(rows[at], min(end, rows.stop), rows.step))]
            found[at : at + len(here)] = stored.read(here[0], here[-1] + 1)[:: rows.step]
            at += len(here)
        found[at:] = rest[[row - full for row in rows[at:]]]
        return found
