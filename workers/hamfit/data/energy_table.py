"""Energies of frames from a CSV file: `frame,potential,kinetic`, one line per frame.

The kinetic energy is not stored. Where velocities are there it is compared with p^2/2m, which catches the
classic mistake of declaring the wrong units before anything is fitted.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hamfit.errors import DataError
from hamfit.types import FloatArray

_POTENTIAL = ("potential", "potential_energy", "pe", "poteng", "energy")
_KINETIC = ("kinetic", "kinetic_energy", "ke", "kineng")

KINETIC_TOLERANCE = 1e-3
"""Largest relative difference between a kinetic energy and the velocities. Constants of different program
versions differ by 1e-6, wrong units by far more than 1 (arbitrary in between)."""


@dataclass(frozen=True, slots=True, eq=False)
class EnergyTable:
    """Energies of all frames of one ingest, in the order of the frames and in the units of the file."""

    path: Path
    potential: FloatArray
    """(T,), per atom or per frame as `per` says."""
    kinetic: FloatArray | None
    """(T,), or None when the file has none."""
    per: Literal["atom", "frame"]

    def factor(self, n_particles: int) -> float:
        """What an entry is multiplied by to be that of the whole frame."""
        return float(n_particles) if self.per == "atom" else 1.0


def read_energy_table(path: Path, per: Literal["atom", "frame"]) -> EnergyTable:
    """Read a CSV with a header; columns `potential` and, if wanted, `frame` (counted from 0) and `kinetic`.

    Raises DataError when the file or the column is missing, or a value is no number.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
            rows = list(reader)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file: check the name given for energies") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error}): check the file given for energies") from error
    potential = next((header[name] for name in _POTENTIAL if name in header), None)
    if potential is None:
        raise DataError(f"{path}: has no column 'potential' (found: {', '.join(header)}): name the columns in line 1")
    kinetic = next((header[name] for name in _KINETIC if name in header), None)
    if "frame" in header:
        frames = _column(path, rows, header["frame"])
        if not np.array_equal(frames, np.arange(len(rows))):
            raise DataError(f"{path}: column 'frame' is not 0, 1, 2, ...: give one line per frame, in order")
    return EnergyTable(
        path,
        _column(path, rows, potential),
        None if kinetic is None else _column(path, rows, kinetic),
        per,
    )


def _column(path: Path, rows: list[dict[str, str]], name: str) -> FloatArray:
    values = np.empty(len(rows))
    for k, row in enumerate(rows):
        try:
            values[k] = float(row[name])
        except (TypeError, ValueError):
            values[k] = math.nan
        if not math.isfinite(values[k]):
            raise DataError(f"{path}: {name} in line {k + 2} is '{row[name]}', not a number: repair that line")
    return values


def check_kinetic(table: EnergyTable, frame: int, where: str, found: float, n_particles: int) -> None:
    """DataError when the kinetic energy `found` from the velocities (file's units) is not that of the
    table."""
    if table.kinetic is None:
        return
    expected = float(table.kinetic[frame]) * table.factor(n_particles)
    if abs(found - expected) > KINETIC_TOLERANCE * max(abs(expected), 1e-300):
        raise DataError(
            f"{where}: the velocities give a kinetic energy of {found:.6g}, {table.path.name} says {expected:.6g}: "
            "check --units and --energies-per"
        )
