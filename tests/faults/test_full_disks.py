"""Fits onto a full or read-only disk: one clear sentence, and nothing half-written. Needs the right to mount."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hamfit.data import Dataset
from hamfit.errors import StoreError
from hamfit.fitting import fit
from hamfit.model import Model
from hamfit.options import FitOptions
from worlds import liquids, write

# Warnings about accuracy are not the subject here.
pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")]

OPTIONS = FitOptions(cutoff=1.75, features=200, input_map="1/r", sampler="elm", taper="none", threads=1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 600 kB: enough for a few states, not for a fit."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return write(tmp_path / "a.zarr", [liquids(1, 30)])


@pytest.mark.parametrize("solver", ["sketched", "tsqr"])
def test_a_full_disk_is_reported_and_leaves_no_model(solver: str, disk: Path, data: Dataset) -> None:
    with pytest.raises(StoreError, match="the disk is full"):
        fit(data, options=OPTIONS, solver=solver, out=disk / "m")
    assert not (disk / "m").exists()
    assert [entry.name for entry in disk.iterdir() if entry.name.endswith(".partial")] == []


def test_a_model_that_was_there_survives_a_full_disk(disk: Path, data: Dataset) -> None:
    small = OPTIONS.with_changes(features=8, checkpoint=False)
    fit(data, options=small, out=disk / "m")
    before = Model.open(disk / "m").theta[0].tobytes()
    with pytest.raises(StoreError, match="the disk is full"):
        fit(data, options=OPTIONS, solver="tsqr", out=disk / "m")
    assert Model.open(disk / "m").theta[0].tobytes() == before


def test_space_that_was_freed_lets_the_fit_go_on(disk: Path, data: Dataset) -> None:
    with pytest.raises(StoreError, match="the disk is full"):
        fit(data, options=OPTIONS, solver="tsqr", out=disk / "m")
    subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
    result = fit(data, options=OPTIONS, solver="tsqr", out=disk / "m")
    clean = fit(data, options=OPTIONS, solver="tsqr")
    assert [t.tobytes() for t in result.model.theta] == [t.tobytes() for t in clean.model.theta]
    assert [entry.name for entry in disk.iterdir()] == ["m"]


def test_a_read_only_disk_is_reported(disk: Path, data: Dataset) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(StoreError, match=r"m cannot be written|writing is not permitted"):
        fit(data, options=OPTIONS, out=disk / "m")
