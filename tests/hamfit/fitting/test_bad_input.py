"""What a fit refuses, in one sentence that names the thing, the reason and the fix, and with nothing half-written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamfit.data import Dataset
from hamfit.errors import DataError, GraphError, SpecError, StoreError
from hamfit.fitting import fit, plan
from hamfit.options import FitOptions
from worlds import LABELS, Case, liquids, write

pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")

OPTIONS = FitOptions(cutoff=1.75, features=24, threads=1)
FRAMES = liquids(1, 6)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return write(tmp_path / "good.zarr", [FRAMES])


def assert_nothing_written(tmp_path: Path) -> None:
    assert [entry.name for entry in tmp_path.iterdir() if not entry.name.endswith(".zarr")] == []


def test_missing_forces_are_named_with_trajectory_and_remedy(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [FRAMES], forces=False)
    with pytest.raises(DataError, match=r"trajectory run-0 of .*a\.zarr has no forces: dump them"):
        fit(data, options=OPTIONS, out=tmp_path / "m")
    assert_nothing_written(tmp_path)


def test_missing_velocities_matter_only_when_the_kinetic_block_is_asked_for(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [FRAMES], velocities=False)
    with pytest.raises(DataError, match=r"run-0 of .*a\.zarr has no velocities, which the kinetic block needs"):
        fit(data, options=OPTIONS, blocks=("kinetic", "pair"), out=tmp_path / "m")
    with pytest.raises(DataError, match="no velocities"):
        plan(data, OPTIONS.with_changes(blocks=("kinetic",)))
    assert_nothing_written(tmp_path)


def test_one_trajectory_without_forces_among_many_is_found(tmp_path: Path, data: Dataset) -> None:
    other = write(tmp_path / "b.zarr", [FRAMES], forces=False)
    with pytest.raises(DataError, match=r"run-0 of .*b\.zarr has no forces"):
        fit([data, other], options=OPTIONS)


def test_an_unknown_species_in_the_cutoffs_is_refused_with_those_that_are_known(data: Dataset) -> None:
    with pytest.raises(SpecError, match="A"):
        fit(data, options=OPTIONS, cutoff="A-X=1.5")


def test_datasets_that_do_not_belong_together_are_refused(tmp_path: Path, data: Dataset) -> None:
    ase = write(tmp_path / "ase.zarr", [FRAMES], units="ase")
    with pytest.raises(DataError, match=r"ase\.zarr is in ase units, .*good\.zarr in lj: ingest both alike"):
        fit([data, ase], options=OPTIONS)
    flat = write(tmp_path / "flat.zarr", [liquids(1, 3, dim=2)])
    with pytest.raises(DataError, match=r"flat\.zarr is 2-dimensional, .*good\.zarr 3-dimensional: fit them apart"):
        fit([data, flat], options=OPTIONS)
    with pytest.raises(DataError, match="no dataset is given"):
        fit([], options=OPTIONS)


def test_particles_of_one_species_with_different_masses_are_refused(tmp_path: Path) -> None:
    odd = [replace(f, masses=np.where(np.arange(27) == 5, 3.0, f.masses)) for f in FRAMES]
    odd = [replace(f, qdot=f.p / f.masses[:, None] if f.p is not None else None) for f in odd]
    with pytest.raises(DataError, match=r"species A of .* has particles of different mass"):
        fit(write(tmp_path / "a.zarr", [odd]), options=OPTIONS, out=tmp_path / "m")
    assert_nothing_written(tmp_path)


def test_coincident_particles_are_named(tmp_path: Path) -> None:
    frames = liquids(1, 3)
    for frame in frames:
        frame.q[3] = frame.q[11]
    with pytest.raises(GraphError, match=r"particles (3 and 11|11 and 3) are at the same place"):
        fit(write(tmp_path / "a.zarr", [frames]), options=OPTIONS, out=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_cutoff_that_joins_nobody_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="nearer than the cutoff"):
        fit(data, options=OPTIONS, cutoff=0.2, out=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_cutoff_beyond_half_the_box_is_no_error(tmp_path: Path) -> None:
    case = Case("small", 3, 7, n_species=2, periodic=True, apart=0.8)
    frames = [case.frame(seed) for seed in range(6)]
    data = write(tmp_path / "a.zarr", [[replace(f, potential_energy=0.0) for f in frames]])
    model = fit(data, options=OPTIONS, cutoff=3.1).model
    assert np.all(np.isfinite(model.forces(frames[0])))
    assert model.labels == LABELS


def test_the_field_block_refuses_a_periodic_box(data: Dataset) -> None:
    with pytest.raises(DataError, match="absolute positions"):
        fit(data, options=OPTIONS, blocks=("field",))


def test_a_place_that_holds_something_else_is_never_overwritten(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("words")
    (tmp_path / "file").write_text("words")
    for name in ("thesis", "file"):
        with pytest.raises(StoreError, match=f"{name} exists and is no model of hamfit: choose another place"):
            fit(data, options=OPTIONS, out=tmp_path / name)
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "words"
    assert (tmp_path / "file").read_text() == "words"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "good.zarr", "thesis"]


def test_a_model_is_replaced_unless_that_is_forbidden(data: Dataset, tmp_path: Path) -> None:
    fit(data, options=OPTIONS, out=tmp_path / "m")
    before = (tmp_path / "m" / "_manifest.json").read_bytes()
    with pytest.raises(StoreError, match="exists: choose another place, or allow overwriting"):
        fit(data, options=OPTIONS, seed=9, out=tmp_path / "m", overwrite=False)
    assert (tmp_path / "m" / "_manifest.json").read_bytes() == before
    fit(data, options=OPTIONS, seed=9, out=tmp_path / "m")
    assert (tmp_path / "m" / "_manifest.json").read_bytes() != before


def test_a_place_below_a_file_is_refused(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        fit(data, options=OPTIONS, out=tmp_path / "file" / "m")


HOLDER = """
import sys, fcntl
from pathlib import Path
from hamfit.fitting.workspace import workspace
with workspace(Path(sys.argv[1]), "another", resume=True, keep=True):
    print("locked", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_fit(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A second process that is in the middle of a fit to the same place."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_place_that_another_fit_is_writing_is_refused_until_that_ends(data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "m"
    with another_fit(out), pytest.raises(StoreError, match=r"is being written by .*: wait for it"):
        fit(data, options=OPTIONS, out=out)
    # the other was killed: its lock went with it
    fit(data, options=OPTIONS, out=out)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["good.zarr", "m"]


def test_what_a_fit_of_another_plan_left_behind_is_thrown_away(data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "m"
    with another_fit(out):
        pass
    left = tmp_path / ".m.fit"
    (left / "stream-000000").mkdir()
    (left / "stream-000000" / "junk").write_text("of another plan")
    model = fit(data, options=OPTIONS, out=out).model
    clean = fit(data, options=OPTIONS).model
    assert [t.tobytes() for t in model.theta] == [t.tobytes() for t in clean.theta]
    assert not left.exists()
