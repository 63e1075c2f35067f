"""Stores that are replaced while others read them: one or the other is read, never half of each and never nothing."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest

from hamfit.bundles import read_bundle, write_bundle
from hamfit.data import Dataset, DatasetWriter
from hamfit.errors import StoreError
from hamfit.stores import replacing
from hamfit.stores.publish import publishing
from hamfit.stores.zarr_array import StoredArray

SPAWN = multiprocessing.get_context("spawn")
SECONDS = 2.0


def bundle(path: Path, number: int) -> None:
    arrays = {name: np.full(300, float(number)) for name in ("a", "b/c", "b/d")}
    write_bundle(path, "thing", 1, {"number": number}, arrays)


def dataset(path: Path, number: int) -> None:
    with DatasetWriter.create(path, units="lj", labels=["A"], overwrite=True) as writer:
        for name in ("one", "two"):
            q = np.full((2, 40, 3), float(number))
            writer.add_trajectory(name, q=q, velocity=q, force=q, species=[0] * 40, masses=1.0)


WRITERS = {"bundle": bundle, "dataset": dataset}


def replace_without_end(kind: str, path: Path, exchanges: bool, ready: Event, end: Event) -> None:
    if not exchanges:
        # for good: this process does nothing else
        pytest.MonkeyPatch().setattr(replacing, "_exchange", lambda *_: False)
    number = 1
    while not end.is_set():
        WRITERS[kind](path, number)
        ready.set()
        number += 1


@contextmanager
def being_replaced(kind: str, path: Path, exchanges: bool) -> Iterator[None]:
    """Another process writes one store after the other to the same place."""
    WRITERS[kind](path, 0)
    ready, end = SPAWN.Event(), SPAWN.Event()
    writer = SPAWN.Process(target=replace_without_end, args=(kind, path, exchanges, ready, end))
    writer.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        end.set()
        writer.join()
    assert writer.exitcode == 0


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two-renames"])
def test_a_bundle_that_is_replaced_again_and_again_is_read_every_time(tmp_path: Path, exchanges: bool) -> None:
    seen = set()
    with being_replaced("bundle", tmp_path / "b", exchanges):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            attrs, arrays = read_bundle(tmp_path / "b", "thing", 1)
            assert {float(value) for values in arrays.values() for value in values} == {attrs["number"]}
            seen.add(attrs["number"])
    assert len(seen) > 10


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two-renames"])
def test_a_dataset_that_is_replaced_again_and_again_opens_every_time_and_is_never_half_another(
    tmp_path: Path, exchanges: bool
) -> None:
    seen, told = set(), []
    with being_replaced("dataset", tmp_path / "d", exchanges):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            opened = Dataset.open(tmp_path / "d")
            try:
                frames = [t.frame(k) for t in opened.trajectories for k in range(2)]
            except StoreError as error:
                told.append(str(error))
                continue
            numbers = {float(x) for f in frames for x in (*f.q.ravel(), *f.p.ravel(), *f.pdot.ravel())}
            assert len(numbers) == 1
            seen |= numbers
    assert len(seen) > 10
    assert len(told) < len(seen)
    assert set(told) <= {f"{tmp_path / 'd'}: was replaced or removed after it was opened: open it again"}


def test_what_was_opened_before_says_that_it_was_replaced_and_that_is_no_damage(tmp_path: Path) -> None:
    dataset(tmp_path / "d", 1)
    opened = Dataset.open(tmp_path / "d")
    frame, pickled = opened.trajectories[0].frame(1), pickle.dumps((opened, opened.trajectories[1]))
    dataset(tmp_path / "d", 2)
    with pytest.raises(StoreError, match="d: was replaced or removed after it was opened: open it again"):
        opened.trajectories[1].frame(0)
    # a task that was planned with one dataset does not go on with another
    with pytest.raises(StoreError, match="d: was replaced after it was opened: open it again"):
        pickle.loads(pickled)
    dataset(tmp_path / "d", 1)
    again, trajectory = pickle.loads(pickled)
    assert np.array_equal(again.trajectories[0].frame(1).q, frame.q)
    assert trajectory.name == "two"


def test_damage_is_told_at_once_and_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle(tmp_path / "b", 1)
    (tmp_path / "b" / "a" / "c.0").unlink()
    reads = []
    real = StoredArray.read

    def counted(self: StoredArray, *rows: int) -> object:
        reads.append(self.entry.key)
        return real(self, *rows)

    monkeypatch.setattr(StoredArray, "read", counted)
    with pytest.raises(StoreError, match="the store is damaged"):
        read_bundle(tmp_path / "b", "thing", 1)
    assert reads == ["a"]


def test_a_store_and_its_successor_change_places_in_one_step(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert replacing._exchange(tmp_path / "a", tmp_path / "b")
    assert [os.listdir(tmp_path / name) for name in ("a", "b")] == [["b"], ["a"]]
    assert not replacing._exchange(tmp_path / "a", tmp_path / "missing")


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two-renames"])
def test_overwriting_a_link_to_a_store_replaces_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(replacing, "_exchange", lambda *_: False)
    bundle(tmp_path / "real", 1)
    (tmp_path / "link").symlink_to("real")
    for number in (2, 3):
        bundle(tmp_path / "link", number)
        assert read_bundle(tmp_path / "link", "thing", 1)[0] == {"number": number}
    assert read_bundle(tmp_path / "real", "thing", 1)[0] == {"number": 1}
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]


def test_a_store_whose_successor_cannot_take_its_place_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "_exchange", lambda *_: False)
    bundle(tmp_path / "b", 1)

    def lose() -> None:
        with publishing(tmp_path / "b", overwrite=True) as folder:
            folder.rmdir()

    with pytest.raises(StoreError, match="b: cannot be written"):
        lose()
    assert read_bundle(tmp_path / "b", "thing", 1)[0] == {"number": 1}
    assert os.listdir(tmp_path) == ["b"]
