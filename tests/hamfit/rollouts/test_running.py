"""A rollout under way that is stopped, wherever that is, and taken up again."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import scenes
from failing import failing
from scenes import Scene

from hamfit import bundles
from hamfit.data import Dataset, writer
from hamfit.errors import StoreError
from hamfit.inference import AbstractEngine, CompiledModel
from hamfit.progress import Event
from hamfit.rollouts import plan as plans
from hamfit.rollouts import rollout
from hamfit.rollouts.running import _Rollout
from hamfit.stores import array_writer, disk, store_builder, zarr_array
from hamfit.stores.array_writer import ArrayWriter

# Pairs out of range are no subject but of the tests that say so.
pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.RolloutWarning")


class StopError(BaseException):
    """Comes as Ctrl-C does, from anywhere."""


HOW: dict[str, Any] = {"steps": 11, "dt": 0.01, "every": 4, "threads": 1, "checkpoint_seconds": 0.0}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest that all the rest must have."""
    return run(tmp_path_factory.mktemp("undisturbed") / "r").digest


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of two or three frames, and places to go on between the stored frames."""
    monkeypatch.setattr(zarr_array, "TARGET_CHUNK_BYTES", 200)
    monkeypatch.setattr(plans, "_LONGEST_SEGMENT", 3)


def run(out: Path, **changes: Any) -> Dataset:
    scene = scenes.pair_of_rings()
    return rollout(scene.model, scene.initial, out=out, **{**HOW, **changes}).dataset


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("method", ["begin", "_observe", "_store", "_pause", "keep", "close"])
def test_a_rollout_stopped_at_any_call_goes_on_to_the_same_bits(
    method: str, after: bool, undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 0
    for at in count(1, 1 if method in ("begin", "close") else 5):
        out = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr(_Rollout, method, failing(getattr(_Rollout, method), at, StopError(), after))
            try:
                assert run(out).digest == undisturbed
                break
            except StopError:
                number += 1
        assert not out.exists()
        dataset = run(out)
        dataset.verify()
        assert dataset.digest == undisturbed
    assert number >= 2
    assert {path.name[0] for path in tmp_path.iterdir()}.isdisjoint(".")


@pytest.mark.parametrize("method", ["open", "restore", "begin", "run", "close"])
def test_an_engine_is_closed_whatever_ends_its_rollout(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, make = [], CompiledModel.engine

    def engine(*args: Any, **kwargs: Any) -> AbstractEngine:
        opened.append(make(*args, **kwargs))
        close = opened[-1].close

        def counted() -> None:
            closed.append(True)
            close()

        monkeypatch.setattr(opened[-1], "close", counted)
        return opened[-1]

    closed: list[bool] = []
    monkeypatch.setattr(CompiledModel, "engine", engine)
    monkeypatch.setattr(_Rollout, method, failing(getattr(_Rollout, method), 1, StopError(), False))
    with pytest.raises(StopError):
        run(tmp_path / "r", frames="0", dt=0.01)
    assert len(opened) == len(closed) > 0


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_half_a_frame_is_never_taken_up(
    after: bool, undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a stored frame is ten arrays: an error between two of them leaves some with it and some without
    for at in (17, 31, 58, 76):
        out = tmp_path / str(at)
        with monkeypatch.context() as patch:
            patch.setattr(ArrayWriter, "append", failing(ArrayWriter.append, at, StopError(), after))
            with pytest.raises(StopError):
                run(out)
        assert run(out).digest == undisturbed


@pytest.mark.usefixtures("small_pieces")
def test_any_write_may_fail_and_the_rollout_goes_on_when_repeated(
    undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 0
    for at in count(1, 97):
        out = tmp_path / str(at)
        full = failing(array_writer.write_bytes, at, OSError(errno.ENOSPC, "No space left on device"), False)
        with monkeypatch.context() as patch:
            for module in (array_writer, store_builder, bundles, disk, writer):
                patch.setattr(module, "write_bytes", full)
            try:
                run(out)
                break
            except StoreError:
                number += 1
        dataset = run(out)
        dataset.verify()
        assert dataset.digest == undisturbed
    assert number > 3


def test_a_full_disk_is_said_to_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(tmp_path / "r", 1)
    full = failing(array_writer.write_bytes, 1, OSError(errno.ENOSPC, "No space left on device"), False)
    monkeypatch.setattr(array_writer, "write_bytes", full)
    with pytest.raises(StoreError, match=r"r: the disk is full: .*; what was computed so far is kept, and repeating"):
        run(tmp_path / "r", checkpoint_seconds=100.0)


def interrupt(out: Path, pauses: int, **changes: Any) -> None:
    """Stop a rollout after so many pauses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "_pause", failing(_Rollout._pause, pauses, StopError(), True))
        with pytest.raises(StopError):
            run(out, **changes)


def home(out: Path) -> Path:
    """The folder of the work at a place."""
    (folder,) = (path for path in out.with_name(f".{out.name}.rollout").iterdir() if path.is_dir())
    return folder


def started(out: Path, **changes: Any) -> tuple[Dataset, list[int]]:
    """The finished dataset, and the steps at which rollouts began or went on."""
    steps: list[int] = []

    def counting(self: _Rollout) -> None:
        steps.append(self.step)
        begin(self)

    begin = _Rollout.begin
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "begin", counting)
        return run(out, **changes), steps


def test_what_is_finished_is_not_run_again(undisturbed: str, tmp_path: Path) -> None:
    # three stops each: the first is finished, the second is at its second stop
    interrupt(tmp_path / "r", 5)
    assert [path.stem for path in (home(tmp_path / "r") / "finished").iterdir()] == ["run-0-frame-0"]
    dataset, steps = started(tmp_path / "r")
    assert steps == [8]
    assert dataset.digest == undisturbed


def test_a_rollout_stopped_after_its_last_step_is_taken_up_there(undisturbed: str, tmp_path: Path) -> None:
    interrupt(tmp_path / "r", 3)
    dataset, steps = started(tmp_path / "r")
    assert steps == [11, 0]
    assert dataset.digest == undisturbed


def test_work_that_only_lacked_its_end_is_put_together(
    undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hamfit.rollouts.driver.publish_folder", failing(print, 1, StopError(), False))
        with pytest.raises(StopError):
            run(tmp_path / "r")
    for threads in (1, 2):
        shutil.copytree(tmp_path, tmp_path.with_name(f"copy-{threads}"))
        dataset, steps = started(tmp_path.with_name(f"copy-{threads}") / "r", threads=threads)
        assert steps == []
        assert dataset.digest == undisturbed


@pytest.mark.parametrize("damage", ["truncated", "removed", "altered", "no manifest"])
def test_a_damaged_checkpoint_means_to_begin_that_rollout_anew(damage: str, undisturbed: str, tmp_path: Path) -> None:
    interrupt(tmp_path / "r", 5)
    checkpoint = home(tmp_path / "r") / "checkpoints" / "run-1-frame-0"
    chunk = checkpoint / "q" / "c.0.0"
    if damage == "truncated":
        chunk.write_bytes(chunk.read_bytes()[:-9])
    elif damage == "removed":
        chunk.unlink()
    elif damage == "altered":
        chunk.write_bytes(b"\x01" + chunk.read_bytes()[1:])
    else:
        (checkpoint / "_manifest.json").unlink()
    dataset, steps = started(tmp_path / "r")
    assert steps == [0]
    assert dataset.digest == undisturbed


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("damage", ["truncated", "removed", "altered"])
def test_a_damaged_chunk_before_a_checkpoint_means_to_begin_that_rollout_anew(
    damage: str, undisturbed: str, tmp_path: Path
) -> None:
    # six stops each
    interrupt(tmp_path / "r", 12)
    folder = home(tmp_path / "r") / "store" / "run-1-frame-0" / "particles" / "all" / "position" / "value"
    spoil(folder / "c.0.0.0", damage)
    dataset, steps = started(tmp_path / "r")
    assert steps == [0]
    assert dataset.digest == undisturbed
    dataset.verify()


@pytest.mark.parametrize("damage", ["truncated", "removed"])
def test_a_finished_rollout_whose_files_are_not_whole_is_run_again(
    damage: str, undisturbed: str, tmp_path: Path
) -> None:
    interrupt(tmp_path / "r", 5)
    folder = home(tmp_path / "r") / "store" / "run-0-frame-0" / "particles" / "all" / "velocity" / "value"
    spoil(folder / "c.0.0.0", damage)
    dataset, steps = started(tmp_path / "r")
    assert steps == [0, 8]
    assert dataset.digest == undisturbed
    dataset.verify()


def test_a_damaged_note_of_a_finished_rollout_means_to_run_it_again(undisturbed: str, tmp_path: Path) -> None:
    interrupt(tmp_path / "r", 5)
    (home(tmp_path / "r") / "finished" / "run-0-frame-0.json").write_text('{"summary": ')
    dataset, steps = started(tmp_path / "r")
    assert steps == [0, 8]
    assert dataset.digest == undisturbed


def spoil(chunk: Path, damage: str) -> None:
    if damage == "removed":
        chunk.unlink()
    elif damage == "truncated":
        chunk.write_bytes(chunk.read_bytes()[:-9])
    else:
        chunk.write_bytes(b"\x01" + chunk.read_bytes()[1:])


@pytest.mark.usefixtures("small_pieces")
def test_a_checkpoint_older_than_the_chunks_beside_it_is_good(undisturbed: str, tmp_path: Path) -> None:
    out = tmp_path / "r"
    interrupt(out, 2)
    checkpoint = home(out) / "checkpoints" / "run-0-frame-0"
    shutil.copytree(checkpoint, tmp_path / "old")
    interrupt(out, 3)
    assert bundles.read_bundle(checkpoint, "checkpoint", 1)[0]["step"] > 4
    shutil.rmtree(checkpoint)
    (tmp_path / "old").rename(checkpoint)
    dataset, steps = started(out)
    assert steps[0] == 4
    assert dataset.digest == undisturbed
    dataset.verify()


@pytest.mark.parametrize("make", [scenes.fast, scenes.crowd, scenes.liquid], ids=lambda make: make.__name__)
def test_momenta_boxes_and_bonds_are_taken_up_too(make: Callable[[], Scene], tmp_path: Path) -> None:
    scene = make()
    how = {**HOW, "dt": scene.dt, "forces": True}
    whole = rollout(scene.model, scene.initial, out=tmp_path / "a", **how).dataset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "_pause", failing(_Rollout._pause, 2, StopError(), True))
        with pytest.raises(StopError):
            rollout(scene.model, scene.initial, out=tmp_path / "b", **how)
    result = rollout(scene.model, scene.initial, out=tmp_path / "b", **how)
    assert result.report["resumed"]
    assert result.dataset.digest == whole.digest


def test_what_blew_up_is_taken_up_to_the_same_end(tmp_path: Path) -> None:
    scene = scenes.fragile("chain")
    how = {**HOW, "dt": scene.dt, "steps": 70, "every": 10}
    whole = rollout(scene.model, scene.initial, out=tmp_path / "a", **how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "_pause", failing(_Rollout._pause, 8, StopError(), True))
        with pytest.raises(StopError):
            rollout(scene.model, scene.initial, out=tmp_path / "b", **how)
    again = rollout(scene.model, scene.initial, out=tmp_path / "b", **how)
    assert again.report["first_non_finite"] == whole.report["first_non_finite"]
    assert again.dataset.digest == whole.dataset.digest


def test_the_speed_of_a_resumed_rollout_counts_its_own_steps(tmp_path: Path) -> None:
    interrupt(tmp_path / "r", 5)
    scene = scenes.pair_of_rings()
    events: list[Event] = []
    report = rollout(scene.model, scene.initial, out=tmp_path / "r", progress=events.append, **HOW).report
    # 11 steps were finished, 8 of the second rollout made
    left = 2 * 11 - 11 - 8
    assert report["steps_per_second"] == pytest.approx(left / report["seconds"]["rollout"], rel=0.02)
    assert (events[0].done, events[-1].done, {e.total for e in events}) == (19, 22, {22})
    assert (events[0].rows, events[-1].rows) == (0, left)
    assert events[0].remaining_seconds is None


def test_work_that_only_lacked_its_end_is_told_to_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hamfit.rollouts.driver.publish_folder", failing(print, 1, StopError(), False))
        with pytest.raises(StopError):
            run(tmp_path / "r")
    events: list[Event] = []
    run(tmp_path / "r", progress=events.append)
    assert [(event.done, event.total, event.rows) for event in events] == [(22, 22, 0)]


def test_a_checkpoint_that_turns_out_to_be_damaged_does_not_turn_progress_back(tmp_path: Path) -> None:
    interrupt(tmp_path / "r", 5)
    spoil(home(tmp_path / "r") / "checkpoints" / "run-1-frame-0" / "q" / "c.0.0", "removed")
    events: list[Event] = []
    run(tmp_path / "r", progress=events.append)
    done = [event.done for event in events]
    assert (done, done[0], done[-1]) == (sorted(done), 19, 22)


def test_threads_that_are_stopped_keep_what_each_had(undisturbed: str, tmp_path: Path) -> None:
    interrupt(tmp_path / "r", 3, threads=2)
    dataset, steps = started(tmp_path / "r", threads=2)
    assert max(steps) > 0
    assert dataset.digest == undisturbed


def test_a_rollout_that_was_given_up_and_removed_keeps_nothing(tmp_path: Path) -> None:
    out = tmp_path / "r"

    def gone(self: _Rollout, on_step: Callable[[int], None]) -> None:
        shutil.rmtree(self.workspace.home)
        raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Rollout, "_pause", gone)
        with pytest.raises(StopError):
            run(out)
    assert [path.name for path in out.with_name(".r.rollout").iterdir()] == ["plan.json"]
