"""What a trajectory must satisfy before it enters a dataset: whoever reads one need not look again.

Each check raises DataError with one sentence that names the trajectory and field, the reason and the fix.
Coincident particles are left to the graphs, which alone know what is close.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from hamfit.errors import DataError
from hamfit.types import FloatArray, IntArray

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def checked_name(name: str) -> str:
    """A trajectory name that is also a folder name on every system."""
    if not _NAME.fullmatch(name):
        raise DataError(f"trajectory name {name!r} cannot name a folder: use letters, digits and '_-+.'")
    return name


def float_array(where: str, field: str, value: npt.ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """`value` as a float64 array of exactly this shape, with no NaN or infinity in it."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {field} is not numeric: give numbers of shape {shape}") from error
    if array.shape != shape:
        raise DataError(f"{where}: {field} has shape {array.shape}, needed is {shape}: check the counts")
    # A sum is finite when every term is, save for overflow: half the cost of isfinite on the whole array.
    if not np.isfinite(array.sum()) and not (finite := np.isfinite(array)).all():
        bad = tuple(int(k) for k in np.argwhere(~finite)[0])
        raise DataError(
            f"{where}: {field} is {array[bad]} at index {bad} (frame first): remove it or repair the source"
        )
    return array


def int_array(where: str, field: str, value: npt.ArrayLike, shape: tuple[int, ...]) -> IntArray:
    """`value` as an int64 array of exactly this shape."""
    array: npt.NDArray[Any] = np.asarray(value)
    if array.size and array.dtype.kind not in "iu":
        raise DataError(f"{where}: {field} holds {array.dtype} numbers: give integers")
    if array.shape != shape:
        raise DataError(f"{where}: {field} has shape {array.shape}, needed is {shape}: check the counts")
    return array.astype(np.int64)


def checked_masses(where: str, masses: npt.ArrayLike, n_particles: int) -> FloatArray:
    """Masses (N,), each positive and finite; one number stands for all particles."""
    array = np.asarray(masses, dtype=np.float64)
    if array.ndim == 0:
        array = np.full(n_particles, array)
    array = float_array(where, "mass", array, (n_particles,))
    if n_particles and array.min() <= 0:
        k = int(array.argmin())
        raise DataError(f"{where}: mass of particle {k} is {array[k]}: give each particle a positive mass")
    return array


def checked_index(where: str, field: str, index: IntArray, labels: tuple[str, ...]) -> IntArray:
    """Indices into a table of names."""
    if index.size and (index.min() < 0 or index.max() >= len(labels)):
        bad = int(index.max() if index.max() >= len(labels) else index.min())
        names = ", ".join(labels) or "none"
        raise DataError(f"{where}: {field} {bad} has no name (labels are {names}): name it in labels")
    return index


def checked_bonds(where: str, bonds: npt.ArrayLike, n_particles: int) -> IntArray:
    """Bonds (B, 2) between different particles that exist."""
    array = np.asarray(bonds)
    array = array.reshape(0, 2) if array.size == 0 else array
    result = int_array(where, "bonds", array, (len(array), 2))
    if result.size and (result.min() < 0 or result.max() >= n_particles):
        raise DataError(f"{where}: bonds name particles outside 0..{n_particles - 1}: count from 0")
    return result


def checked_increase(where: str, field: str, values: FloatArray | IntArray, last: float | None) -> None:
    """Steps and times must grow from frame to frame, across appended blocks too."""
    joined = values if last is None else np.concatenate([[last], values])
    if len(joined) > 1 and (bad := np.diff(joined) <= 0).any():
        k = int(bad.argmax())
        raise DataError(
            f"{where}: {field} does not increase ({joined[k]} is followed by {joined[k + 1]}): "
            "order the frames or make two trajectories of them"
        )


def checked_box(where: str, box: FloatArray) -> FloatArray:
    """Lattice vectors (d, d) as rows, independent of each other."""
    volume = abs(float(np.linalg.det(box)))
    # 1e-12 of the volume of a rectangular cell of the same edges: flatter cells are taken for a mistake
    # (arbitrary).
    if volume <= 1e-12 * float(np.prod(np.linalg.norm(box, axis=1))):
        raise DataError(f"{where}: the box has no volume: give {len(box)} independent lattice vectors")
    return box
