"""The database of a service, for commands that may run while the service does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hamfit_service.jobs import migrate
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.ownership import RootInUse, claim_root, make_root
from hamfit_service.settings import Settings


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
        if migrate.has_older_tables(database):
            _change_tables(folders, database)
        else:
            # makes all tables or none, and refuses those of a newer version
            migrate.upgrade(database)
        yield database
    finally:
        database.close()


def _change_tables(folders: Folders, database: Database) -> None:
    try:
        with claim_root(folders, database):
            pass
    except RootInUse as error:
        raise RootInUse(
            f"a service of an older version of hamfit works in {folders.root} or on its database, whose tables cannot"
            " be changed meanwhile; ask it with --server, or stop it and start it with this version"
        ) from error
