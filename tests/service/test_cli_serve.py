"""`hamfit serve --check`: it says yes only where `hamfit serve` would come up, and leaves nothing running."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(command: Command, tmp_path: Path) -> Command:
    """`check("--port", "0", ...)` of a small service in a root of its own, on any free port unless told otherwise."""
    (tmp_path / "data").mkdir()
    small = ("--root", tmp_path / "root", "--data-root", tmp_path / "data", "--workers", "1", "--threads", "1")
    return lambda *flags: command("serve", "--check", *small, "--port", "0", *flags)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def failed_checks(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What was found wrong, of a check that printed its JSON object and ended with 1."""
    assert (result.returncode, result.stdout.count("\n")) == (1, 1), result.stderr
    found = json.loads(result.stdout)
    assert found["ready"] is False
    about = ("database kind", "journal")
    return {name: value for name, value in found["checks"].items() if value != "ok" and name not in about}


def test_a_service_that_would_come_up_is_ready_in_words_and_in_json_and_can_be_tried_again(check: Command) -> None:
    table = check()
    assert table.returncode == 0, table.stderr
    assert "ready" in table.stdout
    # the root and the cluster were let go of: the same settings can be tried at once
    result = check("--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    # where the disk cannot hold a write-ahead log it is another one, and just as well
    assert found["checks"].pop("journal") in ("wal", "delete")
    checks = dict.fromkeys(("database", "storage", "cluster", "data roots", "address"), "ok")
    assert found == {"ready": True, "checks": {**checks, "database kind": "sqlite"}}


def test_a_port_that_another_program_listens_on_is_no_address_for_a_service(check: Command, taken_port: int) -> None:
    wrong = failed_checks(check("--port", str(taken_port), "--json"))
    assert list(wrong) == ["address"]
    assert wrong["address"].startswith(f"127.0.0.1:{taken_port} cannot be listened on")
    assert "choose another --port" in wrong["address"]


def test_a_data_root_that_is_no_folder_is_named(check: Command, tmp_path: Path) -> None:
    wrong = failed_checks(check("--data-root", str(tmp_path / "gone"), "--json"))
    assert wrong == {"data roots": "gone: no such folder"}


def test_an_address_for_others_is_refused_while_there_is_no_token(check: Command) -> None:
    result = check("--host", "0.0.0.0")
    assert (result.returncode, result.stdout) == (2, "")
    assert "0.0.0.0 can be reached by others and there is no token" in result.stderr
    assert result.stderr.count("\n") == 1
