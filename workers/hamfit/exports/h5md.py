"""Datasets as H5MD 1.1 files (de Buyl, Colberg, Höfling, Comput. Phys. Commun. 185, 1546 (2014)), HDF5 for molecules.

One group of particles for each trajectory. Reduced units stay as they are, without unit attributes. The unit of time of
`ase`, A sqrt(amu/eV), is none that H5MD can name, so times are written in picoseconds and what depends on them follows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hamfit import __version__
from hamfit.data import Dataset, Trajectory, input_units
from hamfit.errors import SpecError
from hamfit.exports.files import publishing_file
from hamfit.progress import Event, Progress, silent
from hamfit.stores.disk import disk_errors

#: Bytes of one chunk of an array.
_CHUNK_BYTES = 2**20
#: Names in the file, units of `ase` data as H5MD writes them, and the frame's field.
_VECTORS = (
    ("position", "Angstrom", "q"),
    ("velocity", "Angstrom ps-1", "qdot"),
    ("momentum", "amu Angstrom ps-1", "p"),
    ("force", "eV Angstrom-1", "pdot"),
)


def export_h5md(
    data: Dataset | str | Path,
    path: str | Path,
    *,
    author: str = "unknown",
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write all frames of a dataset to one H5MD file and return its path.

    particles/NAME holds box, position, mass, species (enumerated by label) and, where the trajectory NAME has them,
    velocity, force and momentum (only where it is not mass times velocity); observables/NAME holds potential_energy,
    connectivity/NAME the bonds. Positions are as in the dataset, unwrapped where that was known. Numbers of `lj` data
    are kept bit for bit; those of `ase` data are in Angstrom, eV, amu and ps. Memory does not grow with the number of
    frames. Raises SpecError without h5py, StoreError when ``path`` is taken or cannot be written.
    """
    try:
        import h5py
    except ImportError as error:
        raise SpecError("H5MD files need h5py, which is not installed: pip install 'hamfit[h5md]'") from error
    dataset = data if isinstance(data, Dataset) else Dataset.open(data)
    with publishing_file(path, overwrite=overwrite) as partial:
        done, started = 0, time.perf_counter()
        for written in _written(h5py, Path(path), partial, dataset, author):
            done += written
            progress(Event("export", done, dataset.n_frames, 0, time.perf_counter() - started, 0))
    return Path(path).absolute()


def _written(h5py: Any, path: Path, partial: Path, dataset: Dataset, author: str) -> Iterator[int]:
    """Write the file that is to be ``path``; the number of frames in each block that was written."""
    with disk_errors(path), h5py.File(partial, "w") as file:
        head = file.create_group("h5md")
        head.attrs["version"] = np.array([1, 1], dtype=np.int32)
        head.create_group("author").attrs["name"] = author
        creator = head.create_group("creator")
        creator.attrs["name"], creator.attrs["version"] = "hamfit", __version__
        if dataset.units.name == "ase":
            head.create_group("modules/units").attrs["version"] = np.array([1, 0], dtype=np.int32)
        for trajectory in dataset.trajectories:
            writer = _Writer(h5py, file, dataset, trajectory)
            for frames in trajectory.blocks(writer.frames_per_block):
                writer.append(frames)
                yield len(frames)


class _Writer:
    """Appends blocks of frames of one trajectory to its datasets, which have their full size from the start."""

    def __init__(self, h5py: Any, file: Any, dataset: Dataset, trajectory: Trajectory) -> None:
        self._h5py, self._trajectory = h5py, trajectory
        self._has_units = dataset.units.name == "ase"
        metal = input_units("metal")
        self._time_factor = 1.0 / metal.time if self._has_units else 1.0
        self._factors = {"qdot": 1.0 / metal.velocity, "p": 1.0 / metal.momentum} if self._has_units else {}
        n, dim = trajectory.n_particles, trajectory.dim
        # whole chunks of the vectors, so that each is written once
        self.frames_per_block = 4 * max(1, _CHUNK_BYTES // (8 * n * dim))
        self._at = 0
        particles = file.create_group(f"particles/{trajectory.name}")
        self._values: dict[str, Any] = {}
        fields = {"q": True, "qdot": trajectory.has_velocities, "p": "momentum" in trajectory.fields}
        fields["pdot"] = trajectory.has_forces
        first: Any = None
        for name, unit, field in _VECTORS:
            if fields[field]:
                group = particles.create_group(name)
                self._add_times(group, first)
                first = first or group
                self._values[field] = self._add_values(group, (n, dim), unit)
        self._add_box(particles, first)
        masses = particles.create_dataset("mass", data=trajectory.masses)
        self._name_unit(masses, "amu")
        kinds = h5py.enum_dtype({label: k for k, label in enumerate(dataset.labels)}, basetype=np.int32)
        particles.create_dataset("species", data=trajectory.species.astype(np.int32), dtype=kinds)
        if trajectory.has_energies:
            group = file.create_group(f"observables/{trajectory.name}/potential_energy")
            self._add_times(group, first)
            self._values["potential_energy"] = self._add_values(group, (), "eV")
        if trajectory.bonds is not None:
            self._add_bonds(file, particles, dataset.bond_labels)

    def append(self, frames: list[Any]) -> None:
        """Write frames after those written so far."""
        span = slice(self._at, self._at + len(frames))
        for field, dataset in self._values.items():
            values = np.array([getattr(frame, field) for frame in frames])
            if field in self._factors:
                values *= self._factors[field]
            dataset[span] = values
        self._at = span.stop

    def _add_times(self, group: Any, first: Any) -> None:
        """Steps and times: written once, and shared by links afterwards, as H5MD recommends."""
        if first is not None:
            for name in ("step", "time"):
                if name in first:
                    group[name] = first[name]
            return
        group.create_dataset("step", data=self._trajectory.step)
        if self._trajectory.has_time:
            time = group.create_dataset("time", data=self._trajectory.time * self._time_factor)
            self._name_unit(time, "ps")

    def _add_values(self, group: Any, shape: tuple[int, ...], unit: str) -> Any:
        n_frames = self._trajectory.n_frames
        chunk = min(n_frames, max(1, _CHUNK_BYTES // (8 * int(np.prod(shape, dtype=np.int64)))))
        values = group.create_dataset("value", (n_frames, *shape), dtype=np.float64, chunks=(chunk, *shape))
        self._name_unit(values, unit)
        return values

    def _add_box(self, particles: Any, first: Any) -> None:
        trajectory, dim = self._trajectory, self._trajectory.dim
        box = particles.create_group("box")
        box.attrs["dimension"] = dim
        words = ["periodic" if flag else "none" for flag in trajectory.periodic]
        box.attrs.create("boundary", words, dtype=self._h5py.string_dtype())
        if "box" in trajectory.fields:
            group = box.create_group("edges")
            self._add_times(group, first)
            self._values["box"] = self._add_values(group, (dim, dim), "Angstrom")
        elif "box_fixed" in trajectory.fields:
            self._name_unit(box.create_dataset("edges", data=trajectory.frame(0).box), "Angstrom")

    def _add_bonds(self, file: Any, particles: Any, labels: tuple[str, ...]) -> None:
        group = file.create_group(f"connectivity/{self._trajectory.name}")
        bonds = group.create_dataset("bonds", data=self._trajectory.bonds)
        bonds.attrs["particles_group"] = particles.ref
        kinds = self._h5py.enum_dtype({label: k for k, label in enumerate(labels)}, basetype=np.int32)
        types = self._trajectory.bond_types
        assert types is not None
        group.create_dataset("bond_types", data=types.astype(np.int32), dtype=kinds)

    def _name_unit(self, dataset: Any, unit: str) -> None:
        if self._has_units:
            dataset.attrs["unit"] = unit
