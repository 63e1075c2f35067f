"""Workspaces: found again by their fingerprint, never made by what is written into them, gone when removed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from hamfit.bundles import read_bundle, write_bundle
from hamfit.errors import DiskError, StoreError
from hamfit.stores.store_builder import StoreBuilder
from hamfit.stores.workspaces import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "m", "fit")


def test_the_same_work_goes_on_where_it_was(place: Place) -> None:
    assert place.left() is None
    home, found = place.claim("plan", resume=True, folders=("states", "more"))
    assert not found
    assert sorted(os.listdir(home)) == ["more", "states"]
    assert place.left() == ("plan", home)
    assert place.claim("plan", resume=True, folders=("states",)) == (home, True)


def test_other_work_begins_in_a_folder_of_its_own_and_what_was_there_is_gone(place: Place) -> None:
    old, _ = place.claim("plan", resume=True)
    for fingerprint, resume, folders in (("other", True, ()), ("other", False, ()), ("other", True, ("states",))):
        new, found = place.claim(fingerprint, resume=resume, folders=folders)
        assert not found
        assert new != old
        assert not old.exists()
        old = new
    assert os.listdir(place.out.parent) == [".m.fit"]


def test_other_work_may_be_protected(place: Place) -> None:
    home, _ = place.claim("plan", resume=True, may_drop=False)
    with pytest.raises(StoreError, match=r"m: an interrupted fit of another plan is there \(.m.fit\): repeat that"):
        place.claim("other", resume=True, may_drop=False)
    assert home.is_dir()
    assert not place.claim("plan", resume=False, may_drop=False)[1]


def test_one_works_there_at_a_time(place: Place) -> None:
    with place.held():
        with pytest.raises(StoreError, match=f"m: the store is being written by process {os.getpid()}"), place.held():
            pass
        # the result itself is published under another lock
        write_bundle(place.out, "thing", 1, {}, {})
    assert os.listdir(place.out.parent) == ["m"]


def test_what_is_written_into_a_workspace_that_was_removed_does_not_make_it_again(place: Place) -> None:
    home, _ = place.claim("plan", resume=True)
    write_bundle(home / "state", "state", 1, {}, {"a": np.ones(3)}, parents=False)
    place.remove()
    assert os.listdir(place.out.parent) == []
    with pytest.raises(DiskError, match="state: cannot be written"):
        write_bundle(home / "state", "state", 1, {}, {"a": np.ones(3)}, parents=False)
    with pytest.raises(DiskError, match="m: cannot be written"):
        StoreBuilder(home / "store", place.out).add_array("run/a/b", np.ones(3), ("x",))
    assert os.listdir(place.out.parent) == []


def test_a_model_is_still_written_below_folders_that_are_not_there(tmp_path: Path) -> None:
    write_bundle(tmp_path / "new" / "deeper" / "m", "model", 1, {"a": 1}, {})
    assert read_bundle(tmp_path / "new" / "deeper" / "m", "model", 1)[0] == {"a": 1}


def test_a_workspace_is_removed_while_an_orphan_writes_into_it(place: Place) -> None:
    for _ in range(10):
        home, _ = place.claim("plan", resume=True)
        begun = threading.Event()

        def write(home: Path = home, begun: threading.Event = begun) -> None:
            number = 0
            while number < 10_000:
                try:
                    write_bundle(home / f"state-{number}", "state", 1, {}, {"a": np.ones(3)}, parents=False)
                except StoreError:
                    return
                begun.set()
                number += 1

        orphan = threading.Thread(target=write)
        orphan.start()
        assert begun.wait(60)
        place.remove()
        orphan.join()
        assert [name for name in os.listdir(place.out.parent) if not name.endswith(".removed")] == []
    place.remove()
    assert os.listdir(place.out.parent) == []
