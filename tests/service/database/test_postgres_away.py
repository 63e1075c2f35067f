"""Postgres ends, dies, comes back: calls fail within seconds by a name of ours, and work again without a new engine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from hamfit.errors import SpecError
from hamfit_service.jobs.database import Database, DatabaseAway
from hamfit_service.jobs.migrate import upgrade
from hamfit_service.jobs.store import JobStore, Submission
from postgres import Postgres

ASKED = Submission("fit", {"data": ["a.zarr"]}, "local")


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server that the test may stop."""
    postgres = Postgres()
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.remove()


@pytest.mark.parametrize("now", [False, True], ids=["stopped", "killed"])
def test_a_database_that_goes_and_comes_back(own: Postgres, now: bool) -> None:
    database = Database(own.url)
    upgrade(database)
    store = JobStore(database)
    job, _ = store.submit(ASKED)
    own.stop(now=now)
    for call in (lambda: store.get(job.id), lambda: store.submit(ASKED), lambda: store.claim(job.id), database.check):
        began = time.monotonic()
        with pytest.raises(DatabaseAway):
            call()
        assert time.monotonic() - began < 5.0
    own.start()
    assert store.claim(job.id).state == "running"
    assert len(store.page().jobs) == 1
    database.close()


def test_a_transaction_that_loses_its_connection_is_told_and_undone(own: Postgres) -> None:
    database = Database(own.url)
    upgrade(database)
    store = JobStore(database)
    job, _ = store.submit(ASKED)
    store.claim(job.id)
    with pytest.raises(DatabaseAway):
        store.succeed(job.id, {}, lambda session, now: own.stop(now=True))
    own.start()
    assert store.get(job.id).state == "running"
    assert store.succeed(job.id, {}).state == "succeeded"
    database.close()


def test_a_statement_that_hangs_is_ended(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamfit_service.jobs.database.BUSY_SECONDS", 0.5)
    database = Database(postgres_url)
    began = time.monotonic()
    with pytest.raises(DatabaseAway), database.reading() as connection:
        connection.execute(text("SELECT pg_sleep(20)"))
    assert time.monotonic() - began < 5.0
    database.check()
    database.close()


def test_a_wrong_password_or_scheme_is_told(postgres_url: str) -> None:
    wrong = Database(postgres_url.replace("hamfit:", "hamfit:not-"))
    with pytest.raises(DatabaseAway):
        wrong.check()
    with pytest.raises(SpecError, match="use sqlite or postgresql"):
        Database("mysql://a:b@127.0.0.1/c")
    assert Database(postgres_url.replace("postgresql+psycopg", "postgresql")).engine.dialect.driver == "psycopg"
