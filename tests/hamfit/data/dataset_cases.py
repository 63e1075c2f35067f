"""Made-up trajectories and foreign files for the tests of the data room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hamfit.data import Dataset, DatasetWriter

REFERENCE = Path(__file__).parents[2] / "data"


def trajectory(seed: int, *, n_frames: int = 7, n: int = 5, d: int = 3, **changes: Any) -> dict[str, Any]:
    """Arguments of `add_trajectory` with every field of an ordinary simulation."""
    rng = np.random.default_rng(seed)
    arguments: dict[str, Any] = {
        "q": rng.normal(size=(n_frames, n, d)),
        "species": rng.integers(0, 2, size=n),
        "masses": rng.uniform(0.5, 3.0, size=n),
        "box": np.diag(rng.uniform(5.0, 7.0, size=d)),
        "periodic": True,
        "velocity": rng.normal(size=(n_frames, n, d)),
        "force": rng.normal(size=(n_frames, n, d)),
        "potential_energy": rng.normal(size=n_frames),
        "time": 0.25 * np.arange(n_frames),
    }
    return arguments | changes


def write_dataset(path: Path, *trajectories: dict[str, Any], **options: Any) -> Dataset:
    """A dataset of the species A and B and the bond types soft and hard."""
    options = {"units": "lj", "labels": ("A", "B"), "bond_labels": ("soft", "hard")} | options
    with DatasetWriter.create(path, **options) as writer:
        for number, arguments in enumerate(trajectories):
            writer.add_trajectory(f"run-{number}", **arguments)
    return Dataset.open(path)


def dump_text(
    frames: list[np.ndarray],
    *,
    columns: str = "id type x y z fx fy fz",
    first_step: int = 0,
    units: str | None = "lj",
    bounds: str = "BOX BOUNDS pp pp pp\n0 10\n0 10\n0 10",
    times: list[float] | None = None,
) -> str:
    """A LAMMPS dump with the given tables, one per frame, steps 10 apart."""
    parts = [] if units is None else [f"ITEM: UNITS\n{units}\n"]
    for k, table in enumerate(frames):
        if times is not None:
            parts.append(f"ITEM: TIME\n{times[k]!r}\n")
        parts.append(f"ITEM: TIMESTEP\n{first_step + 10 * k}\nITEM: NUMBER OF ATOMS\n{len(table)}\nITEM: {bounds}\n")
        parts.append(f"ITEM: ATOMS {columns}\n")
        parts += [" ".join(str(x) for x in row) + "\n" for row in table.tolist()]
    return "".join(parts)


def dump_table(seed: int, n: int = 4) -> np.ndarray:
    """One frame of `dump_text`'s default columns, all of type 1."""
    rng = np.random.default_rng(seed)
    table = np.concatenate([np.zeros((n, 2)), rng.uniform(0, 10, size=(n, 3)), rng.normal(size=(n, 3))], axis=1)
    return np.array(
        [[int(k + 1), 1, *row[2:]] for k, row in enumerate(table.tolist())],
        dtype=object,
    )
