"""Reading a dataset: trajectories that know their sizes at once and read frames on demand.

A Dataset is small and pickles as its path: tasks carry the path, workers read. Reading is exact (bit for bit
what was written) or it fails; a missing or altered chunk never turns into numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.data import layout
from hamfit.data.manifest import Manifest, TrajectoryEntry, read_manifest
from hamfit.data.units import Units
from hamfit.errors import DataError, StoreError
from hamfit.frames import Frame
from hamfit.stores.replacing import Stamp, read_steadily, stamp_of
from hamfit.stores.zarr_array import StoredArray
from hamfit.types import FloatArray, IntArray

_PIECE_BYTES = 2**23
#: Particles of the frames that are read at a time where all are wanted: a few megabytes.
_PARTICLES_AT_ONCE = 50_000
"""Bytes of one vector field read at a time; a frame larger than that is read alone."""


class Dataset:
    """A complete dataset on disk, in consistent units (force is the time derivative of momentum,
    numerically)."""

    def __init__(self, path: Path, manifest: Manifest, stamp: Stamp | None = None) -> None:
        self._manifest = manifest
        self.path: Path = path
        """Absolute path of the store."""
        self.units: Units = manifest.units
        """The consistent system of all numbers."""
        self.labels: tuple[str, ...] = manifest.labels
        """Names of the species over the whole dataset."""
        self.bond_labels: tuple[str, ...] = manifest.bond_labels
        """Names of the bond types over the whole dataset."""
        self.trajectories: tuple[Trajectory, ...] = tuple(
            Trajectory(path, manifest, entry, stamp) for entry in manifest.trajectories
        )
        """All trajectories, in the order they were written."""
        self.n_frames: int = sum(t.n_frames for t in self.trajectories)
        """Frames of all trajectories together."""

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Open the dataset at `path`: reads its manifest and the size of every chunk file, but no chunk.

        Raises StoreError when there is no dataset, or it is incomplete, damaged, being written, or of a newer
        schema. One that is replaced later must be opened again, which a StoreError says when it is read.
        """
        path = Path(path).absolute()
        return read_steadily(path, lambda: cls._opened(path))

    @classmethod
    def _opened(cls, path: Path) -> Dataset:
        stamp, manifest = stamp_of(path), read_manifest(path)
        if not (path / "zarr.json").is_file():
            raise StoreError(f"{path}: zarr.json is missing: the store is damaged, copy or write it again")
        for entry in manifest.arrays.values():
            StoredArray(path, entry).check_files()
        return cls(path, manifest, stamp)

    def __reduce__(self) -> tuple[Any, ...]:
        return reopened, (str(self.path), self.digest)

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, {len(self.trajectories)} trajectories, {self.n_frames} frames)"

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of the content; equal for equal numbers under equal names."""
        return self._manifest.digest

    @property
    def attrs(self) -> dict[str, Any]:
        """What ingest or simulate recorded about the origin of the data (a copy)."""
        return dict(self._manifest.attrs)

    @property
    def dim(self) -> int:
        """Number of space dimensions, the same for all trajectories."""
        return self.trajectories[0].dim

    @property
    def n_bytes(self) -> int:
        """Size of all arrays on disk."""
        return sum(entry.n_bytes for entry in self._manifest.arrays.values())

    def trajectory(self, name: str) -> Trajectory:
        """The trajectory of that name; DataError when there is none."""
        for trajectory in self.trajectories:
            if trajectory.name == name:
                return trajectory
        raise DataError(f"{self.path}: has no trajectory {name!r}: see its names in 'hamfit info'")

    def verify(self) -> None:
        """Read every chunk and metadata file and compare with the manifest; StoreError at the first
        difference."""
        for key, entry in self._manifest.arrays.items():
            try:
                document = json.loads((self.path / key / "zarr.json").read_bytes())
                same = tuple(document["shape"]) == entry.shape and document["data_type"] == entry.dtype
            except (OSError, ValueError, KeyError, TypeError) as error:
                reason = f"{key}/zarr.json cannot be read: copy or write the store again"
                raise StoreError(f"{self.path}: {reason}") from error
            if not same or StoredArray(self.path, entry).digest() != entry.sha256:
                raise StoreError(f"{self.path}: {key} is not what was written: copy or write the store again")


def as_datasets(data: Dataset | str | Path | Sequence[Dataset | str | Path]) -> tuple[Dataset, ...]:
    """One or many datasets, opened where they are paths; DataError when there are none."""
    items = [data] if isinstance(data, Dataset | str | Path) else list(data)
    if not items:
        raise DataError("no dataset is given: name at least one")
    return tuple(item if isinstance(item, Dataset) else Dataset.open(item) for item in items)


@lru_cache(maxsize=8)
def reopened(path: str, digest: str) -> Dataset:
    """The dataset that had this digest, kept open for whoever asks again; StoreError where the path holds another."""
    dataset = Dataset.open(path)
    if dataset.digest != digest:
        raise StoreError(f"{path}: was replaced after it was opened: open it again")
    return dataset


class Trajectory:
    """Frames of one system: particle count, species, masses and bonds are the same in all of them."""

    def __init__(self, path: Path, manifest: Manifest, entry: TrajectoryEntry, stamp: Stamp | None) -> None:
        self._path = path
        self._stamp = stamp
        self._manifest = manifest
        self._attrs = entry.attrs
        self.name: str = entry.name
        """Name, unique in the dataset."""
        self.n_frames: int = entry.n_frames
        """Number of frames T."""
        self.n_particles: int = entry.n_particles
        """Number of particles N."""
        self.dim: int = entry.dim
        """Number of space dimensions d."""
        self.periodic: tuple[bool, ...] = entry.periodic
        """Whether each lattice direction repeats, d entries."""
        self.fields: tuple[str, ...] = entry.fields
        """Names of the stored elements besides position."""
        self.has_momenta: bool = "momentum" in entry.fields or "velocity" in entry.fields
        """Whether frames carry p, stored or as m v."""
        self.has_velocities: bool = "velocity" in entry.fields
        """Whether frames carry qdot."""
        self.has_forces: bool = "force" in entry.fields or "momentum_rate" in entry.fields
        """Whether frames carry pdot."""
        self.has_energies: bool = "potential_energy" in entry.fields
        """Whether frames carry their potential energy."""
        self.has_stresses: bool = "stress" in entry.fields
        """Whether frames carry their stress."""
        self.has_time: bool = "time" in entry.fields
        """Whether the times of the frames are known."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_trajectory, (str(self._path), self._manifest.digest, self.name)

    def __repr__(self) -> str:
        return f"Trajectory({self.name!r}, {self.n_frames} frames of {self.n_particles} particles)"

    @property
    def frames_at_once(self) -> int:
        """Frames that make a few megabytes, for who reads all of them: at least one."""
        return max(1, _PARTICLES_AT_ONCE // max(1, self.n_particles))

    @property
    def attrs(self) -> dict[str, Any]:
        """What ingest or simulate recorded about this trajectory (a copy)."""
        return dict(self._attrs)

    def _array(self, path: str) -> StoredArray:
        key = f"{self.name}/{path}"
        entry = self._manifest.arrays.get(key)
        if entry is None:
            raise StoreError(f"{self._path}: the manifest lacks {key}: the store is damaged, write it again")
        return StoredArray(self._path, entry, self._stamp)

    @cached_property
    def species(self) -> IntArray:
        """Index into the dataset's labels, (N,); shared by all frames, not to be changed."""
        return self._array(layout.SPECIES).read()

    @cached_property
    def masses(self) -> FloatArray:
        """Masses, (N,), positive; shared by all frames, not to be changed."""
        return self._array(layout.MASS).read()

    @cached_property
    def bonds(self) -> IntArray | None:
        """Bonded pairs, (B, 2), or None where the trajectory has no bonds."""
        return self._array(layout.BONDS).read() if "bonds" in self.fields else None

    @cached_property
    def bond_types(self) -> IntArray | None:
        """Index into the dataset's bond labels, (B,), or None."""
        return self._array(layout.BOND_TYPES).read() if "bonds" in self.fields else None

    @cached_property
    def step(self) -> IntArray:
        """Step number of each frame, (T,), increasing."""
        return self._array(f"{layout.POSITION.path}/step").read()

    @cached_property
    def time(self) -> FloatArray:
        """Time of each frame, (T,), increasing; all NaN where `has_time` is False."""
        if not self.has_time:
            return np.full(self.n_frames, np.nan)
        return self._array(f"{layout.POSITION.path}/time").read()

    @cached_property
    def _fixed_box(self) -> FloatArray | None:
        return self._array(layout.EDGES).read() if "box_fixed" in self.fields else None

    def _block(self, name: str, start: int, stop: int) -> FloatArray:
        return self._array(f"{layout.ELEMENTS[name].path}/value").read(start, stop)

    def frame(self, t: int) -> Frame:
        """Frame number t, counted from 0 (or from the end, when negative)."""
        t = t + self.n_frames if t < 0 else t
        return self.frames(t, t + 1)[0]

    def frames(self, start: int = 0, stop: int | None = None) -> list[Frame]:
        """Frames start..stop; only the chunks that hold them are read.

        p is the stored momentum, else m v; pdot the stored momentum_rate, else the force; qdot the velocity;
        each None where not stored. Raises DataError for frames that do not exist, StoreError for damage.
        """
        stop = self.n_frames if stop is None else stop
        if not 0 <= start <= stop <= self.n_frames:
            raise DataError(f"{self.name}: frames {start}..{stop} do not exist: it has {self.n_frames}")
        read = {
            name: self._block(name, start, stop)
            for name in ("velocity", "force", "momentum", "momentum_rate", "potential_energy", "stress", "box")
            if name in self.fields
        }
        q = self._block("position", start, stop)
        p, rate = read.get("momentum"), read.get("momentum_rate", read.get("force"))
        qdot, energies, boxes = read.get("velocity"), read.get("potential_energy"), read.get("box")
        stresses = read.get("stress")
        if p is None and qdot is not None:
            p = qdot * self.masses[:, None]
        return [
            Frame(
                q=q[k],
                species=self.species,
                labels=self._manifest.labels,
                masses=self.masses,
                box=self._fixed_box if boxes is None else boxes[k],
                periodic=self.periodic,
                p=None if p is None else p[k],
                qdot=None if qdot is None else qdot[k],
                pdot=None if rate is None else rate[k],
                potential_energy=None if energies is None else float(energies[k]),
                stress=None if stresses is None else stresses[k],
                bonds=self.bonds,
                bond_types=self.bond_types,
                bond_labels=self._manifest.bond_labels,
            )
            for k in range(stop - start)
        ]

    def blocks(self, size: int) -> Iterator[list[Frame]]:
        """All frames in lists of at most `size`."""
        for start in range(0, self.n_frames, size):
            yield self.frames(start, min(self.n_frames, start + size))

    def stream(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames start..stop in order, read in pieces that fit the memory whatever the trajectory's length."""
        stop = self.n_frames if stop is None else stop
        step = max(1, _PIECE_BYTES // (8 * max(1, self.n_particles * self.dim)))
        for first in range(start, stop, step):
            yield from self.frames(first, min(stop, first + step))


def _open_trajectory(path: str, digest: str, name: str) -> Trajectory:
    return reopened(path, digest).trajectory(name)
