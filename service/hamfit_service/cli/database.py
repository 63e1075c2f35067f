"""The database of a service, for commands that may run while the service does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select

from hamfit_service.jobs import migrate
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.ownership import RootInUse, WrongPartner, claim_root, make_root
from hamfit_service.jobs.tables import NoteRow
from hamfit_service.settings import Settings

_ROOT_ID = "root-id"
"""The file and the note by which `jobs.ownership` knows a root and its database."""


@contextmanager
def opened_database(settings: Settings) -> Iterator[Database]:
    """The database, with the tables of this version, until the end of the block.

    Tables are made where there are none. Those of an older version are changed only while the root is held, as when a
    service starts: a service of that version may work with them.

    Raises:
        RootInUse: a service of an older version runs there.
        WrongPartner: the tables are of an older version, and the root is not the one of their service.
        DatabaseTooNew: the tables are of a newer version.
        DatabaseAway, DiskError: the database or the root cannot be used now.

    """
    folders = Folders(settings.root.absolute())
    make_root(folders)
    database = Database(settings.database)
    try:
        if _has_older_tables(database):
            _change_tables(folders, database)
        else:
            # makes all tables or none, and refuses those of a newer version
            migrate.upgrade(database)
        yield database
    finally:
        database.close()


def _has_older_tables(database: Database) -> bool:
    """Whether there are tables, and steps of this version that they have not gone through."""
    steps = ScriptDirectory(str(Path(migrate.__file__).with_name("migrations")))
    known = {step.revision for step in steps.walk_revisions()}
    with database.reading() as connection:
        done = set(MigrationContext.configure(connection).get_current_heads())
    return bool(done) and done <= known and done != set(steps.get_heads())


def _change_tables(folders: Folders, database: Database) -> None:
    _check_root(folders, database)
    try:
        with claim_root(folders, database):
            pass
    except RootInUse as error:
        raise RootInUse(
            f"a service of an older version of hamfit works in {folders.root} or on its database, whose tables cannot"
            " be changed meanwhile; ask it with --server, or stop it and start it with this version"
        ) from error


def _check_root(folders: Folders, database: Database) -> None:
    """Raises WrongPartner unless the root is that of the database: to hold another keeps no service away."""
    with database.reading() as connection:
        of_database = connection.scalar(select(NoteRow.value).where(NoteRow.name == _ROOT_ID))
    path = folders.root / _ROOT_ID
    of_root = path.read_text().strip() if path.exists() else None
    if of_database is not None and of_database != of_root:
        raise WrongPartner(
            f"the tables of the database are of an older version of hamfit and belong to another root than"
            f" {folders.root}; give that --root too, or start its service with this version first"
        )
