"""The tables of the database brought to the form that this version knows, each time a service starts.

Steps run in one transaction that holds a lock, so two services that start at once take turns, and a step that fails
leaves the tables as they were. A new step is made with `hamfit_service.jobs.migrate.make_step` and looked over by hand.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from hamfit.errors import HamfitError
from hamfit_service.jobs.database import Database

_STEPS = Path(__file__).with_name("migrations")

# Arbitrary; the same for every hamfit, other for everything else that uses advisory locks in the same database.
_LOCK = 0x68616D666974

_LOCK_SECONDS = 60


class DatabaseTooNew(HamfitError):
    """The tables were made by a newer version."""


def upgrade(database: Database) -> None:
    """Make or change the tables as needed; may be called again at any time, by several at once.

    Raises:
        DatabaseAway: the database does not answer.
        DatabaseTooNew: a newer version of hamfit has used it.

    """
    with database.writing() as session:
        connection = session.connection()
        if not database.is_sqlite:
            # a step may take longer than a query, and so may the turn of the service that came first
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        configuration = _configuration(connection)
        _refuse_newer(connection, configuration)
        command.upgrade(configuration, "head")


def has_older_tables(database: Database) -> bool:
    """Whether there are tables that `upgrade` would change; none, and those of a newer version, are not."""
    steps = ScriptDirectory(str(_STEPS))
    known = {step.revision for step in steps.walk_revisions()}
    with database.reading() as connection:
        done = set(MigrationContext.configure(connection).get_current_heads())
    return bool(done) and done <= known and done != set(steps.get_heads())


def make_step(database: Database, message: str) -> None:
    """Write the step from the tables of this database to those of `tables.py` into `migrations/versions`."""
    with database.writing() as session:
        command.revision(_configuration(session.connection()), message, autogenerate=True)


def _configuration(connection: Connection) -> Config:
    configuration = Config()
    # alembic reads its options with configparser, which gives % a meaning
    configuration.set_main_option("script_location", str(_STEPS).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    configuration.attributes["connection"] = connection
    return configuration


def _refuse_newer(connection: Connection, configuration: Config) -> None:
    if not inspect(connection).has_table("alembic_version"):
        return
    steps = ScriptDirectory.from_config(configuration)
    for revision in connection.scalars(text("SELECT version_num FROM alembic_version")):
        try:
            steps.get_revision(revision)
        except CommandError as error:
            raise DatabaseTooNew(
                f"the database was used by a newer version of hamfit (its tables are of step {revision}); install that"
                " version, or give another database_url"
            ) from error
