"""One service for a root and a database, and never another pair."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, create_engine, inspect, make_url, text

from hamfit.errors import DiskError
from hamfit_service.jobs import ownership, turns
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.migrate import _configuration, has_older_tables
from hamfit_service.jobs.ownership import RootInUse, WrongPartner, claim_root, make_root
from hamfit_service.jobs.store import JobStore, Submission

ASKED = Submission("fit", {"data": ["a.zarr"]}, "local")

HOLDER = """
import sys
from pathlib import Path
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.ownership import claim_root
with claim_root(Folders(Path(sys.argv[1])), Database(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


def held_by_another(root: Path, url: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "PREDECESSOR_SECONDS", 0.3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.mark.usefixtures("impatient")
def test_a_second_service_is_refused_with_the_name_of_the_first(root: Path, url: str, empty: Database) -> None:
    with held_by_another(root, url) as other:
        name = rf"another service \(process {other.pid}\) works in"
        with pytest.raises(RootInUse, match=name), claim_root(Folders(root), empty):
            pytest.fail("held twice")
        # not even a kill leaves anything to be tidied up by hand
        other.kill()
    with claim_root(Folders(root), empty):
        pass


def test_a_service_that_is_ending_is_waited_for(root: Path, url: str, empty: Database) -> None:
    with held_by_another(root, url) as other:
        threading.Timer(0.5, other.kill).start()
        began = time.monotonic()
        with claim_root(Folders(root), empty):
            assert 0.3 < time.monotonic() - began < ownership.PREDECESSOR_SECONDS


@pytest.mark.usefixtures("impatient")
def test_a_copy_of_the_root_gets_no_second_service_on_one_postgres(root: Path, postgres_url: str) -> None:
    with held_by_another(root, postgres_url) as other:
        copy = root.with_name("copy")
        shutil.copytree(root, copy)
        database = Database(postgres_url)
        name = rf"another service \(hamfit process {other.pid} on .*\) works on this database"
        with pytest.raises(RootInUse, match=name), claim_root(Folders(copy), database):
            pytest.fail("held twice")
        other.kill()
    with claim_root(Folders(copy), database):
        pass
    database.close()


@pytest.mark.usefixtures("impatient")
def test_a_newer_version_changes_no_table_beside_a_service_that_runs(root: Path, url: str, empty: Database) -> None:
    with held_by_another(root, f"sqlite:///{root / 'its-own.sqlite'}") as other:
        with pytest.raises(RootInUse), claim_root(Folders(root), empty):
            pytest.fail("held twice")
        other.kill()
    assert inspect(empty.engine).get_table_names() == []


@pytest.mark.usefixtures("impatient")
def test_nor_beside_one_that_has_a_copy_of_the_root(root: Path, postgres_url: str) -> None:
    database = Database(postgres_url)
    with database.engine.connect() as elsewhere:
        elsewhere.execute(text("SELECT pg_advisory_lock(:key)"), {"key": turns._OWNER_LOCK})
        with pytest.raises(RootInUse, match="works on this database"), claim_root(Folders(root), database):
            pytest.fail("held twice")
    assert inspect(database.engine).get_table_names() == []
    database.close()


HOLDERS = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ '^hamfit'")
END = text("SELECT pg_terminate_backend(:pid)")
TRY = text("SELECT pg_try_advisory_lock(:key)")


@pytest.fixture
def onlooker(postgres_url: str) -> Iterator[Connection]:
    """Another connection to the same database."""
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def test_a_service_takes_its_database_again_when_postgres_let_go_of_it(
    root: Path, postgres_url: str, onlooker: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WATCH_SECONDS", 0.2)
    database = Database(postgres_url)
    with claim_root(Folders(root), database, on_loss=lambda: pytest.fail("nobody else is there")):
        first = onlooker.scalar(HOLDERS)
        onlooker.execute(END, {"pid": first})
        deadline = time.monotonic() + 20.0
        while onlooker.scalar(HOLDERS) in (None, first):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        while onlooker.scalar(TRY, {"key": turns._OWNER_LOCK}):
            onlooker.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": turns._OWNER_LOCK})
            assert time.monotonic() < deadline
    # let go: Postgres notices a closed connection a moment later
    deadline = time.monotonic() + 20.0
    while not onlooker.scalar(TRY, {"key": turns._OWNER_LOCK}):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    database.close()


def test_a_service_ends_when_another_took_its_database(
    root: Path, postgres_url: str, onlooker: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WATCH_SECONDS", 0.2)
    lost = threading.Event()
    database = Database(postgres_url)
    other = database.engine.connect()
    with claim_root(Folders(root), database, on_loss=lost.set):
        waiting = threading.Thread(
            target=other.execute, args=(text("SELECT pg_advisory_lock(:key)"), {"key": turns._OWNER_LOCK})
        )
        waiting.start()
        while not onlooker.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")):
            assert waiting.is_alive()
        onlooker.execute(END, {"pid": onlooker.scalar(HOLDERS)})
        waiting.join(20.0)
        assert lost.wait(20.0)
    other.close()
    database.close()


def test_a_connection_that_broke_only_on_our_side_keeps_nobody_out(
    root: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WATCH_SECONDS", 0.2)
    database = Database(postgres_url)
    turn = turns._Turn(database)
    turn.take(1.0)
    # forgotten, not closed: Postgres believes that its client lives
    forgotten, turn._connection = turn._connection, None
    turn.take(5.0)
    assert turn.is_held()
    turn.let_go()
    assert forgotten is not None
    forgotten.invalidate()
    forgotten.close()
    database.close()


def test_a_root_that_is_made_is_for_its_user_alone_and_one_that_is_there_keeps_its_rights(
    tmp_path: Path, empty: Database
) -> None:
    with claim_root(Folders(tmp_path / "new"), empty):
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o750)
    make_root(Folders(tmp_path / "shared"))
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o750
    Database(f"sqlite:///{tmp_path / 'by-database' / 'hamfit.sqlite'}").close()
    assert (tmp_path / "by-database").stat().st_mode & 0o777 == 0o700


def test_a_root_and_its_database_stay_together(root: Path, empty: Database, tmp_path: Path) -> None:
    with claim_root(Folders(root), empty):
        JobStore(empty).submit(ASKED)
        (root / "jobs").mkdir()
    with claim_root(Folders(root), empty):
        pass
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    with pytest.raises(WrongPartner, match="belongs to another database"), claim_root(Folders(root), other):
        pytest.fail("a root with two databases")
    with pytest.raises(WrongPartner, match="holds jobs of another root"), claim_root(Folders(tmp_path / "new"), empty):
        pytest.fail("a database with two roots")
    with claim_root(Folders(root), empty):
        pass


def test_older_tables_are_changed_only_with_the_root_that_they_belong_to(
    root: Path, empty: Database, tmp_path: Path
) -> None:
    with claim_root(Folders(root), empty):
        pass
    with empty.writing() as session:
        command.downgrade(_configuration(session.connection()), "0001")
    with pytest.raises(WrongPartner, match="belongs to another"), claim_root(Folders(tmp_path / "new"), empty):
        pytest.fail("the tables of another root")
    assert has_older_tables(empty)
    with claim_root(Folders(root), empty):
        assert not has_older_tables(empty)


def test_a_start_that_was_cut_short_between_both_ids_is_mended(root: Path, empty: Database, tmp_path: Path) -> None:
    with claim_root(Folders(root), empty):
        (root / "root-id").unlink()
    with claim_root(Folders(root), empty):
        assert (root / "root-id").read_text().strip()
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    with claim_root(Folders(root), other):
        pass


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path, empty: Database) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="root"), claim_root(Folders(tmp_path / "file" / "root"), empty):
        pytest.fail("held nothing")
