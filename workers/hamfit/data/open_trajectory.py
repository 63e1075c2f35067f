"""A trajectory that is being written: frames wait, converted to the dataset's units, until there are enough of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hamfit.data.derivatives import REACH, derivatives_of_series, unwrapped
from hamfit.data.raw_frame import RawFrame
from hamfit.data.trajectory_writer import TrajectoryWriter
from hamfit.data.units import InputUnits
from hamfit.errors import DataError
from hamfit.types import FloatArray


@dataclass(slots=True)
class OpenTrajectory:
    """Consecutive frames of one trajectory, all with the same fields."""

    first: RawFrame
    """The frame that all others are like."""
    units: InputUnits
    masses: FloatArray
    """Masses (N,), in the dataset's units."""
    periodic: tuple[bool, ...]
    writer: TrajectoryWriter
    _last_step: int = -1
    _wrapped: bool = False
    _series: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def n_frames(self) -> int:
        """Frames so far."""
        return self.writer.n_frames + len(self._series.get("q", ()))

    def append(self, frame: RawFrame, potential_energy: float | None, time: float | None) -> None:
        """Take one frame; energy and time come in the dataset's units, all else in the file's."""
        units = self.units
        self._last_step = self._last_step + 1 if frame.step is None else frame.step
        self._wrapped |= frame.wrapped
        values: dict[str, Any] = {
            "q": frame.q * units.length,
            "box": None if frame.box is None or not any(self.periodic) else frame.box * units.length,
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

    def flush(self, max_bytes: int = 0, max_frames: int = 0) -> None:
        """Write the frames that wait, if they are so many, or so large."""
        waiting = self._series.get("q", [])
        if waiting and (len(waiting) >= max_frames or len(waiting) * int(waiting[0].nbytes) >= max_bytes):
            self.writer.append(**self._arrays())
            self._series = {}

    def close(self) -> None:
        """Write all that waits, and finish the trajectory."""
        self.flush()
        self.writer.close()

    def _arrays(self) -> dict[str, Any]:
        return {name: np.array(values) for name, values in self._series.items()}

    def differentiate(self) -> float:
        """Fill in the velocities and forces that are missing and drop the frames at both ends.

        Returns the error of the forces, 0 when they were there; the trajectory's attributes report what was missing.
        Raises DataError when the times are unknown or `derivatives_of_series` refuses.
        """
        known, where = self._series, self.first.where
        needs_rate = "force" not in known and "momentum_rate" not in known
        if not needs_rate and "velocity" in known:
            return 0.0
        if "time" not in known:
            raise DataError(f"{where}: the times of the frames are unknown, derivatives need them: give --dt")
        arrays = self._arrays()
        q = arrays["q"]
        if self._wrapped and any(self.periodic):
            q = unwrapped(q, arrays["box"], self.periodic)
        found = derivatives_of_series(
            where, q, arrays["time"], self.masses, momentum=arrays.get("momentum"), velocity=arrays.get("velocity")
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
        error = found.error if needs_rate else 0.0
        self.writer.attrs["derivatives"] = {
            "rule": "central differences of order 6",
            "filled": filled,
            "dropped_frames_at_each_end": REACH,
            "error": error,
        }
        return error
