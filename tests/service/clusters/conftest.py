from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import uvloop

CERTIFICATES = Path(__file__).parents[3] / "deploy" / "certificates"

Run: TypeAlias = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine in each kind of event loop; uvloop is what the service has."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def in_loop(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work)

    return in_loop


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An authority, and certificates of a scheduler, a worker and a service."""
    folder = tmp_path_factory.mktemp("certificates")
    subprocess.run([sys.executable, str(CERTIFICATES), str(folder)], check=True, stdout=subprocess.DEVNULL)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders for a short time are made, so that none is overlooked."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder
