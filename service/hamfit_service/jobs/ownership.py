"""One service for a root and for its database: two would run the same jobs twice and publish over each other.

The root is held by flock on ROOT/service.lock: the kernel lets go of it when the service ends, however it ends. In
Postgres an advisory lock does the same for services that run on different machines with copies of one root. Root and
database carry the same id, so that neither is ever used with another partner: jobs in the one would have their files
missing in the other.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from hamfit.errors import HamfitError
from hamfit.stores.publish import raise_store_error
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders, write_whole
from hamfit_service.jobs.migrate import upgrade
from hamfit_service.jobs.tables import JobRow, NoteRow

PREDECESSOR_SECONDS = 15.0
"""How long an earlier service may take to end; above its grace for running jobs."""

_LOOK_SECONDS = 0.1
_NOTE = "root-id"
_OWNER_LOCK = 0x68616D6F776E


class RootInUse(HamfitError):
    """Another service works in the root or on the database."""


class WrongPartner(HamfitError):
    """Root and database were not used together before."""


@contextmanager
def claim_root(folders: Folders, database: Database) -> Iterator[None]:
    """Hold the root and the database, with tables made and up to date, until the end of the block.

    Raises:
        RootInUse: another service works there and does not end.
        WrongPartner: the root belongs to another database, or the database to another root.
        DiskError: the root cannot be written.
        DatabaseAway: the database does not answer.

    """
    descriptor = _hold_root(folders)
    try:
        upgrade(database)
        with _held_database(database):
            _check_partner(folders, database)
            yield
    finally:
        os.close(descriptor)


def _hold_root(folders: Folders) -> int:
    try:
        folders.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folders.lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise_store_error(error, folders.root)
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                pid = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise RootInUse(
                    f"another service (process {pid}) works in {folders.root}; stop it, or give another root"
                ) from None
            time.sleep(_LOOK_SECONDS)
        except OSError as error:
            os.close(descriptor)
            raise_store_error(error, folders.lock)
    with suppress(OSError):
        # only for people; a full disk is no reason to refuse
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


@contextmanager
def _held_database(database: Database) -> Iterator[None]:
    """Hold Postgres's lock on a connection of its own. SQLite lies in the root, or is held by its id there."""
    if database.is_sqlite:
        yield
        return
    # a reading session would stay in its transaction and keep the database from tidying up
    connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    try:
        _take_turn(connection)
        yield
    finally:
        # a database that went away has let go of the lock by itself
        with suppress(DBAPIError):
            connection.invalidate()
        connection.close()


def _take_turn(connection: Connection) -> None:
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _OWNER_LOCK}):
        if time.monotonic() > deadline:
            raise RootInUse(
                "another service works on this database, perhaps on another machine; stop it, or give another"
                " database_url"
            )
        time.sleep(_LOOK_SECONDS)


def _check_partner(folders: Folders, database: Database) -> None:
    path = folders.root / "root-id"
    of_root = _read(path)
    with database.writing() as session:
        note = session.get(NoteRow, _NOTE)
        of_database = None if note is None else note.value
        if of_root == of_database and of_root is not None:
            return
        # partners that have nothing to lose may be joined: new ones, or a start that was cut short between both ids
        used_root = any((folders.root / name).is_dir() for name in ("jobs", "models"))
        used_database = session.scalar(select(JobRow.id).limit(1)) is not None
        if used_root and of_root != of_database:
            raise WrongPartner(
                f"the root {folders.root} holds files of another database than the one given; give the database_url"
                " that it was used with, or another root"
            )
        if used_database:
            raise WrongPartner(
                f"the database holds jobs of another root than {folders.root}; give that root, or another database_url"
            )
        root_id = of_root or of_database or secrets.token_hex(16)
        if note is None:
            session.add(NoteRow(name=_NOTE, value=root_id))
        else:
            note.value = root_id
    if of_root != root_id:
        write_whole(path, f"{root_id}\n".encode())


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise_store_error(error, path)
