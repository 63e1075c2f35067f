"""`hamfit tokens`: in the database of a service, and through a server that asks for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from serving import serving

Cli = Callable[..., Result]


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
