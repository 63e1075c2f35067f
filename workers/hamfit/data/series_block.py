"""Frames of one trajectory waiting to be written: converted to the dataset's units and stacked by field."""

from __future__ import annotations

from typing import Any

import numpy as np

from hamfit.data.derivatives import REACH, derivatives_of_series, unwrapped
from hamfit.data.raw_frame import RawFrame
from hamfit.data.units import InputUnits
from hamfit.errors import DataError
from hamfit.types import FloatArray


class SeriesBlock:
    """Consecutive frames of one trajectory, all with the same fields."""

    def __init__(self, units: InputUnits, periodic: tuple[bool, ...], last_step: int = -1) -> None:
        self._units = units
        self._periodic = periodic
        self._last_step = last_step
        self._wrapped = False
        self._series: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self._series.get("q", ()))

    def append(self, frame: RawFrame, potential_energy: float | None, time: float | None) -> None:
        """Take one frame; energy and time come in the dataset's units, all else in the file's."""
        units = self._units
        self._last_step = self._last_step + 1 if frame.step is None else frame.step
        self._wrapped |= frame.wrapped
        values: dict[str, Any] = {
            "q": frame.q * units.length,
            "box": None if frame.box is None or not any(self._periodic) else frame.box * units.length,
            "velocity": None if frame.velocity is None else frame.velocity * units.velocity,
            "force": None if frame.force is None else frame.force * units.force,
            "momentum": None if frame.momentum is None else frame.momentum * units.momentum,
            "momentum_rate": None if frame.momentum_rate is None else frame.momentum_rate * units.force,
            "potential_energy": potential_energy,
            "step": self._last_step,
            "time": time,
        }
        for name, value in values.items():
            if value is not None:
                self._series.setdefault(name, []).append(value)

    def is_full(self, max_bytes: int, max_frames: int) -> bool:
        """Whether it is time to write."""
        return len(self) >= max_frames or len(self) * int(self._series["q"][0].nbytes) >= max_bytes

    def emptied(self) -> SeriesBlock:
        """The block that continues this one, with nothing in it."""
        return SeriesBlock(self._units, self._periodic, self._last_step)

    def arrays(self) -> dict[str, Any]:
        """The arguments of `TrajectoryWriter.append`."""
        return {name: np.array(values) for name, values in self._series.items()}

    def differentiate(self, where: str, masses: FloatArray) -> dict[str, Any] | None:
        """Fill in the velocities and forces that are missing and drop the frames at both ends.

        Returns a report for the trajectory's attributes, or None when nothing was missing. Raises DataError
        when the times are unknown or `derivatives_of_series` refuses.
        """
        known = self._series
        needs_rate = "force" not in known and "momentum_rate" not in known
        if not needs_rate and "velocity" in known:
            return None
        if "time" not in known:
            raise DataError(f"{where}: the times of the frames are unknown, derivatives need them: give --dt")
        arrays = self.arrays()
        q = arrays["q"]
        if self._wrapped and any(self._periodic):
            q = unwrapped(q, arrays["box"], self._periodic)
        found = derivatives_of_series(
            where, q, arrays["time"], masses, momentum=arrays.get("momentum"), velocity=arrays.get("velocity")
        )
        kept = {name: values[REACH:-REACH] for name, values in known.items()}
        kept["q"] = list(q[REACH:-REACH])
        kept["velocity"] = list(found.velocity)
        filled = ["velocity"] if "velocity" not in known else []
        if needs_rate:
            filled.append("force")
            name = "momentum_rate" if "momentum" in known else "force"
            kept[name] = list(found.momentum_rate)
        self._series = kept
        return {
            "rule": "central differences of order 6",
            "filled": filled,
            "dropped_frames_at_each_end": REACH,
            "error": found.error if needs_rate else 0.0,
        }
