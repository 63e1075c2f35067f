"""Only what a store itself reads and writes can be an error of the disk: what other people's code raises passes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from hamfit.data import Dataset, DatasetWriter
from hamfit.errors import DiskError
from hamfit.exports import export_extxyz, export_h5md
from hamfit.exports.files import publishing_file
from hamfit.fitting import fit
from hamfit.fitting.workspace import workspace
from hamfit.model import Model
from hamfit.progress import Event
from hamfit.rollouts import rollout
from hamfit.rollouts import workspace as rollouts_workspace
from hamfit.rollouts.workspace import opened
from hamfit.stores import disk, locks, workspaces
from hamfit.stores.publish import publishing
from worlds import liquids, write

pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning", "ignore::hamfit.errors.RolloutWarning")

# A pipe that nobody reads any more, a file of the caller's that is not there, and the caller's own disk being full.
ERRORS = [BrokenPipeError(errno.EPIPE, "Broken pipe"), FileNotFoundError("no such file"), OSError(errno.ENOSPC, "full")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("data") / "a.zarr", [liquids(1, 6)])


@pytest.fixture(scope="module")
def model(data: Dataset) -> Model:
    return fit(data, cutoff=1.75, features=24, threads=1, checkpoint=False).model


BLOCKS: dict[str, Callable[[Path], AbstractContextManager[Any]]] = {
    "a store": publishing,
    "a dataset": lambda out: DatasetWriter.create(out, units="lj", labels=["A"]),
    "a file": publishing_file,
    "a fit": lambda out: workspace(out, "plan", resume=True, keep=True),
    "a fit that keeps nothing": lambda out: workspace(out, "plan", resume=True, keep=False),
    "a fit without a place": lambda _: workspace(None, "plan", resume=True, keep=True),
    "a rollout": lambda out: opened(out, "plan", resume=True, overwrite=False),
}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("what", BLOCKS)
def test_what_is_raised_while_something_is_written_is_not_called_an_error_of_the_disk(
    tmp_path: Path, what: str, error: OSError
) -> None:
    with pytest.raises(type(error)) as caught, BLOCKS[what](tmp_path / "out"):
        raise error
    assert caught.value is error


def fitted(data: Dataset, model: Model, out: Path, progress: Callable[[Event], None]) -> None:
    fit(data, cutoff=1.75, features=24, threads=1, out=out, progress=progress)


def rolled(data: Dataset, model: Model, out: Path, progress: Callable[[Event], None]) -> None:
    rollout(model, data, steps=4, dt=0.001, threads=1, out=out, progress=progress)


def exported_h5md(data: Dataset, model: Model, out: Path, progress: Callable[[Event], None]) -> None:
    export_h5md(data, out, progress=progress)


def exported_extxyz(data: Dataset, model: Model, out: Path, progress: Callable[[Event], None]) -> None:
    export_extxyz(data, out, progress=progress)


@pytest.mark.parametrize("work", [fitted, rolled, exported_h5md, exported_extxyz])
def test_an_error_of_a_listener_passes_through_unchanged_and_the_work_can_be_repeated(
    data: Dataset, model: Model, tmp_path: Path, work: Callable[..., None]
) -> None:
    def hang_up(event: Event, /) -> None:
        # the place is not yet taken while the data are read
        if event.phase != "reading":
            raise error

    error = BrokenPipeError(errno.EPIPE, "Broken pipe")
    with pytest.raises(BrokenPipeError) as caught:
        work(data, model, tmp_path / "out", hang_up)
    assert caught.value is error
    work(data, model, tmp_path / "again", lambda event: None)


@pytest.mark.parametrize(
    ("work", "module"),
    [(fitted, workspaces), (rolled, workspaces), (rolled, rollouts_workspace)],
    ids=["note of a fit", "note of a rollout", "token of a rollout"],
)
def test_a_workspace_that_the_disk_does_not_take_is_one(
    data: Dataset, model: Model, tmp_path: Path, work: Callable[..., None], module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_whole", full)
    with pytest.raises(DiskError, match="out: the disk is full: free space or choose another place"):
        work(data, model, tmp_path / "out", lambda event: None)


def test_a_lock_that_the_file_system_does_not_give_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(descriptor: int) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "try_lock", none_left)
    with pytest.raises(DiskError, match=r"s: cannot be written \(No locks available\)"), publishing(tmp_path / "s"):
        pass


def test_every_reason_of_a_disk_has_its_sentence(tmp_path: Path) -> None:
    for number, sentence in {
        errno.ENOSPC: "s: the disk is full: free space or choose another place; half of it is kept",
        errno.EDQUOT: "s: the disk is full: free space or choose another place; half of it is kept",
        errno.EROFS: "s: writing is not permitted there: choose another place or change its rights",
        errno.EIO: "s: cannot be written (io): choose another place; half of it is kept",
    }.items():
        with pytest.raises(DiskError) as caught, disk.disk_errors(Path("s"), "half of it is kept"):
            raise OSError(number, "io")
        assert str(caught.value) == sentence
