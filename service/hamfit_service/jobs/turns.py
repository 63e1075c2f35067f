"""Postgres's lock of the one service that works on a database, held on a connection of its own.

Postgres lets go of it with the connection: when the service ends, however it ends, but also when Postgres itself is
started again. So the connection is looked at every few seconds and the lock taken again when it broke. A service that
finds another in its place by then must end: both would run the same jobs.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from hamfit.errors import HamfitError
from hamfit_service.jobs.database import Database, translated

WATCH_SECONDS = 2.0
"""How long the lock may be gone unnoticed, while the database answers."""

_LOOK_SECONDS = 0.1
_JOIN_SECONDS = 10.0
_OWNER_LOCK = 0x68616D6F776E

_HOLDER = text(
    "SELECT pid, backend_start, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND (classid::bigint << 32) | objid::bigint = :key"
    " AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

log = structlog.get_logger("hamfit.service")


class RootInUse(HamfitError):
    """Another service works in the root or on the database."""


def end_this_service() -> None:
    """Ask this process to end as a service manager would."""
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def held_database(database: Database, patience: float, on_loss: Callable[[], None]) -> Iterator[None]:
    """Hold the database until the end of the block; ``on_loss`` is called when another service has taken it since.

    Raises:
        RootInUse: another service works on it, and has not ended after ``patience`` seconds.
        DatabaseAway: it does not answer.

    """
    turn = _Turn(database)
    try:
        with translated():
            turn.take(patience)
        ending = threading.Event()
        watcher = threading.Thread(
            target=_watch, args=(turn, ending, on_loss), name="hamfit-database-turn", daemon=True
        )
        watcher.start()
        try:
            yield
        finally:
            ending.set()
            watcher.join(_JOIN_SECONDS)
    finally:
        turn.let_go()


class _Turn:
    """The lock and its connection; used by one thread at a time."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._connection: Connection | None = None
        self._backend: tuple[int, datetime] | None = None
        """The process of Postgres that holds the lock for this service, or held it."""

    def take(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not self._try_once():
            if time.monotonic() > deadline:
                raise RootInUse(
                    f"another service ({self._holder()[1]}) works on this database; stop it, or give another"
                    " database_url"
                )
            time.sleep(_LOOK_SECONDS)

    def is_held(self) -> bool:
        """Whether the connection still lives, and with it the lock."""
        if self._connection is None:
            return False
        try:
            self._connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            self.let_go()
            return False
        return True

    def let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        # a database that went away has let go of the lock by itself
        with suppress(SQLAlchemyError):
            connection.invalidate()
        with suppress(SQLAlchemyError):
            connection.close()

    def _try_once(self) -> bool:
        connection = self._open()
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _OWNER_LOCK}):
            pid, _ = self._holder()
            if pid is not None:
                # Postgres has not yet noticed that our own connection broke: it would hold the lock for nobody
                connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            return False
        row = connection.execute(
            text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        ).one()
        self._backend = (row.pid, row.backend_start)
        return True

    def _holder(self) -> tuple[int | None, str]:
        """The process of Postgres when it is an earlier one of this service, else None; and its name for people."""
        row = self._open().execute(_HOLDER, {"key": _OWNER_LOCK}).first()
        if row is None:
            return None, "which has just ended"
        is_ours = (row.pid, row.backend_start) == self._backend
        return (row.pid if is_ours else None), row.application_name or "perhaps on another machine"

    def _open(self) -> Connection:
        if self._connection is None:
            # a reading session would stay in its transaction and keep the database from tidying up
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection = connection
            # Postgres keeps 63 characters
            name = f"hamfit process {os.getpid()} on {socket.gethostname()}"[:63]
            connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": name})
        return self._connection


def _watch(turn: _Turn, ending: threading.Event, on_loss: Callable[[], None]) -> None:
    was_held = True
    while not ending.wait(WATCH_SECONDS if was_held else _LOOK_SECONDS):
        if turn.is_held():
            continue
        if was_held:
            log.warning("connection that holds the database broke; it is made again")
        was_held = False
        try:
            turn.take(WATCH_SECONDS)
        except RootInUse as error:
            log.error("another service took the database; this one ends", reason=str(error))
            on_loss()
            return
        except SQLAlchemyError:
            # away; whoever comes when it is back is asked then
            turn.let_go()
            continue
        was_held = True
        log.info("database is held again")
