"""The database: SQLite beside the jobs, or Postgres by URL; one set of tables, one set of queries.

SQLite is asked for a write-ahead log, so that readers never wait for the writer. Network file systems refuse it (the
log needs shared memory); there it falls back to a journal, which is slower and just as safe. Every time-out is
explicit: a database that is away makes a request fail within seconds, as `DatabaseAway`, and never hang.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from hamfit.errors import HamfitError, SpecError

BUSY_SECONDS = 5.0
"""How long a statement waits for another's lock; far above what any transaction here takes."""

_CONNECT_SECONDS = 3
_POOL = 10
#: One for each thread that answers requests; opening a connection costs more than a query.
_SQLITE_POOL = 40


class DatabaseAway(HamfitError):
    """The database cannot be reached, is locked or cannot be written now; the same call may succeed later."""


class DatabaseDamaged(HamfitError):
    """The file of the database cannot be understood."""


_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_DAMAGE = "the file hamfit.sqlite is damaged or no SQLite database; put a copy in its place, with its -wal file gone"


class Database:
    """One engine, made once; its transactions are short and may be used from any thread."""

    def __init__(self, url: str) -> None:
        """Open the database at ``url``; no table is read or written yet.

        Raises:
            DatabaseDamaged: the file is none of SQLite's.
            SpecError: the URL is not one of SQLite or Postgres, or the driver is missing.

        """
        self.engine = self.readers = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.journal = ""
        if self.is_sqlite:
            self.journal = _probe_journal(self.engine)
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_immediately)
            self.readers = _engine(url)
            event.listen(self.readers, "connect", _prepare_reader)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries of columns: no objects are made of rows, which is most of what a query costs.

        What others commit in between, a later query may see. What is written here is not kept: SQLite refuses it, and
        Postgres takes it back. Raises DatabaseAway.
        """
        with translated(), self.readers.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """One transaction: committed at the end of the block, rolled back by an exception. Raises DatabaseAway."""
        with translated(), self._sessions.begin() as session:
            yield session

    def take_turn(self, session: Session, name: str) -> None:
        """Wait until no other transaction that named the same is under way; SQLite has one writer anyhow."""
        if not self.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})

    def check(self) -> None:
        """Raises DatabaseAway when the database does not answer."""
        with self.reading() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()
        self.readers.dispose()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SpecError("database_url cannot be read; write postgresql+psycopg://USER:PASSWORD@HOST/NAME") from error
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername == "sqlite":
        return create_engine(
            parsed, connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False}, pool_size=_SQLITE_POOL
        )
    if parsed.drivername != "postgresql+psycopg":
        raise SpecError(f"database_url names {parsed.drivername}; use sqlite or postgresql+psycopg")
    options = f"-c statement_timeout={int(BUSY_SECONDS * 1000)} -c lock_timeout={int(BUSY_SECONDS * 1000)}"
    try:
        return create_engine(
            parsed,
            pool_size=_POOL,
            pool_timeout=_CONNECT_SECONDS,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_SECONDS, "options": options},
        )
    except ModuleNotFoundError as error:
        raise SpecError(
            "Postgres is reached through psycopg, which is not installed: pip install hamfit[postgres]"
        ) from error


def _probe_journal(engine: Engine) -> str:
    """`wal` where the file system can hold a write-ahead log, else `delete`; tried, not guessed."""
    path = Path(engine.url.database or "")
    try:
        # as a rule this is the root, and the first to make it; see `ownership.make_root`
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None) as connection:
            mode = str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
            # a log that was refused quietly shows only when it is used
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        connection.close()
    except sqlite3.OperationalError:
        mode = "delete"
    except sqlite3.DatabaseError as error:
        raise DatabaseDamaged(_DAMAGE) from error
    except OSError as error:
        raise DatabaseAway(
            f"the folder of the database cannot be made ({error.strerror}); see to its rights"
        ) from error
    return mode if mode == "wal" else "delete"


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    del record
    # transactions are begun by _begin_immediately and not by the driver
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    # a commit that returned survives the loss of power, not only of the process
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_immediately(connection: Any) -> None:
    """Take SQLite's write lock at once: a transaction that reads first and writes later could only fail."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _prepare_reader(connection: sqlite3.Connection, record: Any) -> None:
    del record
    # every query is a transaction by itself, and nothing else is done here
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON").close()


@contextmanager
def translated() -> Iterator[None]:
    """Errors of SQLAlchemy in the block as those of this module: DatabaseAway, DatabaseDamaged, SpecError."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        if getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            # a statement that is wrong, which stays wrong; SQLite calls that operational too
            raise
        raise DatabaseAway("the database does not answer or cannot be written now; try again in a moment") from error
    except DataError as error:
        # Postgres keeps no NUL in its texts and counts their characters; SQLite does neither
        raise SpecError("a name or key is too long, or has a character that the database cannot keep") from error
    except DBAPIError as error:
        if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise DatabaseDamaged(_DAMAGE) from error
        if error.connection_invalidated:
            raise DatabaseAway("the connection to the database was lost; try again in a moment") from error
        raise
    except SQLAlchemyError:
        raise
