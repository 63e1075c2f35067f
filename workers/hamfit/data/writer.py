"""Writing a dataset: trajectory after trajectory, each in one piece or in blocks of frames.

Only the blocks at hand are in memory, so that a dataset may be larger than the machine. Everything is checked
before it is written (`checks`), and nothing can be seen under the final path until all of it is complete
(`publish`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import numpy as np
import numpy.typing as npt

from hamfit.data import checks
from hamfit.data.manifest import (
    SCHEMA_VERSION,
    Manifest,
    TrajectoryEntry,
    arrays_from_json,
    arrays_to_json,
    encode,
    trajectory_from_json,
)
from hamfit.data.trajectory_writer import Series, TrajectoryWriter
from hamfit.data.units import Units, consistent_units
from hamfit.errors import DataError
from hamfit.stores.disk import NOTHING_KEPT, write_bytes
from hamfit.stores.publish import publishing
from hamfit.stores.replacing import MANIFEST
from hamfit.stores.store_builder import StoreBuilder
from hamfit.stores.zarr_array import ArrayEntry


def read_part(part: Mapping[str, Any]) -> tuple[list[TrajectoryEntry], dict[str, ArrayEntry]]:
    """Trajectories and arrays of what `DatasetWriter.written` gave."""
    return [trajectory_from_json(entry) for entry in part["trajectories"]], arrays_from_json(part["arrays"])


class DatasetWriter:
    """Context manager that writes one dataset; leaving it normally publishes, leaving it by an exception
    removes."""

    def __init__(
        self,
        path: Path,
        units: Units,
        labels: Sequence[str],
        bond_labels: Sequence[str],
        attrs: Mapping[str, Any],
        overwrite: bool,
    ) -> None:
        self.path = path
        self.units = units
        self.attrs: dict[str, Any] = dict(attrs)
        """Provenance, JSON-able; may be added to until the writer is left."""
        self._labels = list(labels)
        self._bond_labels = list(bond_labels)
        self._overwrite = overwrite
        self._stack = ExitStack()
        self._builder: StoreBuilder | None = None
        self._names: set[str] = set()
        self._trajectories: list[TrajectoryEntry] = []
        self._dim: int | None = None
        for what, names in (("species", self._labels), ("bond type", self._bond_labels)):
            if len(set(names)) != len(names):
                raise DataError(f"{path}: labels name a {what} twice ({', '.join(names)}): name each once")

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        units: str | Units,
        labels: Sequence[str] = (),
        bond_labels: Sequence[str] = (),
        attrs: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> DatasetWriter:
        """A writer for `path`, to be entered with `with`.

        `labels` names the species in the order of their indices. Raises DataError for units that are not
        consistent; entering raises StoreError when the path is taken, is being written by another, or cannot
        be written.
        """
        return cls(Path(path).absolute(), consistent_units(units), labels, bond_labels, attrs or {}, overwrite)

    def below(self, root: Path, left: str = NOTHING_KEPT) -> Self:
        """This writer, for some trajectories of its dataset below the folder `root`, which must be there and in which
        other processes write others: nothing is published, and `written` says what `assemble` needs.

        `left` ends the sentence of a StoreError: what a failed write leaves.
        """
        self._builder = StoreBuilder(root, self.path, left)
        return self

    def written(self) -> dict[str, Any]:
        """The trajectories closed so far, as JSON-able values for `assemble`."""
        assert self._builder is not None
        return {
            "trajectories": [asdict(entry) for entry in self._trajectories],
            "arrays": arrays_to_json(self._builder.arrays),
            "documents": dict(self._builder.documents),
        }

    def assemble(self, parts: Iterable[Mapping[str, Any]]) -> None:
        """Finish below `root` a dataset whose trajectories were written as parts, in the order of ``parts``.

        Raises DataError when two parts hold a trajectory of one name, when their dimensions differ, or when there is
        no trajectory; StoreError when the metadata cannot be written.
        """
        assert self._builder is not None
        for part in parts:
            trajectories, arrays = read_part(part)
            for entry in trajectories:
                if entry.name in self._names:
                    raise DataError(f"{self.path.name}/{entry.name}: two parts hold this trajectory: name each once")
                if self._dim not in (None, entry.dim):
                    raise DataError(
                        f"{self.path.name}/{entry.name}: has {entry.dim} dimensions, needed are {self._dim}:"
                        " write two datasets"
                    )
                self._trajectories.append(entry)
                self._names.add(entry.name)
                self._dim = entry.dim
            self._builder.arrays |= arrays
            self._builder.documents |= part["documents"]
        self._finish()

    def __enter__(self) -> DatasetWriter:
        self._builder = StoreBuilder(
            self._stack.enter_context(publishing(self.path, overwrite=self._overwrite)), self.path
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if error is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:
            self._finish()
        return None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the species so far."""
        return tuple(self._labels)

    def label_index(self, names: Sequence[str]) -> tuple[int, ...]:
        """Index of each species name; names met for the first time are added to the labels."""
        return _indices(self._labels, names)

    def bond_label_index(self, names: Sequence[str]) -> tuple[int, ...]:
        """Index of each bond type's name; names met for the first time are added to the bond labels."""
        return _indices(self._bond_labels, names)

    def open_trajectory(
        self,
        name: str,
        *,
        dim: int,
        species: npt.ArrayLike,
        masses: npt.ArrayLike,
        periodic: Sequence[bool] | bool = False,
        box: npt.ArrayLike | None = None,
        bonds: npt.ArrayLike | None = None,
        bond_types: npt.ArrayLike | None = None,
        attrs: Mapping[str, Any] | None = None,
    ) -> TrajectoryWriter:
        """A trajectory in `dim` dimensions to append blocks of frames to, then to close (or use it with
        `with`).

        species (N,) indexes the labels; masses (N,) or one number; `box` (d, d), rows are lattice vectors,
        when it is the same for all frames, else it is given with each block; bonds (B, 2), bond_types (B,)
        indexing the bond labels (all 0 when not given). Raises DataError as `checks` says.
        """
        if self._builder is None:
            raise RuntimeError("enter the DatasetWriter with 'with' before adding trajectories")
        where = f"{self.path.name}/{checks.checked_name(name)}"
        if name in self._names:
            raise DataError(f"{where}: the name is taken by an earlier trajectory: choose another")
        if not 1 <= dim <= 3 or (self._dim is not None and dim != self._dim):
            raise DataError(f"{where}: has {dim} dimensions, needed are {self._dim or '1 to 3'}: write two datasets")
        flags = (periodic,) * dim if isinstance(periodic, bool) else tuple(bool(x) for x in periodic)
        if len(flags) != dim:
            raise DataError(f"{where}: periodic has {len(flags)} entries for {dim} dimensions: give one for each")
        n = np.asarray(species).size
        kinds = checks.int_array(where, "species", species, (n,))
        checks.checked_index(where, "species", kinds, self.labels)
        pairs = None
        if bonds is not None:
            ends = checks.checked_bonds(where, bonds, n)
            types = np.zeros(len(ends), dtype=np.int64) if bond_types is None else bond_types
            types = checks.int_array(where, "bond_types", types, (len(ends),))
            pairs = (ends, checks.checked_index(where, "bond type", types, tuple(self._bond_labels)))
        self._names.add(name)
        self._dim = dim
        return TrajectoryWriter(
            self._builder,
            name,
            units=self.units,
            species=kinds,
            masses=checks.checked_masses(where, masses, n),
            periodic=flags,
            box=None if box is None else checks.checked_box(where, checks.float_array(where, "box", box, (dim, dim))),
            bonds=pairs,
            attrs=attrs or {},
            on_close=self._trajectories.append,
        )

    def add_trajectory(
        self,
        name: str,
        *,
        q: npt.ArrayLike,
        species: npt.ArrayLike,
        masses: npt.ArrayLike,
        box: npt.ArrayLike | None = None,
        periodic: Sequence[bool] | bool = False,
        bonds: npt.ArrayLike | None = None,
        bond_types: npt.ArrayLike | None = None,
        attrs: Mapping[str, Any] | None = None,
        **series: Unpack[Series],
    ) -> None:
        """Write a whole trajectory in the dataset's consistent units.

        q (T, N, d); box (d, d) for all frames or (T, d, d); what else is known of the frames as `Series` says, the rest
        as `open_trajectory`. Raises DataError as `checks` says.
        """
        positions = np.asarray(q)
        if positions.ndim != 3:
            raise DataError(f"{self.path.name}/{name}: q has shape {positions.shape}: give (T, N, d)")
        edges = None if box is None else np.asarray(box)
        moving = edges is not None and edges.ndim == 3
        with self.open_trajectory(
            name,
            dim=positions.shape[2],
            species=species,
            masses=masses,
            periodic=periodic,
            box=None if moving else edges,
            bonds=bonds,
            bond_types=bond_types,
            attrs=attrs,
        ) as trajectory:
            trajectory.append(q=positions, box=edges if moving else None, **series)

    def _finish(self) -> None:
        assert self._builder is not None
        if len(self._trajectories) != len(self._names):
            raise RuntimeError("close every trajectory before leaving the DatasetWriter")
        if not self._trajectories:
            raise DataError(f"{self.path}: the dataset has no trajectory: add at least one frame")
        manifest = Manifest(
            self.units,
            self.labels,
            tuple(self._bond_labels),
            tuple(self._trajectories),
            self._builder.arrays,
            json.loads(json.dumps(self.attrs)),
        )
        names = {"units": self.units.to_attrs(), "labels": self.labels, "bond_labels": self._bond_labels}
        h5md = {"version": [1, 1], "creator": {"name": "hamfit"}}
        self._builder.write_metadata({"h5md": h5md, "schema_version": SCHEMA_VERSION, **names, **manifest.attrs})
        with self._builder.writing():
            write_bytes(self._builder.root / MANIFEST, encode(manifest))


def _indices(known: list[str], names: Sequence[str]) -> tuple[int, ...]:
    """Index of each name in the known ones, which get those that they lack."""
    known += [name for name in dict.fromkeys(names) if name not in known]
    table = {name: index for index, name in enumerate(known)}
    return tuple(table[name] for name in names)
