"""Locks of writers: one holder at a time, gone with it, and not disturbed by those who look."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from hamfit.errors import StoreError
from hamfit.stores.locks import locked
from hamfit.stores.publish import is_being_written, publishing

SPAWN = multiprocessing.get_context("spawn")

HOLDER = """
import sys, time
from hamfit.stores.publish import publishing
with publishing(sys.argv[1]):
    print("writing", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def write(path: Path) -> None:
    with publishing(path, overwrite=True) as folder:
        (folder / "zarr.json").write_text("{}")


def look_without_end(path: Path, ready: Event, end: Event) -> None:
    ready.set()
    while not end.is_set():
        is_being_written(path)


def test_no_writer_is_refused_because_others_look_whether_somebody_writes(tmp_path: Path) -> None:
    path, end = tmp_path / "store", SPAWN.Event()
    readies = [SPAWN.Event() for _ in range(2)]
    lookers = [SPAWN.Process(target=look_without_end, args=(path, ready, end)) for ready in readies]
    for looker in lookers:
        looker.start()
    try:
        assert all(ready.wait(60) for ready in readies)
        refused = 0
        for _ in range(1000):
            try:
                write(path)
            except StoreError:
                refused += 1
    finally:
        end.set()
        for looker in lookers:
            looker.join()
    assert refused == 0


def seen_writing(path: Path) -> int:
    return sum(is_being_written(path) for _ in range(20_000))


def test_nobody_is_taken_for_a_writer_who_only_looks(tmp_path: Path) -> None:
    # as a writer that was killed leaves it
    (tmp_path / ".store.lock").touch()
    with ProcessPoolExecutor(2, mp_context=SPAWN) as lookers:
        assert list(lookers.map(seen_writing, [tmp_path / "store"] * 2)) == [0, 0]


def test_a_writer_is_seen_and_keeps_others_out_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with another_writer(path) as process:
        assert is_being_written(path)
        with pytest.raises(StoreError, match=f"is being written by process {process.pid} on .*: wait for it"):
            write(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # no lock outlives its holder, whatever became of the file
        assert (tmp_path / ".store.lock").exists()
        assert not is_being_written(path)
        write(path)
    assert os.listdir(tmp_path) == ["store"]


def test_threads_of_one_process_keep_each_other_out(tmp_path: Path) -> None:
    path = tmp_path / "store"
    begun, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with publishing(path) as folder:
            (folder / "zarr.json").write_text("{}")
            begun.set()
            assert ended.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert begun.wait(60)
    assert is_being_written(path)
    for _ in range(2):
        # closing another file of the same name in this process does not let go of the lock either
        with pytest.raises(StoreError, match="is being written"):
            write(path)
    ended.set()
    holder.join()
    assert not is_being_written(path)
    write(path)


def test_a_writer_is_seen_by_one_who_may_only_read(tmp_path: Path) -> None:
    with another_writer(tmp_path / "store"):
        (tmp_path / ".store.lock").chmod(0o444)
        assert is_being_written(tmp_path / "store")


def test_a_lock_whose_file_cannot_be_removed_is_let_go_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what ended the writing is told, not what became of the file."""

    def refuse(path: object) -> None:
        raise PermissionError("the folder is read-only")

    lock = tmp_path / "lock"
    def write_in_vain() -> None:
        with locked(tmp_path / "store", lock):
            raise KeyError("of the writer")

    with monkeypatch.context() as patch:
        patch.setattr("hamfit.stores.locks.os.unlink", refuse)
        with pytest.raises(KeyError, match="of the writer"):
            write_in_vain()
    assert lock.exists()
    with locked(tmp_path / "store", lock):
        pass
    assert not lock.exists()
