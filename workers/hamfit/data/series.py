"""Reader of time series in NumPy's .npz: the way in for trajectories from one's own code.

Arrays: `q` (T, N, d); of `p`, `velocity`, `force`, `momentum_rate` (T, N, d) what is known; `time` (T,);
`masses` (N,) or one number; `species` (N,) of names or integers (one species when absent); `box` (d, d) or
(T, d, d); `periodic` d booleans; `potential_energy` (T,); `bonds` (B, 2) and `bond_types` (B,) of names or
integers.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hamfit.data.raw_frame import RawFrame
from hamfit.errors import DataError
from hamfit.types import FloatArray

_VECTORS = ("p", "velocity", "force", "momentum_rate")
_OTHERS = ("q", "time", "masses", "species", "box", "periodic", "potential_energy", "bonds", "bond_types")


def read_series(path: Path) -> Iterator[RawFrame]:
    """The frames of one .npz; DataError for unknown names, shapes that disagree, or a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: is not a readable .npz ({error}): write it again") from error
    if unknown := sorted(set(arrays) - {*_VECTORS, *_OTHERS}):
        known = ", ".join([*_OTHERS, *_VECTORS])
        raise DataError(f"{path}: array '{unknown[0]}' is unknown: the names are {known}")
    if "q" not in arrays or arrays["q"].ndim != 3:
        raise DataError(f"{path}: needs positions q of shape (frames, particles, axes): add them")
    q = _floats(path, "q", arrays["q"])
    n_frames, n, d = q.shape
    series = {name: _shaped(path, name, arrays[name], q.shape) for name in _VECTORS if name in arrays}
    for name in ("time", "potential_energy"):
        if name in arrays:
            series[name] = _shaped(path, name, arrays[name], (n_frames,))
    if "box" in arrays:
        box = _floats(path, "box", arrays["box"])
        boxes = np.broadcast_to(box, (n_frames, d, d)) if box.ndim == 2 else box
        series["box"] = _shaped(path, "box", boxes, (n_frames, d, d))
    masses = None
    if "masses" in arrays:
        given = _floats(path, "masses", arrays["masses"])
        masses = _shaped(path, "masses", np.full(n, given) if given.ndim == 0 else given, (n,))
    species = arrays.get("species", np.full(n, "1"))
    if species.shape != (n,):
        raise DataError(f"{path}: species has shape {species.shape}, needed is ({n},): give one per particle")
    names = tuple(str(name) for name in species)
    bonds, types = arrays.get("bonds"), arrays.get("bond_types")
    periodic = tuple(bool(flag) for flag in np.broadcast_to(arrays.get("periodic", np.array("box" in series)), d))
    for t in range(n_frames):
        row: dict[str, Any] = {name: values[t] for name, values in series.items()}
        yield RawFrame(
            where=f"{path.name}, frame {t}",
            names=names,
            q=q[t],
            box=row.get("box"),
            periodic=periodic,
            masses=masses,
            velocity=row.get("velocity"),
            force=row.get("force"),
            momentum=row.get("p"),
            momentum_rate=row.get("momentum_rate"),
            potential_energy=row.get("potential_energy"),
            time=row.get("time"),
            bonds=bonds,
            bond_types=None if bonds is None or types is None else tuple(str(name) for name in types),
            columns=tuple(arrays),
        )


def _floats(path: Path, name: str, value: Any) -> FloatArray:
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: {name} is not numeric: write it as an array of numbers") from error


def _shaped(path: Path, name: str, value: Any, shape: tuple[int, ...]) -> FloatArray:
    array = _floats(path, name, value)
    if array.shape != shape:
        raise DataError(f"{path}: {name} has shape {array.shape}, needed is {shape} to match q: write it again")
    return array
