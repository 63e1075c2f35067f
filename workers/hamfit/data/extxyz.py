"""Reader of extended XYZ, plain or .gz: frames that may each be another system, as DFT collections are.

ASE parses the comment line, where the format's irregularities live. The table of atoms is read here, because
ASE turns every frame into Atoms, which refuses species that are no chemical elements ('A', 'B', 'bead').
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.data.raw_frame import RawFrame, open_lines
from hamfit.errors import DataError
from hamfit.types import FloatArray

_POSITIONS = ("pos", "positions")
_FORCES = ("forces", "force")
_VELOCITIES = ("velocities", "velocity", "velo", "vel")
_MOMENTA = ("momenta",)
_MASSES = ("mass", "masses")
_SPECIES = ("species", "symbols", "element")
_NUMBERS = ("Z", "numbers")
_ENERGIES = ("energy", "potential_energy")


def read_extxyz(path: Path) -> Iterator[RawFrame]:
    """The frames of one file, in the units of the file; DataError when it is cut short or not extended XYZ.

    A frame with Lattice and without pbc is periodic in all directions, as the format says. `momenta` (ASE's
    own column) must be mass times velocity in the file's units.
    """
    with open_lines(path) as file:
        number = 0
        while line := file.readline():
            if not line.strip():
                continue
            where = f"{path.name}, frame {number}"
            try:
                n = int(line)
            except ValueError as error:
                text = line.decode("utf-8", "replace").strip()[:40]
                raise DataError(f"{where}: '{text}' stands where the atom count is needed: repair the file") from error
            comment = file.readline().decode("utf-8", "replace")
            lines = list(islice(file, n))
            if len(lines) < n:
                raise DataError(f"{where}: has {len(lines)} of {n} atoms: the file is cut short, copy it again")
            yield _frame(where, n, comment, [row.split() for row in lines])
            number += 1


def _frame(where: str, n: int, comment: str, rows: list[list[bytes]]) -> RawFrame:
    from ase.io.extxyz import key_val_str_to_dict

    try:
        info = key_val_str_to_dict(comment)
    except ValueError as error:
        raise DataError(f"{where}: the comment line cannot be read ({error}): repair it") from error
    table = _columns(where, str(info.get("Properties", "species:S:1:pos:R:3")), rows)
    q = _vectors(where, table, _POSITIONS, n)
    if q is None:
        raise DataError(f"{where}: has no column pos: write positions as pos:R:3")
    box, periodic = _cell(where, info)
    masses = _pick(table, _MASSES)
    velocity, momentum = _vectors(where, table, _VELOCITIES, n), _vectors(where, table, _MOMENTA, n)
    energy = next((info[key] for key in _ENERGIES if key in info), None)
    if energy is not None and not isinstance(energy, (int, float, np.integer, np.floating)):
        raise DataError(f"{where}: energy is '{energy}', not a number: repair the comment line")
    return RawFrame(
        where=where,
        names=_names(where, table, n),
        q=q,
        box=box,
        periodic=periodic,
        # The format does not say; positions inside the cell are the custom.
        wrapped=any(periodic),
        masses=None if masses is None else _numbers(where, "mass", masses).reshape(n),
        velocity=velocity,
        force=_vectors(where, table, _FORCES, n),
        momentum=None if velocity is not None else momentum,
        potential_energy=None if energy is None else float(energy),
        columns=tuple(table),
    )


def _columns(where: str, properties: str, rows: list[list[bytes]]) -> dict[str, list[list[bytes]]]:
    """The table cut into named columns: for each name, one list of words per atom."""
    words = properties.split(":")
    try:
        widths = [(name, int(width)) for name, _, width in zip(*[iter(words)] * 3, strict=True)]
    except ValueError as error:
        raise DataError(f"{where}: Properties={properties} is not name:type:columns,...: repair it") from error
    total = sum(width for _, width in widths)
    for k, row in enumerate(rows):
        if len(row) != total:
            raise DataError(f"{where}: atom {k} has {len(row)} columns where Properties needs {total}: repair it")
    table, start = {}, 0
    for name, width in widths:
        table[name] = [row[start : start + width] for row in rows]
        start += width
    return table


def _pick(table: Mapping[str, list[list[bytes]]], names: tuple[str, ...]) -> list[list[bytes]] | None:
    return next((table[name] for name in names if name in table), None)


def _numbers(where: str, field: str, column: list[list[bytes]]) -> FloatArray:
    try:
        return np.array([[float(word) for word in row] for row in column], dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: column {field} holds a word that is no number: repair the file") from error


def _vectors(where: str, table: Mapping[str, list[list[bytes]]], names: tuple[str, ...], n: int) -> FloatArray | None:
    column = _pick(table, names)
    if column is None:
        return None
    values = _numbers(where, names[0], column)
    if values.shape != (n, 3):
        raise DataError(f"{where}: column {names[0]} has {values.shape[-1]} numbers where 3 are needed: repair it")
    return values


def _names(where: str, table: Mapping[str, list[list[bytes]]], n: int) -> tuple[str, ...]:
    column = _pick(table, _SPECIES)
    if column is not None:
        return tuple(row[0].decode("utf-8", "replace") for row in column)
    column = _pick(table, _NUMBERS)
    if column is None:
        raise DataError(f"{where}: has no column species: write the species as species:S:1")
    from ase.data import chemical_symbols

    return tuple(chemical_symbols[int(z)] for z in _numbers(where, "Z", column).reshape(n))


def _cell(where: str, info: Mapping[str, Any]) -> tuple[FloatArray | None, tuple[bool, ...]]:
    """Lattice vectors as rows, and which repeat."""
    from ase.cell import Cell

    lattice = info.get("Lattice")
    if lattice is None:
        return None, (False, False, False)
    # ASE fills the matrix column by column: its transpose has the lattice vectors as rows.
    box = np.array(lattice, dtype=np.float64).T
    flags = np.asarray(info.get("pbc", (True, True, True))).ravel()
    if box.shape != (3, 3) or flags.dtype.kind not in "bi" or flags.size not in (1, 3):
        raise DataError(f"{where}: Lattice needs 9 numbers and pbc three of T and F: repair the comment line")
    periodic = tuple(bool(flag) for flag in np.broadcast_to(flags, 3))
    if any(periodic) and not box.any(axis=1).all():
        # A slab may leave out the lattice vector across its open direction: any one will do.
        box = Cell(box).complete().array
    return np.ascontiguousarray(box), periodic
