from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from hamfit.errors import StoreError
from hamfit.stores import zarr_array
from hamfit.stores.array_writer import ArrayWriter
from hamfit.stores.zarr_array import ArrayEntry, StoredArray, chunk_shape


def write(
    root: Path, values: np.ndarray, cuts: list[int], monkeypatch: pytest.MonkeyPatch | None = None
) -> StoredArray:
    """Append `values` in pieces cut at `cuts` and write the metadata."""
    (root / "a").mkdir(parents=True)
    axes = tuple("tijk"[: values.ndim])
    writer = ArrayWriter(root / "a", "a", axes, values.shape[1:], str(values.dtype))
    for start, stop in zip([0, *cuts], [*cuts, len(values)], strict=True):
        writer.append(values[start:stop])
    entry, document = writer.close()
    (root / "a" / "zarr.json").write_text(json.dumps(document))
    return StoredArray(root, entry)


@given(
    n_rows=st.integers(1, 40),
    row_shape=st.lists(st.integers(1, 7), max_size=2).map(tuple),
    target=st.integers(8, 400),
    data=st.data(),
)
def test_any_partition_into_blocks_and_chunks_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    n_rows: int,
    row_shape: tuple[int, ...],
    target: int,
    data: st.DataObject,
) -> None:
    values = np.random.default_rng(0).normal(size=(n_rows, *row_shape))
    cuts = sorted(data.draw(st.lists(st.integers(0, n_rows), max_size=4)))
    start = data.draw(st.integers(0, n_rows))
    stop = data.draw(st.integers(start, n_rows))
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_array, "TARGET_CHUNK_BYTES", target)
        stored = write(root, values, cuts)
    stored.check_files()
    assert np.array_equal(stored.read(), values)
    assert np.array_equal(stored.read(start, stop), values[start:stop])
    assert stored.digest() == stored.entry.sha256
    assert np.array_equal(zarr.open_array(root / "a", mode="r")[...], values)


@given(n=st.lists(st.integers(0, 10**7), min_size=1, max_size=3).map(tuple))
def test_chunks_stay_below_the_target_and_are_as_large_as_allowed(n: tuple[int, ...]) -> None:
    chunks = chunk_shape(n)
    assert all(1 <= c <= max(1, k) for c, k in zip(chunks, n, strict=True))
    assert math.prod(chunks) * 8 <= zarr_array.TARGET_CHUNK_BYTES
    if len(n) == 1 and 8 * n[0] > zarr_array.TARGET_CHUNK_BYTES:
        assert 8 * chunks[0] == zarr_array.TARGET_CHUNK_BYTES


def test_integers_keep_their_type_and_values(tmp_path: Path) -> None:
    values = np.array([2**62, -3, 0, 7], dtype=np.int64)
    stored = write(tmp_path, values, [1])
    assert stored.read().dtype == np.int64
    assert np.array_equal(stored.read(), values)
    assert zarr.open_array(tmp_path / "a", mode="r").dtype == np.int64


def test_the_digest_does_not_depend_on_the_blocks(tmp_path: Path) -> None:
    values = np.arange(30.0).reshape(10, 3)
    one = write(tmp_path / "one", values, [])
    two = write(tmp_path / "two", values, [1, 4, 9])
    assert one.entry.sha256 == two.entry.sha256


def test_what_is_read_may_be_changed_without_changing_the_next_read(tmp_path: Path) -> None:
    stored = write(tmp_path, np.arange(30.0).reshape(10, 3), [])
    stored.read(2, 4)[...] = -1.0
    assert np.array_equal(stored.read(2, 4), np.arange(30.0).reshape(10, 3)[2:4])


def test_the_writer_may_reuse_its_buffer(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    writer = ArrayWriter(tmp_path / "a", "a", ("t",), ())
    buffer = np.ones(3)
    writer.append(buffer)
    buffer[:] = 2.0
    writer.append(buffer)
    entry, _ = writer.close()
    assert StoredArray(tmp_path, entry).read().tolist() == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("damage", ["missing", "short", "flipped", "swapped"])
def test_a_damaged_chunk_is_an_error_that_names_it(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zarr_array, "TARGET_CHUNK_BYTES", 48)
    stored = write(tmp_path, np.arange(12.0), [])
    assert len(stored.entry.crc32c) == 2
    chunk = tmp_path / "a" / "c.1"
    raw = chunk.read_bytes()
    if damage == "missing":
        chunk.unlink()
    elif damage == "short":
        chunk.write_bytes(raw[:-5])
    elif damage == "flipped":
        chunk.write_bytes(bytes([raw[0] ^ 1]) + raw[1:])
    else:  # another chunk of the same array, whole in itself
        chunk.write_bytes((tmp_path / "a" / "c.0").read_bytes())
    assert stored.read(0, 6).tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(StoreError, match=r"chunk a/c\.1 .*damaged"):
        stored.read()
    if damage in ("missing", "short"):
        with pytest.raises(StoreError, match=r"chunk a/c\.1"):
            stored.check_files()


def test_an_entry_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    entry = ArrayEntry("a", (10,), (5,), "float64", "", ("00000000",))
    with pytest.raises(StoreError, match="inconsistent about a"):
        StoredArray(tmp_path, entry).check_files()


# -------------------------------------------------------------------------------------------- interrupted writing


def writer_in(root: Path, values: np.ndarray) -> ArrayWriter:
    (root / "a").mkdir(parents=True, exist_ok=True)
    return ArrayWriter(root / "a", "a", tuple("tijk"[: values.ndim]), values.shape[1:], str(values.dtype))


@given(
    n_rows=st.integers(1, 40),
    row_shape=st.lists(st.integers(1, 7), max_size=2).map(tuple),
    target=st.integers(8, 400),
    whole=st.booleans(),
    data=st.data(),
)
def test_a_writer_taken_up_any_number_of_times_writes_what_one_would(
    tmp_path_factory: pytest.TempPathFactory,
    n_rows: int,
    row_shape: tuple[int, ...],
    target: int,
    whole: bool,
    data: st.DataObject,
) -> None:
    values = np.random.default_rng(0).integers(-99, 99, size=(n_rows, *row_shape))
    values = values if whole else values.astype(np.float64)
    cuts = sorted(data.draw(st.lists(st.integers(0, n_rows), max_size=5)))
    one, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_array, "TARGET_CHUNK_BYTES", target)
        expected = write(one, values, [])
        writer = writer_in(other, values)
        for start, stop in zip([0, *cuts], [*cuts, n_rows], strict=True):
            writer.append(values[start:stop])
            crcs, pending = writer.progress()
            # written after the checkpoint by one that was killed: to be overwritten
            writer.append(values[: n_rows - stop] + 1)
            writer = writer_in(other, values)
            writer.resume(crcs, pending)
        entry, _ = writer.close()
    assert entry == expected.entry
    stored = StoredArray(other, entry)
    assert np.array_equal(stored.read(), values)
    assert stored.digest() == entry.sha256


def test_what_was_asked_for_a_checkpoint_does_not_change_with_the_writer(tmp_path: Path) -> None:
    values = np.arange(12.0).reshape(6, 2)
    writer = writer_in(tmp_path, values)
    writer.append(values[:3])
    crcs, pending = writer.progress()
    writer.append(values[3:])
    assert crcs == []
    assert np.array_equal(pending, values[:3])


@pytest.mark.parametrize("damage", ["removed", "truncated", "altered"])
def test_a_writer_is_not_taken_up_behind_a_damaged_chunk(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zarr_array, "TARGET_CHUNK_BYTES", 32)
    values = np.arange(14.0).reshape(7, 2)
    writer = writer_in(tmp_path, values)
    writer.append(values)
    crcs, pending = writer.progress()
    assert (len(crcs), len(pending)) == (3, 1)
    chunk = tmp_path / "a" / "c.1.0"
    raw = chunk.read_bytes()
    if damage == "removed":
        chunk.unlink()
    else:
        chunk.write_bytes(raw[:-1] if damage == "truncated" else bytes([raw[0] ^ 1]) + raw[1:])
    with pytest.raises(StoreError, match=r"chunk a/c.1.0"):
        writer_in(tmp_path, values).resume(crcs, pending)


def test_rows_that_wait_for_their_chunk_are_few_arrays(tmp_path: Path) -> None:
    values = np.arange(1000.0)
    writer = writer_in(tmp_path, values)
    for row in values:
        writer.append(np.array([row]))
        assert len(writer._pending) <= 10
    assert np.array_equal(writer.progress()[1], values)
