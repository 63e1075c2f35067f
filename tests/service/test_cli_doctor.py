from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from hamfit_service.cli import doctor

Cli = Callable[..., Result]


def test_every_check_answers_on_this_machine(tmp_path: Path) -> None:
    checks = {check.name: check for check in doctor.examine(tmp_path)}
    assert list(checks) == ["versions", "cores", "memory", "blas", "compiler", "gpu", "disk"]
    assert all(check.status != "failure" for check in checks.values())
    assert checks["memory"].facts["total_bytes"] > 0
    assert checks["cores"].facts["usable"] >= 1


def test_a_broken_check_is_a_failure_and_hides_no_other(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> doctor.Check:
        raise RuntimeError("no BLAS at all")

    monkeypatch.setattr(doctor, "_blas", broken)
    result = cli("doctor", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert report["healthy"] is False
    assert "no BLAS at all" in report["checks"]["blas"]["detail"]
    assert report["checks"]["versions"]["status"] == "ok"


def test_a_folder_that_is_not_there_is_found_out(cli: Cli, tmp_path: Path) -> None:
    result = cli("doctor", "--path", tmp_path / "none")
    assert result.exit_code == 1
    assert "FAILURE  disk" in result.stdout


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(file / "cache"))
    check = next(check for check in doctor.examine(tmp_path) if check.name == "compiler")
    assert check.status == "warning"
    assert "NUMBA_CACHE_DIR" in check.detail
