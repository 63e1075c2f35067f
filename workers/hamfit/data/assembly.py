"""From foreign frames to trajectories of a dataset: units, names, masses, energies, and where a trajectory
ends.

Frames that follow each other with the same particles form one trajectory. What happens at a change depends on
the file: in a simulation's dump it is a mistake, in a collection of independent cells it starts a new
trajectory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hamfit.data.energy_table import EnergyTable, check_kinetic
from hamfit.data.open_trajectory import OpenTrajectory
from hamfit.data.raw_frame import RawFrame
from hamfit.data.units import InputUnits
from hamfit.data.writer import DatasetWriter
from hamfit.errors import DataError
from hamfit.types import FloatArray

_BLOCK_BYTES = 8 * 2**20
_BLOCK_FRAMES = 256


@dataclass(slots=True)
class Assembler:
    """Takes frames one after the other and writes trajectories; `finish` closes the last one."""

    writer: DatasetWriter
    units: InputUnits
    species: Mapping[str, str]
    """New names for the names in the files."""
    masses: Mapping[str, float]
    """Masses by (new or old) name, in the units of the files; they precede those in the files."""
    energies: EnergyTable | None
    dt: float | None
    """Time of one step, in the units of the files."""
    derivatives: bool
    periodic: tuple[bool, ...] | None
    """Overrides what the files say."""
    n_frames: int = 0
    derivative_error: float = 0.0
    _last: RawFrame | None = None
    _open: OpenTrajectory | None = None
    _used: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)

    def add(self, frame: RawFrame, name: str, *, is_new: bool, splits: bool) -> None:
        """Write one frame to the open trajectory, or to a new one called `name`.

        `is_new` starts a new trajectory in any case; `splits` says that a change of particles does so, where
        else it is a DataError.
        """
        if frame.force is None and frame.momentum_rate is None and not self.derivatives:
            raise DataError(
                f"{frame.where}: has no forces (columns are {' '.join(frame.columns)}): write them to the file "
                "(fx fy fz, or forces), or ask for derivatives of a closely spaced series"
            )
        change = None if self._open is None else _change(self._open.first, frame)
        if change is not None and not is_new and not splits:
            raise DataError(
                f"{frame.where}: {change} within one trajectory: write different systems to different files"
            )
        if self._open is None or is_new or change is not None:
            self.finish()
            self._open = self._begun(frame, name)
        self._open.append(frame, self._potential(frame, self._open.masses), self._time(frame, self._open.n_frames))
        self.n_frames += 1
        self._last = frame
        if not self.derivatives:
            self._open.flush(_BLOCK_BYTES, _BLOCK_FRAMES)

    def follows(self, frame: RawFrame) -> bool:
        """Whether a frame that begins a file continues the open trajectory: same particles, later step."""
        last = self._last
        if last is None or last.step is None or frame.step is None:
            return False
        return frame.step > last.step and _change(last, frame) is None

    def repeats(self, frame: RawFrame) -> bool:
        """Whether a frame that begins a file is the one that ended the file before, as restarted runs write it."""
        last = self._last
        if last is None or frame.step is None or frame.step != last.step:
            return False
        return _change(last, frame) is None and np.array_equal(last.q, frame.q)

    def _begun(self, frame: RawFrame, name: str) -> OpenTrajectory:
        names = tuple(self._renamed(old, frame) for old in frame.names)
        # The first frame's species come in their natural order, later ones as they are met.
        self.writer.label_index(sorted(set(names), key=lambda s: (not s.isdigit(), int(s) if s.isdigit() else 0, s)))
        masses = self._masses_of(frame, names)
        periodic = self._periodic_of(frame)
        bond_types = None if frame.bond_types is None else self.writer.bond_label_index(frame.bond_types)
        if frame.bonds is not None and frame.bond_types is None:
            bond_types = (self.writer.bond_label_index(("1",))[0],) * len(frame.bonds)
        free, k = name, 1
        while free in self._names:
            free, k = f"{name}.{k}", k + 1
        self._names.add(free)
        writer = self.writer.open_trajectory(
            free,
            dim=frame.q.shape[1],
            species=self.writer.label_index(names),
            masses=masses,
            periodic=periodic,
            bonds=frame.bonds,
            bond_types=bond_types,
            attrs={"source": frame.where, "positions": "wrapped" if frame.wrapped else "unwrapped"},
        )
        return OpenTrajectory(frame, self.units, masses, periodic, writer)

    def _renamed(self, old: str, frame: RawFrame) -> str:
        if not self.species:
            return old
        if old not in self.species:
            raise DataError(
                f"{frame.where}: species '{old}' has no name in --species (named are {', '.join(self.species)}): add it"
            )
        return self.species[old]

    def _masses_of(self, frame: RawFrame, names: tuple[str, ...]) -> FloatArray:
        """Masses (N,) in the dataset's units: those declared, else the file's, else ASE's for chemical elements."""
        result = np.empty(len(names))
        by_name: dict[str, float | None] = {}
        for k, (old, new) in enumerate(zip(frame.names, names, strict=True)):
            if new not in by_name:
                by_name[new] = self._declared_mass(old, new)
            mass = by_name[new]
            if mass is not None:
                result[k] = mass * self.units.mass
            elif frame.masses is not None:
                result[k] = frame.masses[k] * self.units.mass
            else:
                result[k] = self._element_mass(frame, new)
                by_name[new] = result[k] / self.units.mass
        return result

    def _declared_mass(self, old: str, new: str) -> float | None:
        for name in (new, old):
            if name in self.masses:
                self._used.add(name)
                return float(self.masses[name])
        return None

    def _element_mass(self, frame: RawFrame, name: str) -> float:
        if self.units.target.mass == "amu":
            from ase.data import atomic_masses, atomic_numbers

            if name in atomic_numbers:
                return float(atomic_masses[atomic_numbers[name]])
        raise DataError(f"{frame.where}: the mass of species '{name}' is unknown: declare it with --masses {name}=...")

    def _periodic_of(self, frame: RawFrame) -> tuple[bool, ...]:
        d = frame.q.shape[1]
        periodic = self.periodic or frame.periodic or (False,) * d
        if len(periodic) != d:
            raise DataError(f"{frame.where}: {len(periodic)} periodic axes for {d} dimensions: give one for each")
        if any(periodic) and frame.box is None:
            raise DataError(f"{frame.where}: periodic, but the file gives no box: write the lattice to the file")
        return periodic

    def _potential(self, frame: RawFrame, masses: FloatArray) -> float | None:
        """Potential energy of the frame in the dataset's units."""
        table, n = self.energies, len(frame.names)
        if table is None:
            return None if frame.potential_energy is None else frame.potential_energy * self.units.energy
        if self.n_frames >= len(table.potential):
            raise DataError(
                f"{table.path}: has {len(table.potential)} lines, the files have more frames: give one each"
            )
        if frame.velocity is not None:
            v = frame.velocity * self.units.velocity
            kinetic = 0.5 * float(masses @ (v * v).sum(axis=1)) / self.units.energy
            check_kinetic(table, self.n_frames, frame.where, kinetic, n)
        return float(table.potential[self.n_frames]) * table.factor(n) * self.units.energy

    def _time(self, frame: RawFrame, n_before: int) -> float | None:
        """Time of the frame in the dataset's units: the file's, else step (or count) times dt."""
        if frame.time is not None:
            return frame.time * self.units.time
        if self.dt is None:
            return None
        return (n_before if frame.step is None else frame.step) * self.dt * self.units.time

    def finish(self) -> None:
        """Close the open trajectory."""
        if self._open is None:
            return
        if self.derivatives:
            self.derivative_error = max(self.derivative_error, self._open.differentiate())
        self._open.close()
        self._open = None

    def check_all_used(self) -> None:
        """DataError when something was declared that no frame needed: a typing mistake, most likely."""
        if unused := sorted(set(self.masses) - self._used):
            known = ", ".join(self.writer.labels)
            raise DataError(f"masses are declared for '{unused[0]}', which is no species here ({known}): correct it")
        table = self.energies
        if table is not None and len(table.potential) != self.n_frames:
            raise DataError(
                f"{table.path}: has {len(table.potential)} lines, the files have {self.n_frames} frames: give one each"
            )


def _change(first: RawFrame, frame: RawFrame) -> str | None:
    """What makes a frame another system than the first of its trajectory, in words; None for nothing."""
    if len(frame.names) != len(first.names):
        return f"the particle count changes from {len(first.names)} to {len(frame.names)}"
    if frame.names != first.names:
        k = next(k for k, (a, b) in enumerate(zip(first.names, frame.names, strict=True)) if a != b)
        return f"the species of particle {k} changes from {first.names[k]} to {frame.names[k]}"
    if not _equal(first.masses, frame.masses):
        return "the masses change"
    if frame.periodic != first.periodic or (frame.box is None) != (first.box is None):
        return "the boundary conditions change"
    if not _equal(first.bonds, frame.bonds):
        return "the bonds change"
    for name in ("velocity", "force", "momentum", "momentum_rate", "potential_energy", "time"):
        if (getattr(first, name) is None) != (getattr(frame, name) is None):
            return f"{name} is given for some frames only"
    return None


def _equal(a: Any, b: Any) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
