"""`ingest`: other programs' trajectories become a dataset, their units made consistent at the door.

A file's format is told by its first bytes: LAMMPS text dump, extended XYZ (both also .gz), ASE .traj, NumPy
.npz. Frames stream through, so that a dump may be larger than memory; only derivatives need a whole
trajectory at once.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from hamfit.data.ase_trajectory import read_ase_trajectory
from hamfit.data.assembly import Assembler
from hamfit.data.dataset import Dataset
from hamfit.data.energy_table import read_energy_table
from hamfit.data.extxyz import read_extxyz
from hamfit.data.lammps import dumped_units, read_lammps_dump
from hamfit.data.raw_frame import open_lines
from hamfit.data.series import read_series
from hamfit.data.units import UNIT_NAMES, input_units
from hamfit.data.writer import DatasetWriter
from hamfit.errors import DataError, SpecError
from hamfit.progress import Event, Progress, silent

Format = Literal["lammps", "extxyz", "ase", "npz"]
_READERS = {"extxyz": read_extxyz, "ase": read_ase_trajectory, "npz": read_series}

_WARN_DERIVATIVE_ERROR = 1e-2


def ingest(
    files: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    units: str | None,
    energies: str | Path | None = None,
    energies_per: Literal["atom", "frame"] | None = None,
    species: Mapping[str, str] | str | None = None,
    masses: Mapping[str, float] | str | None = None,
    dt: float | None = None,
    derivatives: bool = False,
    pbc: Sequence[bool] | bool | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Dataset:
    """Read trajectories, convert their units, and write the dataset `out`.

    Args:
        files: one or more files; those whose names differ in numbers only are taken in numeric order. A dump that
            begins after the last step of the one before, with the same particles, continues its trajectory.
        out: path of the dataset to write.
        units: what the numbers in the files are in: `lj` (or `reduced`), `ase`, `metal`, `real`, `si`, `electron`.
            None is allowed only for dumps that say so themselves (ITEM: UNITS).
        energies: CSV with columns frame, potential and perhaps kinetic, one line per frame over all files.
        energies_per: whether those are per atom or per frame; LAMMPS normalises by atoms in lj units, hence the
            default `atom` for lj and `frame` else.
        species: names for the names or types in the files, as {"1": "Ar"} or "1=Ar,2=Kr".
        masses: masses by species in the units of the files; they precede the files' own. Chemical elements need none.
        dt: time of one step (of one frame, where the file counts no steps), in the units of the files.
        derivatives: fill in missing velocities and forces from the time series (`derivatives`).
        pbc: which axes are periodic, overriding the files.
        overwrite: replace a dataset at `out`.
        progress: told of frames as they are read.

    Raises:
        DataError: something in the files cannot be used; nothing is written then.
        SpecError: options that cannot be understood.
        StoreError: `out` is taken or cannot be written.

    """
    paths = _ordered([files] if isinstance(files, (str, Path)) else list(files))
    formats = {path: _format_of(path) for path in paths}
    name = _declared_units(units, formats)
    factors = input_units(name)
    if dt is not None and not dt > 0:
        raise SpecError(f"dt is {dt}: give a positive time of one step")
    per: Literal["atom", "frame"] = energies_per or ("atom" if factors.name == "lj" else "frame")
    if per not in ("atom", "frame"):
        raise SpecError(f"energies_per is '{per}': choose 'atom' or 'frame'")
    table = None if energies is None else read_energy_table(Path(energies), per)
    origin = {
        "files": [path.name for path in paths],
        "units": factors.name,
        "energies": None if table is None else {"file": table.path.name, "per": table.per},
    }
    started, told = time.perf_counter(), 0.0
    with DatasetWriter.create(out, units=factors.target, attrs={"ingest": origin}, overwrite=overwrite) as writer:
        assembler = Assembler(
            writer,
            factors,
            species=_assignments("species", species),
            masses=_mass_table(masses),
            energies=table,
            dt=dt,
            derivatives=derivatives,
            periodic=(pbc,) * 3 if isinstance(pbc, bool) else None if pbc is None else tuple(map(bool, pbc)),
        )
        for path, kind in formats.items():
            frames = read_lammps_dump(path, name) if kind == "lammps" else _READERS[kind](path)
            for number, frame in enumerate(frames):
                first = number == 0
                if first and kind == "lammps" and assembler.repeats(frame):
                    continue
                is_new = first and not (kind == "lammps" and assembler.follows(frame))
                assembler.add(frame, _trajectory_name(path), is_new=is_new, splits=kind == "extxyz")
                seconds = time.perf_counter() - started
                if seconds - told > 0.1:
                    progress(Event("ingest", assembler.n_frames, 0, 0, seconds, 0))
                    told = seconds
        assembler.finish()
        assembler.check_all_used()
        if assembler.derivative_error > _WARN_DERIVATIVE_ERROR:
            warnings.warn(
                f"the frames are far apart: derivatives of order 6 and 4 differ by {assembler.derivative_error:.1e}; "
                "write frames more often",
                stacklevel=2,
            )
    progress(Event("ingest", assembler.n_frames, assembler.n_frames, 0, time.perf_counter() - started, 0))
    return Dataset.open(out)


def _format_of(path: Path) -> Format:
    """The format, by the first bytes; DataError when it is none of the four."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder: give the trajectory files in it")
    with open_lines(path) as file:
        head = file.read(256).lstrip()
    if head.startswith(b"ITEM:"):
        return "lammps"
    if head.startswith(b"- of Ulm"):
        return "ase"
    if head.startswith(b"PK"):
        return "npz"
    if re.match(rb"\d+\s*\n", head):
        return "extxyz"
    what = "is empty" if not head else "is none of LAMMPS text dump, extended XYZ, ASE .traj and .npz"
    raise DataError(f"{path}: {what}: convert it to one of them")


def _declared_units(units: str | None, formats: Mapping[Path, Format]) -> str:
    """The one name of units for all files, by declaration or by what the dumps say."""
    if units is None:
        found = {dumped_units(path) if kind == "lammps" else None for path, kind in formats.items()}
        if None in found or len(found) != 1:
            raise DataError(
                f"{next(iter(formats))}: units are not declared: say --units with one of {', '.join(UNIT_NAMES)}"
            )
        return str(found.pop())
    name = input_units(units).name
    for path, kind in formats.items():
        if kind == "ase" and name not in ("ase", "lj"):
            raise DataError(f"{path}: ASE trajectories are in ASE's units, not '{units}': use --units ase")
    return name


def _ordered(files: Sequence[str | Path]) -> list[Path]:
    """The files in the order given, or in numeric order when their names differ in numbers only."""
    paths = [Path(file) for file in files]
    if not paths:
        raise SpecError("no files are given: name at least one trajectory file")
    if len(set(paths)) != len(paths):
        raise SpecError("a file is given twice: name each once")
    if len({re.sub(r"\d+", "#", str(path)) for path in paths}) == 1:
        paths.sort(key=lambda path: [int(number) for number in re.findall(r"\d+", str(path))])
    return paths


def _trajectory_name(path: Path) -> str:
    """A name from the file's: letters and digits, no endings."""
    stem = path.name
    for ending in (".gz", ".lammpstrj", ".dump", ".extxyz", ".xyz", ".traj", ".npz"):
        stem = stem.removesuffix(ending)
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", stem).lstrip(".+-") or "trajectory"


def _assignments(option: str, value: Mapping[str, str] | str | None) -> dict[str, str]:
    """Names and values of "1=Ar,2=Kr" or of a mapping."""
    if value is None:
        return {}
    if not isinstance(value, str):
        return {str(key): str(entry) for key, entry in value.items()}
    pairs = [part.partition("=") for part in value.split(",")]
    result = {key.strip(): entry.strip() for key, _, entry in pairs}
    if len(result) != len(pairs) or not all(key and entry for key, entry in result.items()):
        raise SpecError(f"{option} is '{value}': write NAME=VALUE,NAME=VALUE with each name once")
    return result


def _mass_table(value: Mapping[str, float] | str | None) -> dict[str, float]:
    table = {}
    pairs = _assignments("masses", value) if isinstance(value, str) or value is None else value
    for name, mass in pairs.items():
        try:
            table[str(name)] = float(mass)
        except ValueError as error:
            raise SpecError(f"masses gives '{name}' the mass '{mass}': give a number") from error
        if not 0 < table[str(name)] < float("inf"):
            raise DataError(f"masses gives '{name}' the mass {mass}: give a positive mass")
    return table
