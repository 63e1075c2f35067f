"""Reader of LAMMPS text dumps (dump style custom), plain or .gz, orthogonal or triclinic.

The format is described in LAMMPS's manual under `dump`; this reader is our own because a dump read through
general tools loses its ITEM: UNITS and TIME and takes ten times as long. Positions are taken unwrapped where
the file allows it, in this order: xu, xsu, x or xs with images, x, xs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from hamfit.data.raw_frame import RawFrame, open_lines
from hamfit.data.units import input_units
from hamfit.errors import DataError
from hamfit.types import FloatArray

_AXES = "xyz"


def read_lammps_dump(path: Path, units: str) -> Iterator[RawFrame]:
    """The frames of one dump, particles sorted by id, in the units of the file.

    `units` is what the caller declares. Raises DataError when the file says otherwise in ITEM: UNITS, is cut
    short, or lacks positions.
    """
    with open_lines(path) as file:
        step: int | None = None
        time: float | None = None
        n_particles = -1
        box: tuple[FloatArray, FloatArray, tuple[bool, ...]] | None = None
        while line := file.readline():
            item = line.decode("utf-8", "replace").strip()
            if not item:
                continue
            if item == "ITEM: UNITS":
                check_units(path, file.readline().decode().strip(), units)
            elif item == "ITEM: TIME":
                time = _number(path, "TIME", file.readline())
            elif item == "ITEM: TIMESTEP":
                step = int(_number(path, "TIMESTEP", file.readline()))
            elif item == "ITEM: NUMBER OF ATOMS":
                n_particles = int(_number(path, "NUMBER OF ATOMS", file.readline()))
            elif item.startswith("ITEM: BOX BOUNDS"):
                box = _read_box(path, item.split()[3:], [file.readline().split() for _ in range(3)])
            elif item.startswith("ITEM: ATOMS"):
                if step is None or n_particles < 0 or box is None:
                    raise DataError(f"{path}: ATOMS come before TIMESTEP, NUMBER OF ATOMS and BOX BOUNDS: repair it")
                yield _read_atoms(path, file, item.split()[2:], n_particles, step, time, box)
                step, time, n_particles, box = None, None, -1, None
            else:
                raise DataError(f"{path}: '{item[:60]}' is no item of a LAMMPS text dump: give dump files only")
        if step is not None:
            raise DataError(f"{path}: the file ends inside step {step}: remove the last frame or copy it again")


def dumped_units(path: Path) -> str | None:
    """What the first lines of a dump say in ITEM: UNITS, or None."""
    with open_lines(path) as file:
        for line in islice(file, 4):
            if line.strip() == b"ITEM: UNITS":
                return file.readline().decode().strip()
    return None


def check_units(path: Path, found: str, declared: str) -> None:
    """DataError when a file says other units than its user."""
    if input_units(found).name != input_units(declared).name:
        raise DataError(f"{path}: is in '{found}' units by its own word, not '{declared}': use --units {found}")


def _number(path: Path, item: str, line: bytes) -> float:
    try:
        return float(line)
    except ValueError as error:
        text = line.decode("utf-8", "replace").strip()
        raise DataError(f"{path}: {item} is '{text}', not a number: the file is damaged, copy it again") from error


def _read_box(
    path: Path, words: Sequence[str], lines: Sequence[Sequence[bytes]]
) -> tuple[FloatArray, FloatArray, tuple[bool, ...]]:
    """Lattice vectors as rows, the box's origin, and which directions repeat."""
    try:
        values = [[float(word) for word in line] for line in lines]
        # Boundary words are pairs such as 'pp', 'fs'; absent in old dumps, which were periodic by default.
        bounds = [word for word in words if len(word) == 2 and set(word) <= set("pfsm")]
        periodic = tuple(word == "pp" for word in bounds) or (True, True, True)
        if words[:2] == ["abc", "origin"]:  # general triclinic: three lattice vectors, each followed by an origin
            table = np.array(values)
            return table[:, :3], table[:, 3], periodic
        low, high = np.array([v[0] for v in values]), np.array([v[1] for v in values])
        xy, xz, yz = (v[2] for v in values) if words[:3] == ["xy", "xz", "yz"] else (0.0, 0.0, 0.0)
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: BOX BOUNDS cannot be read: the file is damaged, copy it again") from error
    # A tilted box is given by its bounding box (LAMMPS manual, Howto triclinic).
    low -= [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high -= [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    x, y, z = high - low
    return np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]]), low, periodic


def _read_atoms(
    path: Path,
    file: IO[bytes],
    columns: Sequence[str],
    n: int,
    step: int,
    time: float | None,
    box: tuple[FloatArray, FloatArray, tuple[bool, ...]],
) -> RawFrame:
    where = f"{path.name}, step {step}"
    lines = list(islice(file, n))
    tokens = b"".join(lines).split()
    if len(lines) < n or len(tokens) != n * len(columns):
        raise DataError(
            f"{path}: step {step} has {len(tokens)} values where {n} atoms of {len(columns)} columns need "
            f"{n * len(columns)}: the file is cut short or damaged, remove that frame or copy it again"
        )
    table = _Columns(where, tokens, columns)
    if "id" in columns:
        ids = table.numbers("id").astype(np.int64)
        table.order = np.argsort(ids, kind="stable")
        if n > 1 and not np.diff(ids[table.order]).all():
            raise DataError(f"{where}: two atoms have the same id: write the dump of one run only")
    q, wrapped = _positions(table, *box)
    names = (
        table.words("element" if "element" in columns else "type") if {"element", "type"} & set(columns) else ["1"] * n
    )
    edges, _, periodic = box
    return RawFrame(
        where=where,
        names=tuple(names),
        q=q,
        box=edges,
        periodic=periodic,
        wrapped=wrapped and any(periodic),
        masses=table.numbers("mass") if "mass" in columns else None,
        velocity=table.vectors("v"),
        force=table.vectors("f"),
        step=step,
        time=time,
        columns=tuple(columns),
    )


class _Columns:
    """The table of one frame, column by column; only the columns asked for are converted."""

    def __init__(self, where: str, tokens: list[bytes], columns: Sequence[str]) -> None:
        self._where = where
        self._tokens = tokens
        self._columns = list(columns)
        self.order = np.arange(len(tokens) // max(len(columns), 1))
        """Rows in the order in which they are given."""

    def words(self, name: str) -> list[str]:
        words = self._tokens[self._columns.index(name) :: len(self._columns)]
        # One string for each species, not for each atom: a million atoms share a handful of names.
        known = {word: word.decode("utf-8", "replace") for word in set(words)}
        return [known[words[row]] for row in self.order]

    def numbers(self, name: str) -> FloatArray:
        words = self._tokens[self._columns.index(name) :: len(self._columns)]
        try:
            return np.array(list(map(float, words)), dtype=np.float64)[self.order]
        except ValueError as error:
            raise DataError(f"{self._where}: column {name} holds a word that is no number: repair the file") from error

    def vectors(self, prefix: str, suffix: str = "") -> FloatArray | None:
        """Three columns such as vx vy vz, or None when they are not all there."""
        names = [f"{prefix}{axis}{suffix}" for axis in _AXES]
        return np.stack([*map(self.numbers, names)], axis=1) if set(names) <= set(self._columns) else None


def _positions(
    table: _Columns, edges: FloatArray, origin: FloatArray, periodic: tuple[bool, ...]
) -> tuple[FloatArray, bool]:
    """Positions (N, 3), and whether they are wrapped into the box."""
    if (q := table.vectors("", "u")) is not None:
        return q, False
    if (scaled := table.vectors("", "su")) is not None:
        return origin + scaled @ edges, False
    images = table.vectors("i")
    q = table.vectors("")
    if q is None and (scaled := table.vectors("", "s")) is not None:
        q = origin + scaled @ edges
    if q is None:
        raise DataError(f"{table._where}: has no positions: dump xu yu zu (or x y z, or xs ys zs)")
    return (q, True) if images is None else (q + images @ edges, False)
