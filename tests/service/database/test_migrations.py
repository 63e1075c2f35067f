"""The tables that the steps make are those of tables.py, on both databases, whoever makes them and however often."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from hamfit_service.jobs.database import Database
from hamfit_service.jobs.migrate import DatabaseTooNew, _configuration, upgrade
from hamfit_service.jobs.store import JobStore, Submission
from hamfit_service.jobs.tables import Base


def test_the_steps_make_the_tables_of_tables_py(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_names_of_constraints_are_those_of_tables_py(database: Database) -> None:
    found = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        named = {key["name"] for key in found.get_foreign_keys(table.name)}
        named |= {key["name"] for key in found.get_unique_constraints(table.name)}
        named.add(found.get_pk_constraint(table.name)["name"])
        assert named == {str(constraint.name) for constraint in table.constraints}


def test_upgrading_again_changes_nothing(database: Database) -> None:
    job, _ = JobStore(database).submit(Submission("fit", {"data": ["a.zarr"]}, "local"))
    upgrade(database)
    assert JobStore(database).get(job.id) == job


def test_jobs_of_every_older_form_are_kept(empty: Database) -> None:
    upgrade(empty)
    job, _ = JobStore(empty).submit(Submission("fit", {"data": ["a.zarr"]}, "local"))
    with empty.writing() as session:
        command.downgrade(_configuration(session.connection()), "0001")
    assert "stalls" not in {column["name"] for column in inspect(empty.engine).get_columns("jobs")}
    upgrade(empty)
    assert JobStore(empty).get(job.id) == job


def test_services_that_upgrade_at_once_take_turns(empty: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(upgrade, empty) for _ in range(4)]:
            done.result()
    assert "jobs" in inspect(empty.engine).get_table_names()


def test_a_step_that_fails_leaves_the_database_as_it_was(empty: Database) -> None:
    with empty.writing() as session:
        # in the way of a table that the first step makes after others
        session.execute(text("CREATE TABLE models (name TEXT)"))
    with pytest.raises(Exception, match="models"):
        upgrade(empty)
    assert inspect(empty.engine).get_table_names() == ["models"]


def test_a_database_of_a_newer_version_is_refused_untouched(database: Database) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseTooNew, match=r"newer version of hamfit \(its tables are of step 9999\)"):
        upgrade(database)
