"""One service for a root and for its database: two would run the same jobs twice and publish over each other.

The root is held by flock on ROOT/service.lock: the kernel lets go of it when the service ends, however it ends. In
Postgres an advisory lock does the same for services that run on different machines with copies of one root; see
`turns`. Root and database carry the same id, so that neither is ever used with another partner: jobs in the one would
have their files missing in the other.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import select

from hamfit.errors import HamfitError
from hamfit.stores.disk import raise_store_error
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders, write_whole
from hamfit_service.jobs.migrate import has_older_tables, upgrade
from hamfit_service.jobs.tables import JobRow, NoteRow
from hamfit_service.jobs.turns import RootInUse, end_this_service, held_database

PREDECESSOR_SECONDS = 15.0
"""How long an earlier service may take to end; above its grace for running jobs."""

_LOOK_SECONDS = 0.1
_NOTE = "root-id"

__all__ = ["PREDECESSOR_SECONDS", "RootInUse", "WrongPartner", "claim_root", "make_root"]


class WrongPartner(HamfitError):
    """Root and database were not used together before."""


@contextmanager
def claim_root(folders: Folders, database: Database, on_loss: Callable[[], None] = end_this_service) -> Iterator[None]:
    """Hold the root and the database, with tables made and up to date, until the end of the block.

    Tables are changed only once both are held: a newer version must not change them beside an older one that runs.
    ``on_loss`` is called from a thread when Postgres was started again and another service was quicker to take it.

    Raises:
        RootInUse: another service works there and does not end.
        WrongPartner: the root belongs to another database, or the database to another root.
        DiskError: the root cannot be written.
        DatabaseAway: the database does not answer.

    """
    descriptor = _hold_root(folders)
    try:
        with _held(database, on_loss):
            if has_older_tables(database):
                # a service that has another root may work with them
                _check_partner(folders, database, may_join=False)
            upgrade(database)
            _check_partner(folders, database, may_join=True)
            yield
    finally:
        os.close(descriptor)


@contextmanager
def _held(database: Database, on_loss: Callable[[], None]) -> Iterator[None]:
    """SQLite lies in the root, or is held by its id there; Postgres has a lock of its own."""
    if database.is_sqlite:
        yield
        return
    with held_database(database, PREDECESSOR_SECONDS, on_loss):
        yield


def make_root(folders: Folders) -> None:
    """Make the root where there is none, for this user alone: it has the hashes of tokens and everybody's data.

    One that is there keeps its rights, which its administrator gave it.

    Raises:
        DiskError: it cannot be made.

    """
    try:
        folders.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise_store_error(error, folders.root)


def _hold_root(folders: Folders) -> int:
    make_root(folders)
    try:
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


def _check_partner(folders: Folders, database: Database, *, may_join: bool) -> None:
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
        if (used_root or not may_join) and of_root != of_database:
            raise WrongPartner(
                f"the root {folders.root} belongs to another database than the one given; give the database_url"
                " that it was used with, or the root of this database"
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
