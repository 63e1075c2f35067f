"""Two ways to run the command line: in this process (quick), and as the installed command (real)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hamfit_service.cli import app
from serving import Served, serving

COMMAND = Path(sys.executable).with_name("hamfit")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`cli("fit", "data", ...)` in this process; standard output and error are kept apart."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="hamfit")

    return run


@pytest.fixture(scope="session")
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`command("fit", "data", ...)` as a user's shell runs it."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(COMMAND), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "COLUMNS": "200"},
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real `hamfit serve` with one worker, for all tests that only ask it; its data lie in its `data_root`."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "data").mkdir()
    with serving(folder / "root", folder / "data", "--workers", "1", "--threads", "1") as served:
        yield served
