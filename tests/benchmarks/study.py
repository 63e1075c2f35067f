"""Data, fits and tests of one benchmark, done through the public functions and noted down as commands.

A study works in one folder. Whatever it does has the command that does the same from a shell, as far as there is one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.benchmarks.records import VELOCITY, Case, Value

import hamfit
from hamfit.data import DatasetWriter
from hamfit.frames import Frame

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"

FORCE = "relative force error"
OUTSIDE = "extrapolated share"
CPU_SECONDS = "fit, CPU s"
#: Velocities are linear in momenta, so every model must have them to rounding.
VELOCITY_BAR = 1e-8


@dataclass(frozen=True, slots=True)
class Material:
    """A dataset and how it came about."""

    path: Path
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model and how it came about."""

    model: hamfit.Model
    path: Path
    commands: tuple[str, ...]
    seconds: float
    """Processor time of all threads, compilation of kernels included where it happened; a busy machine hardly
    changes it."""
    report: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Study:
    """Work in one folder."""

    folder: Path

    def simulate(self, name: str, system: str, **options: Any) -> Material:
        """Simulate a built-in system."""
        path = self.folder / f"{name}.zarr"
        hamfit.simulate(system, path, overwrite=True, **options)
        flags = {option.name: option.flag for option in _options_of(system)}
        words = " ".join(f"{flags[key]} {_word(value)}" for key, value in options.items())
        return Material(path, (f"hamfit simulate {system} {words} --out {self._shown(path)}".replace("  ", " "),))

    def ingest(self, name: str, file: Path, *, units: str, energies: Path | None = None) -> Material:
        """Read another program's trajectory."""
        path = self.folder / f"{name}.zarr"
        hamfit.ingest(file, path, units=units, energies=energies, overwrite=True)
        table = "" if energies is None else f" --energies {self._shown(energies)}"
        return Material(path, (f"hamfit ingest {self._shown(file)} --units {units}{table} --out {self._shown(path)}",))

    def select(self, name: str, material: Material, frames: Sequence[Sequence[int]], words: str) -> Material:
        """Some frames of each trajectory of a dataset as a dataset of their own.

        Frames that are not neighbours in time stay one trajectory; forces are stored, so nothing is derived from it.
        """
        chosen = iter(frames)

        def pick(every: list[Frame]) -> list[Frame]:
            return [every[k] for k in next(chosen)]

        return self._rewritten(name, material, pick, words)

    def disturb(self, name: str, material: Material, share: float) -> Material:
        """A dataset with Gaussian noise on its forces, of the given share of their root mean square."""
        rng = np.random.default_rng(7)

        def shake(every: list[Frame]) -> list[Frame]:
            forces = np.array([frame.pdot for frame in every])
            noisy = forces + share * float(np.sqrt(np.mean(forces**2))) * rng.normal(size=forces.shape)
            return [replace(frame, pdot=force) for frame, force in zip(every, noisy, strict=True)]

        return self._rewritten(name, material, shake, f"Gaussian noise of {share:g} rms on the forces")

    def _rewritten(
        self, name: str, material: Material, change: Callable[[list[Frame]], list[Frame]], words: str
    ) -> Material:
        path = self.folder / f"{name}.zarr"
        source = hamfit.Dataset.open(material.path)
        with DatasetWriter.create(
            path, units=source.units, labels=source.labels, bond_labels=source.bond_labels, overwrite=True
        ) as writer:
            for trajectory in source.trajectories:
                some = change(trajectory.frames())
                if not some:
                    continue
                one = some[0]
                writer.add_trajectory(
                    trajectory.name,
                    q=np.array([frame.q for frame in some]),
                    species=one.species,
                    masses=one.masses,
                    box=None if one.box is None else np.array([frame.box for frame in some]),
                    periodic=one.periodic,
                    velocity=_stacked([frame.qdot for frame in some]),
                    force=_stacked([frame.pdot for frame in some]),
                    potential_energy=_stacked([frame.potential_energy for frame in some]),
                    bonds=one.bonds,
                    bond_types=one.bond_types,
                )
        return Material(path, (*material.commands, f"# {self._shown(path)}: {words} (tests/benchmarks/study.py)"))

    def fit(self, name: str, material: Material, **options: Any) -> Fitted:
        """Fit a model, with default options unless others are given."""
        path = self.folder / f"{name}.model"
        began = time.process_time()
        result = hamfit.fit(material.path, out=path, checkpoint=False, **options)
        seconds = time.process_time() - began
        words = "".join(f" --{key.replace('_', '-')} {_word(value)}" for key, value in options.items())
        command = f"hamfit fit {self._shown(material.path)}{words} --out {self._shown(path)}"
        return Fitted(result.model, path, (*material.commands, command), seconds, result.report)

    def test(
        self,
        group: str,
        name: str,
        fitted: Fitted,
        material: Material,
        *,
        force: float | None,
        velocity: float = VELOCITY_BAR,
        note: str = "",
    ) -> Case:
        """Evaluate a model on data, against bars for forces and velocities."""
        errors = hamfit.evaluate(fitted.model, material.path)
        values = [Value(FORCE, errors["force"], force)]
        if errors["velocity"] is not None:
            values.append(Value(VELOCITY, errors["velocity"], velocity))
        values += [Value(OUTSIDE, errors["extrapolated_share"]), Value(CPU_SECONDS, round(fitted.seconds, 2))]
        new = tuple(command for command in material.commands if command not in fitted.commands)
        command = f"hamfit evaluate {self._shown(fitted.path)} {self._shown(material.path)}"
        return Case(group, name, tuple(values), (*fitted.commands, *new, command), note)

    def _shown(self, path: Path) -> str:
        elsewhere = os.environ.get("HAMFIT_DFT_DATA")
        if elsewhere and path.is_relative_to(elsewhere):
            return f"$HAMFIT_DFT_DATA/{path.relative_to(elsewhere)}"
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _stacked(values: Sequence[Any]) -> np.ndarray | None:
    return None if any(value is None for value in values) else np.array(values)


def _options_of(system: str) -> Iterator[Any]:
    from hamfit.systems import SYSTEMS

    yield from SYSTEMS[system].options


def _word(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
