"""Writing one trajectory, block of frames after block of frames, each checked before it is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from hamfit.data import checks, layout
from hamfit.data.manifest import TrajectoryEntry
from hamfit.data.readable import Readable
from hamfit.data.units import Units
from hamfit.errors import DataError
from hamfit.stores.array_writer import ArrayWriter, full_chunks, whole_array
from hamfit.stores.store_builder import StoreBuilder
from hamfit.stores.zarr_array import StoredArray
from hamfit.types import FloatArray, IntArray


class Series(TypedDict, total=False):
    """What may be known of T frames besides positions; None is as good as nothing."""

    velocity: npt.ArrayLike | None
    """(T, N, d)."""
    force: npt.ArrayLike | None
    """(T, N, d)."""
    momentum: npt.ArrayLike | None
    """(T, N, d), only where it is not mass times velocity."""
    momentum_rate: npt.ArrayLike | None
    """(T, N, d), only where it is not the force."""
    potential_energy: npt.ArrayLike | None
    """(T,), of the whole frame."""
    stress: npt.ArrayLike | None
    """(T, d, d), of the whole frame: energy per volume, tension positive, periodic in all directions."""
    step: npt.ArrayLike | None
    """(T,) integers, increasing; counted on when not given."""
    time: npt.ArrayLike | None
    """(T,), increasing."""


class TrajectoryWriter:
    """Appends blocks of frames to one trajectory; made by `DatasetWriter.open_trajectory`.

    Use it with `with`, or call `close`. Memory: the block at hand and one chunk per field.
    """

    def __init__(
        self,
        builder: StoreBuilder,
        name: str,
        *,
        units: Units,
        species: IntArray,
        masses: FloatArray,
        periodic: tuple[bool, ...],
        box: FloatArray | None,
        bonds: tuple[IntArray, IntArray] | None,
        attrs: Mapping[str, Any],
        on_close: Callable[[TrajectoryEntry], None],
    ) -> None:
        self._builder = builder
        self._name = name
        self._where = f"{builder.path.name}/{name}"
        self._units = units
        self._n_particles = len(species)
        self._periodic = periodic
        self._on_close = on_close
        self._fields: set[str] = set()
        self._elements: dict[str, tuple[ArrayWriter, ArrayWriter, ArrayWriter | None]] = {}
        self._last_step: int | None = None
        self._last_time: float | None = None
        self.attrs: dict[str, Any] = dict(attrs)
        """Provenance, JSON-able; may be added to until `close`."""
        self.n_frames = 0
        """Frames appended so far."""
        builder.annotate(
            f"{name}/{layout.BOX}",
            {"dimension": len(periodic), "boundary": ["periodic" if flag else "none" for flag in periodic]},
        )
        builder.add_array(f"{name}/{layout.SPECIES}", species, ("particle",))
        builder.add_array(f"{name}/{layout.MASS}", masses, ("particle",), units.mass)
        if box is not None:
            builder.add_array(f"{name}/{layout.EDGES}", box, ("vector", "axis"), units.length)
            self._fields.add("box_fixed")
        if bonds is not None:
            builder.add_array(f"{name}/{layout.BONDS}", bonds[0], ("bond", "end"))
            builder.annotate(f"{name}/{layout.BONDS}", {"particles_group": f"{name}/{layout.ALL}"})
            builder.add_array(f"{name}/{layout.BOND_TYPES}", bonds[1], ("bond",))
            self._fields.add("bonds")

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()

    def append(self, *, q: npt.ArrayLike, box: npt.ArrayLike | None = None, **series: Unpack[Series]) -> None:
        """Add k frames: q (k, N, d), box (k, d, d), and what else is known as `Series` says.

        Every block of a trajectory carries the same fields; steps count on when not given. Raises DataError
        as `checks` says, StoreError when writing fails.
        """
        where, d, n = self._where, len(self._periodic), self._n_particles
        k = len(np.asarray(q))
        if k == 0:
            return
        if unknown := sorted(series.keys() - Series.__annotations__.keys()):
            raise TypeError(f"frames have no {unknown[0]!r}: give {', '.join(Series.__annotations__)}")
        given: dict[str, Any] = {"position": q, **series}
        step, time = given.pop("step", None), given.pop("time", None)
        values = {}
        for field, value in given.items():
            if value is not None:
                shape = {"potential_energy": (k,), "stress": (k, d, d)}.get(field, (k, n, d))
                values[field] = checks.float_array(where, field, value, shape)
        if box is not None:
            values["box"] = checks.float_array(where, "box", box, (k, d, d))
            for edges in values["box"]:
                checks.checked_box(where, edges)
        first = 0 if self._last_step is None else self._last_step + 1
        steps = checks.int_array(where, "step", np.arange(first, first + k) if step is None else step, (k,))
        checks.checked_increase(where, "step", steps, self._last_step)
        times = None if time is None else checks.float_array(where, "time", time, (k,))
        if times is not None:
            checks.checked_increase(where, "time", times, self._last_time)
        if self.n_frames == 0:
            self._begin({name: block.shape[1:] for name, block in values.items()}, times is not None)
        now = set(values) | ({"time"} if times is not None else set())
        before = set(self._elements) | ({"time"} & self._fields)
        if now != before:
            raise DataError(
                f"{where}: {', '.join(sorted(now ^ before))} is given for some frames only: "
                "give it for all frames or for none"
            )
        with self._builder.writing():
            for field, block in values.items():
                value_writer, step_writer, time_writer = self._elements[field]
                value_writer.append(block)
                step_writer.append(steps)
                if time_writer is not None and times is not None:
                    time_writer.append(times)
        self.n_frames += k
        self._last_step = int(steps[-1])
        self._last_time = None if times is None else float(times[-1])

    def checkpoint(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What `resume` needs to go on from here in another process: attributes, and the rows not yet in chunks."""
        crcs: dict[str, list[str]] = {}
        arrays: dict[str, npt.NDArray[Any]] = {}
        for writer in self._writers():
            crcs[writer.key], arrays[writer.key] = writer.progress()
        attrs = {
            "crc32c": crcs,
            "fields": sorted(self._fields),
            "n_frames": self.n_frames,
            "last_step": self._last_step,
            "last_time": self._last_time,
        }
        return attrs, arrays

    @staticmethod
    def readable(
        root: Path, name: str, attrs: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Readable | None:
        """What `checkpoint` described of the trajectory ``name`` below ``root``; None when it has no frame yet.

        Raises StoreError for damage.
        """
        if not attrs["n_frames"]:
            return None
        series: dict[str, tuple[StoredArray | None, npt.NDArray[Any]]] = {}
        for key, path in layout.series_paths(name, attrs["fields"]).items():
            if path in arrays:
                rows, crcs = arrays[path], attrs["crc32c"][path]
                full = StoredArray(root, full_chunks(path, rows.shape[1:], str(rows.dtype), crcs)) if crcs else None
                series[key] = (full, rows)
        n, d = series["position"][1].shape[1:]
        shapes: dict[str, tuple[tuple[int, ...], str]] = {"species": ((n,), "int64"), "mass": ((n,), "float64")}
        if "box_fixed" in attrs["fields"]:
            shapes["box"] = ((d, d), "float64")
        paths = layout.fixed_paths(name)
        fixed = {key: whole_array(root, paths[key], *how).read() for key, how in shapes.items()}
        return Readable(name, int(attrs["n_frames"]), series, fixed)

    def resume(self, attrs: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Take up a trajectory where `checkpoint` left it; this writer must be new and made like that one.

        Raises StoreError when a chunk written before the checkpoint is missing or altered.
        """
        if attrs["n_frames"]:
            fields = set(attrs["fields"]) - {"box_fixed", "bonds", "time"}
            paths = layout.series_paths(self._name, fields)
            shapes = {name: arrays[paths[name]].shape[1:] for name in ("position", *sorted(fields))}
            self._begin(shapes, "time" in attrs["fields"])
        for writer in self._writers():
            writer.resume(list(attrs["crc32c"][writer.key]), arrays[writer.key])
        self.n_frames = int(attrs["n_frames"])
        self._last_step, self._last_time = attrs["last_step"], attrs["last_time"]

    def _writers(self) -> Iterator[ArrayWriter]:
        for writers in self._elements.values():
            yield from (writer for writer in writers if writer is not None)

    def _begin(self, values: Mapping[str, tuple[int, ...]], has_time: bool) -> None:
        if any(self._periodic) and "box" not in values and "box_fixed" not in self._fields:
            raise DataError(f"{self._where}: periodic, but without a box: give the lattice vectors")
        if "box" in values and "box_fixed" in self._fields:
            raise DataError(f"{self._where}: the box is given for all frames and for each: give one of the two")
        self._fields |= (set(values) - {"position"}) | ({"time"} if has_time else set())
        for name, shape in values.items():
            element = layout.ELEMENTS[name]
            path, axes = f"{self._name}/{element.path}", ("time", *element.axes)
            value = self._builder.array(f"{path}/value", axes, shape, "float64", element.unit(self._units))
            step = self._builder.array(f"{path}/step", ("time",), (), "int64", None)
            time = self._builder.array(f"{path}/time", ("time",), (), "float64", self._units.time) if has_time else None
            self._elements[name] = (value, step, time)

    def close(self) -> None:
        """Finish the trajectory; DataError when it has no frames."""
        if not self.n_frames:
            raise DataError(f"{self._where}: the trajectory has no frames: give at least one")
        for writer in self._writers():
            self._builder.finish_array(writer)
        self._on_close(
            TrajectoryEntry(
                self._name,
                self.n_frames,
                self._n_particles,
                len(self._periodic),
                self._periodic,
                tuple(sorted(self._fields)),
                json.loads(json.dumps(self.attrs)),
            )
        )
