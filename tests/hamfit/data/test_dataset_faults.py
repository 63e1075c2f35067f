from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_cases import trajectory, write_dataset

from hamfit.data import Dataset, DatasetWriter, writer
from hamfit.errors import DataError, StoreError
from hamfit.stores import array_writer, store_builder
from hamfit.stores.publish import is_being_written, publishing

BAD_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "nan position": ({"q": np.full((7, 5, 3), np.nan)}, r"d.zarr/run-0: position is nan at index \(0, 0, 0\)"),
    "infinite force": ({"force": np.full((7, 5, 3), np.inf)}, "force is inf"),
    "nan energy": (
        {"potential_energy": np.array([0, 1, np.nan, 0, 0, 0, 0])},
        r"potential_energy is nan at index \(2,\)",
    ),
    "zero mass": ({"masses": [1, 1, 0.0, 1, 1]}, "mass of particle 2 is 0.0"),
    "negative mass": ({"masses": -1.0}, "give each particle a positive mass"),
    "nan mass": ({"masses": [1, np.nan, 1, 1, 1]}, "mass is nan"),
    "too few masses": ({"masses": [1.0, 2.0]}, r"mass has shape \(2,\), needed is \(5,\)"),
    "too many species": ({"species": [0] * 6}, "mass has shape"),
    "unnamed species": ({"species": [0, 1, 2, 0, 0]}, r"species 2 has no name \(labels are A, B\)"),
    "species of floats": ({"species": np.zeros(5)}, "species holds float64 numbers"),
    "short velocities": ({"velocity": np.zeros((7, 4, 3))}, "velocity has shape"),
    "flat q": ({"q": np.zeros((7, 5))}, "q has shape"),
    "four dimensions": ({"q": np.zeros((7, 5, 4))}, "has 4 dimensions"),
    "words": ({"force": [["a"]]}, "force is not numeric"),
    "no frames": (
        {"q": np.zeros((0, 5, 3)), "velocity": None, "force": None, "potential_energy": None, "time": None},
        "no frames",
    ),
    "periodic without a box": ({"box": None}, "periodic, but without a box"),
    "flat box": ({"box": np.diag([1.0, 1.0, 0.0])}, "the box has no volume"),
    "two periodic flags": ({"periodic": (True, True)}, "periodic has 2 entries for 3 dimensions"),
    "time going back": ({"time": [0, 1, 2, 1, 4, 5, 6]}, r"time does not increase \(2.0 is followed by 1.0\)"),
    "same step twice": ({"step": [0, 1, 2, 2, 3, 4, 5]}, "step does not increase"),
    "bond to nobody": ({"bonds": [[0, 5]]}, r"bonds name particles outside 0\.\.4"),
    "unnamed bond type": ({"bonds": [[0, 1]], "bond_types": [2]}, "bond type 2 has no name"),
}


def nothing_is_left(folder: Path) -> bool:
    return list(folder.iterdir()) == []


@pytest.mark.parametrize("case", BAD_FIELDS)
def test_bad_data_is_refused_in_one_sentence_and_nothing_is_left(tmp_path: Path, case: str) -> None:
    changes, message = BAD_FIELDS[case]
    with pytest.raises(DataError, match=message) as caught:
        write_dataset(tmp_path / "d.zarr", trajectory(1, **changes))
    assert "\n" not in str(caught.value)
    assert nothing_is_left(tmp_path)


def test_fields_given_for_some_blocks_only_are_refused(tmp_path: Path) -> None:
    q = np.zeros((2, 1, 1))

    def write() -> None:
        with DatasetWriter.create(tmp_path / "d.zarr", units="lj", labels=["A"]) as w:
            run = w.open_trajectory("a", dim=1, species=[0], masses=1.0)
            run.append(q=q)
            run.append(q=q, velocity=q)

    with pytest.raises(DataError, match="velocity is given for some frames only"):
        write()
    assert nothing_is_left(tmp_path)


def test_names_and_dimensions_are_checked_across_trajectories(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot name a folder"):
        write_dataset_named(tmp_path / "a.zarr", "../up")
    with pytest.raises(DataError, match="name is taken"):
        write_dataset_named(tmp_path / "a.zarr", "x", "x")
    with pytest.raises(DataError, match="has 2 dimensions, needed are 3"):
        write_dataset(tmp_path / "a.zarr", trajectory(1), trajectory(2, d=2))
    with pytest.raises(DataError, match="no trajectory"):
        write_dataset(tmp_path / "a.zarr")
    with pytest.raises(DataError, match="name a species twice"):
        write_dataset(tmp_path / "a.zarr", labels=("A", "A"))
    assert nothing_is_left(tmp_path)


def write_dataset_named(path: Path, *names: str) -> None:
    with DatasetWriter.create(path, units="lj", labels=["A", "B"]) as w:
        for name in names:
            w.add_trajectory(name, **trajectory(1))


def test_an_exception_of_the_caller_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with DatasetWriter.create(tmp_path / "d.zarr", units="lj", labels=["A", "B"]) as w:
            w.add_trajectory("a", **trajectory(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert nothing_is_left(tmp_path)


def count_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int) -> int:
    """Write a dataset whose write number `fail_at` meets a full disk; returns how many writes were tried."""
    tried = 0
    original = array_writer.write_bytes

    def failing(path: Path, *parts: bytes) -> None:
        nonlocal tried
        tried += 1
        if tried == fail_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, *parts)

    for module in (array_writer, store_builder, writer):
        monkeypatch.setattr(module, "write_bytes", failing)
    write_dataset(tmp_path / "d.zarr", trajectory(1))
    return tried


def test_a_disk_that_fills_at_any_write_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = count_writes(tmp_path / "whole", monkeypatch, fail_at=0)
    monkeypatch.undo()
    assert total > 30
    (tmp_path / "full").mkdir()
    for fail_at in range(1, total + 1):
        with pytest.raises(StoreError, match="the disk is full"):
            count_writes(tmp_path / "full", monkeypatch, fail_at=fail_at)
        monkeypatch.undo()
        assert nothing_is_left(tmp_path / "full")


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_dataset(tmp_path / "file" / "d.zarr", trajectory(1))


def test_an_existing_store_is_replaced_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    old = write_dataset(path, trajectory(1)).digest
    with pytest.raises(StoreError, match="something is there already"):
        write_dataset(path, trajectory(2))
    with pytest.raises(DataError):
        write_dataset(path, trajectory(2, masses=-1.0), overwrite=True)
    assert Dataset.open(path).digest == old
    assert write_dataset(path, trajectory(2), overwrite=True).digest != old
    assert [entry.name for entry in tmp_path.iterdir()] == ["d.zarr"]


def test_overwriting_never_removes_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "d.zarr").mkdir()
    (tmp_path / "d.zarr" / "thesis.tex").write_text("all of it")
    with pytest.raises(StoreError, match="will not be overwritten"):
        write_dataset(tmp_path / "d.zarr", trajectory(1), overwrite=True)
    assert (tmp_path / "d.zarr" / "thesis.tex").read_text() == "all of it"


def test_a_second_writer_of_the_same_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    with DatasetWriter.create(path, units="lj", labels=["A", "B"]) as w:
        assert is_being_written(path)
        with pytest.raises(StoreError, match=f"being written by process {os.getpid()}"):
            write_dataset(path, trajectory(2))
        with pytest.raises(StoreError, match="still being written"):
            Dataset.open(path)
        w.add_trajectory("a", **trajectory(1))
    assert not is_being_written(path)
    Dataset.open(path).verify()


def _die_while_writing(path: str) -> None:
    with DatasetWriter.create(path, units="lj", labels=["A", "B"]) as w:
        w.add_trajectory("a", **trajectory(1))
        os._exit(9)


def test_a_killed_writer_leaves_no_lock_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    process = multiprocessing.get_context("spawn").Process(target=_die_while_writing, args=(str(path),))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert not path.exists()
    with pytest.raises(StoreError, match="does not exist"):
        Dataset.open(path)
    write_dataset(path, trajectory(1)).verify()
    assert [entry.name for entry in tmp_path.iterdir()] == ["d.zarr"]


def test_a_writer_killed_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    old = write_dataset(path, trajectory(1)).digest
    path.rename(tmp_path / ".d.zarr.replaced")
    with pytest.raises(StoreError, match="something is there already"), publishing(path):
        pass
    assert Dataset.open(path).digest == old


def test_any_missing_chunk_of_any_array_is_found_at_opening(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", trajectory(1, bonds=[[0, 1]]))
    chunks = sorted((tmp_path / "d.zarr").rglob("c.*"))
    assert len(chunks) > 15
    for chunk in chunks:
        raw = chunk.read_bytes()
        chunk.unlink()
        with pytest.raises(StoreError, match="is missing: the store is damaged"):
            Dataset.open(tmp_path / "d.zarr")
        chunk.write_bytes(raw[:-1])
        with pytest.raises(StoreError, match="the store is damaged"):
            Dataset.open(tmp_path / "d.zarr")
        chunk.write_bytes(raw)
    Dataset.open(tmp_path / "d.zarr").verify()


def test_a_flipped_bit_is_found_at_reading(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d.zarr", trajectory(1))
    (chunk,) = (tmp_path / "d.zarr" / "run-0/particles/all/force/value").glob("c.*")
    raw = bytearray(chunk.read_bytes())
    raw[17] ^= 4
    chunk.write_bytes(raw)
    dataset = Dataset.open(dataset.path)
    with pytest.raises(StoreError, match="does not match its checksum"):
        dataset.trajectories[0].frames()
    with pytest.raises(StoreError, match="checksum"):
        dataset.verify()


def test_a_store_changed_by_another_program_is_found_at_reading(tmp_path: Path) -> None:
    import zarr

    dataset = write_dataset(tmp_path / "d.zarr", trajectory(1))
    zarr.open_group(dataset.path, mode="r+")["run-0/particles/all/force/value"][0, 0, 0] = 1.0
    with pytest.raises(StoreError, match="checksum"):
        Dataset.open(dataset.path).trajectories[0].frames()


def test_what_is_no_dataset_is_refused_by_name(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "d.zarr", trajectory(1)).path
    raw = (path / "_manifest.json").read_bytes()
    cases: list[tuple[bytes, str]] = [
        (raw[: len(raw) // 2], "_manifest.json is damaged"),
        (b"", "_manifest.json is damaged"),
        (b"[1]", "_manifest.json is damaged"),
        (raw.replace(b'"n_frames":7', b'"n_frames":6'), "_manifest.json is damaged"),
        (b'{"format": "hamfit-model"}', "holds 'hamfit-model', not a hamfit dataset"),
        (b'{"format": "hamfit-dataset", "schema_version": 2}', "knows up to 1: upgrade hamfit"),
    ]
    for text, message in cases:
        (path / "_manifest.json").write_bytes(text)
        with pytest.raises(StoreError, match=message):
            Dataset.open(path)
    (path / "_manifest.json").unlink()
    with pytest.raises(StoreError, match="incomplete Zarr store"):
        Dataset.open(path)
    (path / "_manifest.json").write_bytes(raw)
    (path / "zarr.json").unlink()
    with pytest.raises(StoreError, match=r"zarr\.json is missing"):
        Dataset.open(path)
    shutil.rmtree(path)
    path.mkdir()
    with pytest.raises(StoreError, match="folder without a Zarr store"):
        Dataset.open(path)
    with pytest.raises(StoreError, match="does not exist"):
        Dataset.open(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="is a file"):
        Dataset.open(__file__)


def test_verify_finds_damaged_metadata(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d.zarr", trajectory(1))
    (dataset.path / "run-0/particles/all/mass/zarr.json").write_text("{")
    with pytest.raises(StoreError, match=r"mass/zarr\.json cannot be read"):
        dataset.verify()


def test_a_quantity_that_frames_do_not_have_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="frames have no 'velocities': give velocity, force, momentum"):
        write_dataset(tmp_path / "d.zarr", trajectory(1, velocities=np.zeros((7, 5, 3))))
    assert nothing_is_left(tmp_path)
