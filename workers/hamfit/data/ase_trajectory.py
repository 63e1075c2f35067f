"""Reader of ASE's binary .traj files, whose numbers ASE keeps in its own units (or in reduced ones)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.data.raw_frame import RawFrame
from hamfit.errors import DataError
from hamfit.types import FloatArray


def read_ase_trajectory(path: Path) -> Iterator[RawFrame]:
    """The frames of one .traj file; DataError when ASE cannot read it.

    Forces are those of the calculator, before constraints. ASE writes momenta only where they are not zero at
    the start; a frame without them has no velocities.
    """
    from ase.io.trajectory import Trajectory
    from ase.io.ulm import InvalidULMFileError

    try:
        with Trajectory(str(path)) as images:
            for number in range(len(images)):
                yield _frame(f"{path.name}, frame {number}", images[number])
    except (InvalidULMFileError, OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise DataError(f"{path}: is not a readable ASE trajectory ({error}): write it again") from error


def _frame(where: str, atoms: Any) -> RawFrame:
    results = {} if atoms.calc is None else atoms.calc.results
    return RawFrame(
        where=where,
        names=tuple(atoms.get_chemical_symbols()),
        q=_floats(atoms.positions),
        # A slab may have a lattice vector of zero across its open direction: complete() adds a unit vector
        # there.
        box=_floats(atoms.cell.complete()) if atoms.cell.rank else None,
        periodic=tuple(bool(flag) for flag in atoms.pbc),
        masses=_floats(atoms.get_masses()),
        velocity=_floats(atoms.get_velocities()) if atoms.has("momenta") else None,
        force=_floats(results["forces"]) if "forces" in results else None,
        potential_energy=float(results["energy"]) if "energy" in results else None,
        columns=("positions", *results),
    )


def _floats(values: Any) -> FloatArray:
    return np.array(values, dtype=np.float64)
