from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import zarr

from hamfit import bundles
from hamfit.bundles import kind_of, nested, read_bundle, within, write_bundle
from hamfit.errors import StoreError
from hamfit.stores import array_writer, store_builder
from hamfit.stores.replacing import MANIFEST

ATTRS = {"name": "first", "numbers": [1, 2.5, None], "nested": {"key": True}}
ARRAYS = {
    "plain": np.arange(7.0),
    "group/matrix": np.random.default_rng(0).normal(size=(5, 3)),
    "group/deeper/integers": np.array([[1, -2], [3, 4]]),
    "empty": np.empty((0, 3)),
    "special": np.array([np.nan, np.inf, -0.0, 5e-324]),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "here.bundle"
    write_bundle(place, "thing", 2, ATTRS, ARRAYS)
    return place


def chunk_of(path: Path, name: str) -> Path:
    """The one file that holds the numbers of an array."""
    files = [f for f in (path / name).rglob("*") if f.is_file() and f.name != "zarr.json"]
    assert len(files) == 1
    return files[0]


def test_attributes_and_arrays_come_back_bit_for_bit(path: Path) -> None:
    attrs, arrays = read_bundle(path, "thing", 2)
    assert attrs == ATTRS
    assert sorted(arrays) == sorted(ARRAYS)
    for name, value in ARRAYS.items():
        assert arrays[name].dtype == value.dtype
        assert arrays[name].shape == value.shape
        assert arrays[name].tobytes() == value.tobytes()


def test_writing_leaves_one_entry_and_nothing_temporary(path: Path) -> None:
    assert [entry.name for entry in path.parent.iterdir()] == ["here.bundle"]


def test_a_bundle_replaces_the_one_before(path: Path) -> None:
    write_bundle(path, "thing", 2, {"name": "second"}, {"other": np.ones(2)})
    attrs, arrays = read_bundle(path, "thing", 2)
    assert attrs == {"name": "second"}
    assert list(arrays) == ["other"]
    assert [entry.name for entry in path.parent.iterdir()] == ["here.bundle"]


def test_an_older_schema_is_read(path: Path) -> None:
    assert read_bundle(path, "thing", 5)[0] == ATTRS


def test_a_newer_schema_is_refused_with_the_remedy(path: Path) -> None:
    with pytest.raises(StoreError, match="schema 2, newer than the 1 this version reads: update hamfit"):
        read_bundle(path, "thing", 1)


def test_the_kind_of_a_bundle_is_known_whatever_its_version(path: Path, tmp_path: Path) -> None:
    assert kind_of(path) == "thing"
    (tmp_path / "empty").mkdir()
    assert [kind_of(tmp_path / name) for name in ("empty", "nowhere")] == [None, None]
    for content in ("", "[]", "{}"):
        (path / MANIFEST).write_text(content)
        assert kind_of(path) is None


def test_a_bundle_of_another_kind_is_refused(path: Path) -> None:
    with pytest.raises(StoreError, match="holds a thing where a model is needed"):
        read_bundle(path, "model", 2)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere does not exist: check the path"):
        read_bundle(tmp_path / "nowhere", "thing", 2)


def test_a_directory_or_file_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("not a store")
    for name in ("directory", "file"):
        with pytest.raises(StoreError, match="is not a complete thing"):
            read_bundle(tmp_path / name, "thing", 2)


@pytest.mark.parametrize(
    "content", ["", "{", '{"kind": "thing"', "[]", '{"kind": "thing"}', '{"kind": 1, "schema": "x"}']
)
def test_a_truncated_or_senseless_manifest_is_refused(path: Path, content: str) -> None:
    (path / MANIFEST).write_text(content)
    with pytest.raises(StoreError, match=r"is not a complete thing: its _manifest\.json is missing or damaged"):
        read_bundle(path, "thing", 2)


def test_a_manifest_that_lists_no_arrays_is_refused(path: Path) -> None:
    (path / MANIFEST).write_text(json.dumps({"kind": "thing", "schema": 2}))
    with pytest.raises(StoreError, match=r"damaged; write it again"):
        read_bundle(path, "thing", 2)


def test_one_flipped_bit_is_found(path: Path) -> None:
    chunk = chunk_of(path, "group/matrix")
    content = bytearray(chunk.read_bytes())
    content[11] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(StoreError, match=r"chunk group/matrix/c\.0\.0 does not match its checksum"):
        read_bundle(path, "thing", 2)


def test_a_missing_chunk_never_reads_as_fill_values(path: Path) -> None:
    chunk_of(path, "plain").unlink()
    with pytest.raises(StoreError, match=r"chunk plain/c\.0 .*: the store is damaged"):
        read_bundle(path, "thing", 2)


def test_a_truncated_chunk_is_refused(path: Path) -> None:
    chunk = chunk_of(path, "plain")
    chunk.write_bytes(chunk.read_bytes()[:-3])
    with pytest.raises(StoreError, match="write it again"):
        read_bundle(path, "thing", 2)


def test_a_missing_array_is_refused(path: Path) -> None:
    shutil.rmtree(path / "group")
    with pytest.raises(StoreError, match="write it again"):
        read_bundle(path, "thing", 2)


@pytest.mark.parametrize("content", ["{", "[]", '{"zarr_format": 3}'])
def test_damaged_attributes_are_refused(path: Path, content: str) -> None:
    (path / "zarr.json").write_text(content)
    with pytest.raises(StoreError, match=r"cannot be read .* damaged; write it again"):
        read_bundle(path, "thing", 2)


def test_any_zarr_reader_opens_a_bundle(path: Path) -> None:
    group = zarr.open_group(path, mode="r")
    assert group.attrs["name"] == "first"
    stored = group["group/matrix"]
    assert isinstance(stored, zarr.Array)
    assert np.asarray(stored[...]).tobytes() == ARRAYS["group/matrix"].tobytes()


@pytest.mark.parametrize("stage", [array_writer, store_builder, bundles], ids=["chunks", "metadata", "manifest"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "input/output error"), KeyboardInterrupt()])
def test_a_failure_at_any_stage_leaves_the_old_bundle_and_nothing_else(
    path: Path, stage: ModuleType, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(stage, "write_bytes", fail)
    with pytest.raises(StoreError if isinstance(error, OSError) else KeyboardInterrupt):
        write_bundle(path, "thing", 2, {}, {"other": np.ones(3)})
    monkeypatch.undo()
    assert [entry.name for entry in path.parent.iterdir()] == ["here.bundle"]
    assert read_bundle(path, "thing", 2)[0] == ATTRS


def test_a_full_disk_is_called_by_its_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(array_writer, "write_bytes", no_space)
    with pytest.raises(StoreError, match="the disk is full: free space or choose another place"):
        write_bundle(path, "thing", 2, {}, {"other": np.ones(3)})


def test_a_place_below_a_file_cannot_be_written_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"bundle: cannot be written .*: choose another place"):
        write_bundle(tmp_path / "file" / "bundle", "thing", 1, {}, {})


def test_names_nest_and_come_back() -> None:
    arrays = nested("a/b", {"x": np.ones(1), "y/z": np.zeros(1)})
    assert sorted(arrays) == ["a/b/x", "a/b/y/z"]
    assert sorted(within("a/b", arrays | {"a/bc": np.ones(1)})) == ["x", "y/z"]
