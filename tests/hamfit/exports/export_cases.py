"""Models with the data they were fitted to."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamfit.data import Dataset, ingest
from hamfit.errors import FitWarning
from hamfit.fitting import fit
from hamfit.frames import Frame
from hamfit.model import Model
from worlds import write

DATA = Path(__file__).parents[2] / "data"
QUICK: dict[str, Any] = {"threads": 1, "checkpoint": False}


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A model, and the data it was fitted to."""

    model: Model
    data: Dataset

    def frame(self, t: int = 3) -> Frame:
        return self.data.trajectories[0].frame(t)


def train(folder: Path, source: str | Sequence[Frame], units: str = "lj", **options: Any) -> Trained:
    """Fit a trajectory of LAMMPS by its name, or frames."""
    if isinstance(source, str):
        files = DATA / f"{source}.lammpstrj.gz", DATA / f"{source}.energies.csv"
        data = ingest(files[0], folder / "data.zarr", units=units, energies=files[1])
    else:
        data = write(folder / "data.zarr", [source], units=units)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return Trained(fit(data, **QUICK, **options).model, data)
