"""Datasets as extended XYZ, the text that most programs of the field read.

ASE's own writer keeps eight decimals and takes chemical elements only, so that neither a rollout nor a reduced unit
would survive it. The text here has ASE's column names and 17 digits: what is read back is what was written, bit for
bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from hamfit.data import Dataset, Trajectory
from hamfit.errors import SpecError
from hamfit.exports.files import publishing_file
from hamfit.frames import Frame
from hamfit.graphs.lattice import padded
from hamfit.progress import Event, Progress, silent
from hamfit.stores.disk import disk_errors
from hamfit.types import FloatArray


def export_extxyz(
    data: Dataset | str | Path,
    path: str | Path,
    *,
    symbols: Mapping[str, str] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write all frames of a dataset to one file, trajectory after trajectory, and return its path.

    Columns: species, pos, masses, and where known momenta, velo (only where momenta are not masses times velocities),
    forces. The comment has Lattice and pbc, energy, step, time, the trajectory's name and the units, whose numbers are
    those of the dataset: `ase` is what ASE expects, `lj` stays reduced. Fewer than three dimensions get zeros, and a
    lattice vector of length 1 that does not repeat. Bonds are left out. ``symbols`` renames species: ASE itself reads
    chemical elements only. Memory does not grow with the number of frames. Raises StoreError when ``path`` is taken
    or cannot be written, SpecError for names that the format cannot hold.
    """
    dataset = data if isinstance(data, Dataset) else Dataset.open(data)
    names = _names(dataset.labels, symbols or {})
    with publishing_file(path, overwrite=overwrite) as partial:
        started = time.perf_counter()
        for done in _written(Path(path), partial, dataset, names):
            progress(Event("export", done, dataset.n_frames, 0, time.perf_counter() - started, 0))
    return Path(path).absolute()


def _written(path: Path, partial: Path, dataset: Dataset, names: np.ndarray) -> Iterator[int]:
    """Write the file that is to be ``path``; the number of frames written, after each."""
    done = 0
    with disk_errors(path), partial.open("w", encoding="utf-8") as file:
        for trajectory in dataset.trajectories:
            for text in _frames(trajectory, names, dataset.units.name):
                file.write(text)
                done += 1
                yield done


def _names(labels: tuple[str, ...], symbols: Mapping[str, str]) -> np.ndarray:
    unknown = sorted(set(symbols) - set(labels))
    if unknown:
        raise SpecError(f"symbols rename the species {', '.join(unknown)}: the dataset has {', '.join(labels)}")
    names = [symbols.get(label, label) for label in labels]
    for name in names:
        if not name or name.split() != [name]:
            raise SpecError(f"the species {name!r} cannot be a word of extended XYZ: rename it with symbols")
    return np.array(names)


def _frames(trajectory: Trajectory, names: np.ndarray, units: str) -> Iterator[str]:
    species = names[trajectory.species].tolist()
    step, times = trajectory.step, trajectory.time
    keeps_momenta = "momentum" in trajectory.fields
    for at, frame in enumerate(trajectory.stream()):
        words = [f"step={int(step[at])}"]
        if trajectory.has_time:
            words.append(f"time={times[at]:.17g}")
        words += [f'trajectory="{trajectory.name}"', f'units="{units}"']
        yield _text(frame, species, " ".join(words), keeps_momenta=keeps_momenta)


def _text(frame: Frame, species: list[str], words: str, *, keeps_momenta: bool) -> str:
    columns: list[tuple[str, FloatArray | None]] = [
        ("pos", frame.q),
        ("momenta", frame.p),
        ("velo", frame.qdot if keeps_momenta else None),
        ("forces", frame.pdot),
    ]
    present = [(name, padded(value)) for name, value in columns if value is not None]
    layout = ":".join(["species:S:1", *(f"{name}:R:3" for name, _ in present), "masses:R:1"])
    table = np.hstack([*(value for _, value in present), frame.masses[:, None]])
    head = [_lattice(frame), f"Properties={layout}", words]
    if frame.potential_energy is not None:
        head.insert(2, f"energy={frame.potential_energy:.17g}")
    line = "%s" + " %.17g" * table.shape[1] + "\n"
    rows = (line % (name, *row) for name, row in zip(species, table.tolist(), strict=True))
    return f"{frame.n_particles}\n{' '.join(filter(None, head))}\n{''.join(rows)}"


def _lattice(frame: Frame) -> str:
    repeats = [*frame.periodic, False, False][:3]
    flags = f'pbc="{" ".join("T" if flag else "F" for flag in repeats)}"'
    if frame.box is None:
        return flags
    box = np.eye(3)
    box[: frame.dim, : frame.dim] = frame.box
    return f'Lattice="{" ".join(f"{x:.17g}" for x in box.ravel().tolist())}" {flags}'
