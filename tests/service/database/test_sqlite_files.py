"""SQLite as a file: with a write-ahead log, without one, locked, damaged, or where nothing can be written."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from hamfit_service.jobs import database as rooms
from hamfit_service.jobs.database import Database, DatabaseAway, DatabaseDamaged
from hamfit_service.jobs.migrate import upgrade
from hamfit_service.jobs.store import JobStore, Submission

ASKED = Submission("fit", {"data": ["a.zarr"]}, "local")


def opened(path: Path) -> Database:
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    return database


def test_readers_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    database = opened(tmp_path / "a.sqlite")
    assert database.journal == "wal"
    store = JobStore(database)
    job, _ = store.submit(ASKED)
    with database.writing() as session:
        session.execute(text("UPDATE jobs SET owner = 'bob'"))
        began = time.monotonic()
        assert store.get(job.id).owner == "local"
        assert time.monotonic() - began < 1.0
    assert store.get(job.id).owner == "bob"


def test_without_a_write_ahead_log_everything_works_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # what SQLite answers where the file system has no shared memory: the mode stays as it was
    real = sqlite3.connect

    class WithoutLog(sqlite3.Connection):
        def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
            return super().execute("PRAGMA journal_mode" if "journal_mode=WAL" in sql else sql, *parameters)

    monkeypatch.setattr(rooms.sqlite3, "connect", lambda *a, **k: real(*a, **{"factory": WithoutLog, **k}))
    database = opened(tmp_path / "a.sqlite")
    assert database.journal == "delete"
    store = JobStore(database)
    job, _ = store.submit(ASKED)
    writers = [threading.Thread(target=store.submit, args=(ASKED,)) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.get(job.id) == job
    assert len(store.page().jobs) == 9
    assert not (tmp_path / "a.sqlite-wal").exists()


def test_a_lock_that_somebody_keeps_is_told_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "BUSY_SECONDS", 0.3)
    database = opened(tmp_path / "a.sqlite")
    other = sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(DatabaseAway, match="try again in a moment"):
        JobStore(database).submit(ASKED)
    assert time.monotonic() - began < 3.0
    other.execute("ROLLBACK")
    other.close()
    assert JobStore(database).submit(ASKED)


def test_a_wrong_statement_is_a_fault_and_no_pause(tmp_path: Path) -> None:
    database = opened(tmp_path / "a.sqlite")
    with pytest.raises(OperationalError, match="no such table"), database.reading() as connection:
        connection.execute(text("SELECT * FROM nowhere"))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"this is not what it seems to be" * 100)
    with pytest.raises(DatabaseDamaged, match="damaged or no SQLite database"):
        Database(f"sqlite:///{tmp_path / 'a.sqlite'}")


def test_a_damaged_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    database = opened(path)
    store = JobStore(database)
    for _ in range(50):
        store.submit(ASKED)
    database.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(bytes(content))
    with pytest.raises(DatabaseDamaged):
        JobStore(Database(f"sqlite:///{path}")).page()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseAway, match="the folder of the database cannot be made"):
        Database(f"sqlite:///{tmp_path / 'file' / 'a.sqlite'}")
