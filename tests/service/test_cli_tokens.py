"""`hamfit tokens`: in the database of a service, and through a server that asks for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command as alembic
from sqlalchemy import inspect, text
from typer.testing import Result

from hamfit_service.jobs import ownership
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.migrate import _configuration
from hamfit_service.jobs.ownership import claim_root
from serving import serving

Cli = Callable[..., Result]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """The database of a service in `tmp_path / "root"` that was started once."""
    found = Database(f"sqlite:///{tmp_path / 'root' / 'hamfit.sqlite'}")
    with claim_root(Folders(tmp_path / "root"), found):
        pass
    yield found
    found.close()


def make_older(database: Database) -> None:
    """Take the last step back, so that the tables are as the version before made them."""
    with database.writing() as session:
        alembic.downgrade(_configuration(session.connection()), "-1")


def form(database: Database) -> tuple[str, frozenset[str]]:
    """The step of the tables, and the indices of the jobs."""
    with database.reading() as connection:
        step = str(connection.scalar(text("SELECT version_num FROM alembic_version")))
    return step, frozenset(str(index["name"]) for index in inspect(database.engine).get_indexes("jobs"))


def token(result: Result) -> str:
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return result.stdout.strip()


def test_tokens_are_made_listed_and_ended_without_a_server(cli: Cli, tmp_path: Path) -> None:
    root = ("--root", tmp_path / "root")
    made = cli("tokens", "create", "ada", "--scopes", "read", *root)
    secret = token(made)
    assert secret.startswith("hf_")
    assert "ada allows read until" in made.stderr
    whole = json.loads(cli("tokens", "create", "bob", "--days", "0", "--queued-jobs", "7", *root, "--json").stdout)
    assert (whole["scopes"], whole["expires_at"], whole["queued_jobs"]) == (["read", "submit"], None, 7)
    listed = cli("tokens", "list", *root)
    assert "ada" in listed.stdout
    assert secret not in cli("tokens", "list", *root, "--json").stdout
    assert "is revoked" in cli("tokens", "revoke", whole["id"], *root).stdout
    after = {one["id"]: one for one in json.loads(cli("tokens", "list", *root, "--json").stdout)["tokens"]}
    assert after[whole["id"]]["revoked_at"] is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "no owner"), "owner cannot be 'no owner'"),
        (("create", "ada", "--scopes", "fly"), "scopes cannot be 'fly'"),
        (("create", "ada", "--scopes", ","), "scopes cannot be"),
        (("revoke", "nobody"), "nobody"),
        (("list", "--server", "http://127.0.0.1:9"), "give one or the other"),
    ],
)
def test_what_cannot_be_is_one_sentence(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = cli("tokens", *arguments, "--root", tmp_path / "root")
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_server_asks_for_tokens_and_an_administrator_makes_more(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    chief = tmp_path / "chief"
    chief.write_text(token(cli("tokens", "create", "chief", "--scopes", "admin", "--root", root)) + "\n")
    with serving(root, tmp_path, "--workers", "1", "--threads", "1") as served:
        at = ("--server", served.url)
        refused = cli("jobs", *at)
        assert (refused.exit_code, "token" in refused.stderr) == (2, True)
        assert cli("jobs", *at, "--token-file", chief).exit_code == 0
        made = token(cli("tokens", "create", "ada", "--scopes", "read", *at, "--token-file", chief))
        monkeypatch.setenv("HAMFIT_TOKEN", made)
        assert cli("jobs", *at).exit_code == 0
        for forbidden in (("submit", "simulate", "spring"), ("tokens", "list")):
            result = cli(*forbidden, *at)
            assert result.exit_code == 2
            assert "scope" in result.stderr
        listed = json.loads(cli("tokens", "list", *at, "--token-file", chief, "--json").stdout)["tokens"]
        ada = next(one["id"] for one in listed if one["owner"] == "ada")
        assert cli("tokens", "revoke", ada, *at, "--token-file", chief).exit_code == 0
        served.wait_until(lambda: cli("jobs", *at).exit_code == 2, 10)
    empty = tmp_path / "empty"
    empty.touch()
    assert "is empty" in cli("jobs", *at, "--token-file", empty).stderr
    assert "none" in cli("jobs", *at, "--token-file", tmp_path / "none").stderr


def test_tokens_are_made_beside_a_service_of_the_same_version(cli: Cli, tmp_path: Path, database: Database) -> None:
    before = form(database)
    with claim_root(Folders(tmp_path / "root"), database):
        assert token(cli("tokens", "create", "ada", "--root", tmp_path / "root"))
    assert form(database) == before


def test_tables_of_an_older_version_are_left_alone_beside_its_service_and_changed_once_it_has_ended(
    cli: Cli, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "PREDECESSOR_SECONDS", 0.2)
    root, now = tmp_path / "root", form(database)
    with claim_root(Folders(root), database):
        make_older(database)
        older = form(database)
        assert older != now
        for arguments in (("create", "ada"), ("list",), ("revoke", "0123456789abcdef")):
            refused = cli("tokens", *arguments, "--root", root)
            assert (refused.exit_code, refused.stdout) == (2, "")
            assert "a service of an older version of hamfit works in" in refused.stderr
            assert "--server" in refused.stderr
            assert refused.stderr.count("\n") == 1
        assert form(database) == older
    assert token(cli("tokens", "create", "ada", "--root", root))
    assert form(database) == now


def test_holding_another_root_is_no_leave_to_change_tables_of_an_older_version(
    cli: Cli, tmp_path: Path, database: Database
) -> None:
    make_older(database)
    older = form(database)
    url = database.engine.url.render_as_string()
    refused = cli("tokens", "list", "--root", tmp_path / "other", "--database-url", url)
    assert (refused.exit_code, "another database" in refused.stderr) == (2, True)
    assert form(database) == older
    assert cli("tokens", "list", "--root", tmp_path / "root", "--database-url", url).exit_code == 0
    assert form(database) != older


def test_tables_of_a_newer_version_are_refused(cli: Cli, tmp_path: Path, database: Database) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    refused = cli("tokens", "list", "--root", tmp_path / "root")
    assert (refused.exit_code, "newer version of hamfit" in refused.stderr) == (2, True)
