"""The partial state of a fit: what a shard leaves behind, and how two of them become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hamfit.devices import AbstractDevice, DeviceChoice, DeviceMemoryFull, choose_device
from hamfit.reductions import AbstractReduction, Triangle
from hamfit.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PartialState:
    """Reduction states and statistics of the rows absorbed so far."""

    triangles: Mapping[str, Triangle]
    """Reduction state of every kind of row: of each part, its rare ones, and each kind that belongs to frames."""
    squares: Mapping[str, float]
    """Sum of squared scaled targets of every kind of row."""
    extents: Mapping[str, FloatArray]
    """Shortest and longest edge of every channel met, by block kind, (channels, 2)."""
    outside: Mapping[str, int]
    """Edges of every part that lay outside the tables and were evaluated one by one."""
    seconds: float = 0.0
    """Time spent computing."""
    peak_bytes: int = 0
    """Largest resident memory of a process that took part."""
    devices: tuple[str, ...] = ()
    """Names of the devices that took part beside processors, sorted."""
    notes: tuple[str, ...] = ()
    """What a user should know of how it was computed, such as panels that had to be smaller, sorted."""

    @property
    def n_rows(self) -> int:
        """Rows of all kinds."""
        return sum(triangle.n_rows for triangle in self.triangles.values())

    def spent_with(self, other: PartialState) -> dict[str, Any]:
        """What computing both took: these fields of a state that stands for both."""
        return {
            "seconds": self.seconds + other.seconds,
            "peak_bytes": max(self.peak_bytes, other.peak_bytes),
            "devices": tuple(sorted({*self.devices, *other.devices})),
            "notes": tuple(sorted({*self.notes, *other.notes})),
        }

    def to_store(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Attributes and one flat array: a state is written for every shard, and each array costs time."""
        attrs: dict[str, Any] = {
            "triangles": [(name, t.packed.size, t.n_rows) for name, t in self.triangles.items()],
            "extents": [(name, extent.shape[0]) for name, extent in self.extents.items()],
            "squares": dict(self.squares),
            "outside": dict(self.outside),
            "seconds": self.seconds,
            "peak_bytes": self.peak_bytes,
            "devices": list(self.devices),
            "notes": list(self.notes),
        }
        parts = [t.packed for t in self.triangles.values()] + [e.reshape(-1) for e in self.extents.values()]
        return attrs, {"state": np.concatenate(parts)}

    @classmethod
    def from_store(cls, attrs: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> PartialState:
        """The state that ``to_store`` described."""
        flat, place = arrays["state"], 0
        triangles, extents = {}, {}
        for name, size, n_rows in attrs["triangles"]:
            triangles[name] = Triangle(flat[place : place + size].copy(), int(n_rows))
            place += size
        for name, channels in attrs["extents"]:
            extents[name] = flat[place : place + 2 * channels].reshape(channels, 2).copy()
            place += 2 * channels
        return cls(
            triangles,
            {name: float(value) for name, value in attrs["squares"].items()},
            extents,
            {name: int(count) for name, count in attrs["outside"].items()},
            float(attrs["seconds"]),
            int(attrs["peak_bytes"]),
            tuple(attrs["devices"]),
            tuple(attrs["notes"]),
        )


def merge_partial(
    reductions: Mapping[str, AbstractReduction],
    first: PartialState,
    second: PartialState,
    choice: DeviceChoice = "cpu",
) -> PartialState:
    """The state of both sets of rows together.

    Large R factors are joined on the device of this process where rows of theirs were computed on one of its name. What
    computed the rows decides, not who merges: so threads of one process and workers of one kind give the same bits, and
    systems too small for a GPU leave it alone here too. Where it has no room the processor joins them, which is noted.
    """
    large = any(reductions[name].joins_on_device for name in first.triangles)
    device = _device_of(first, second, choice) if large else None
    triangles, spent = {}, first.spent_with(second)
    for name, triangle in first.triangles.items():
        pair = triangle, second.triangles[name]
        try:
            triangles[name] = reductions[name].merge(*pair, device)
        except DeviceMemoryFull:
            assert device is not None
            device.release()
            note = f"{device.name} ran out of memory: the processor joined R factors, which is slower, not worse"
            spent["notes"] = tuple(sorted({*spent["notes"], note}))
            triangles[name] = reductions[name].merge(*pair)
    return PartialState(
        triangles=triangles,
        squares={name: first.squares[name] + second.squares[name] for name in first.squares},
        extents=joined_extents((first, second)),
        outside={name: count + second.outside[name] for name, count in first.outside.items()},
        **spent,
    )


def joined_extents(states: Sequence[PartialState]) -> dict[str, FloatArray]:
    """Shortest and longest edge of every channel that any of the states met, by block kind, (channels, 2)."""
    met = {name: np.stack([state.extents[name] for state in states]) for name in states[0].extents}
    return {name: np.column_stack([all_[..., 0].min(axis=0), all_[..., 1].max(axis=0)]) for name, all_ in met.items()}


def _device_of(first: PartialState, second: PartialState, choice: DeviceChoice) -> AbstractDevice | None:
    """The device of this process, if rows of either state were computed on it or its like."""
    names = {*first.devices, *second.devices}
    device = choose_device(choice) if names else None
    return device if device is not None and device.name in names else None
