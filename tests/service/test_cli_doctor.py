from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from hamfit.devices import choose_device, selection
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


def test_the_device_that_a_command_would_take_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def asked() -> doctor.Check:
        return next(check for check in doctor.examine(tmp_path) if check.name == "gpu")

    monkeypatch.setenv("HAMFIT_DEVICE", "cpu")
    assert asked().facts["device"] == "cpu"
    assert "hamfit computes on the processor" in asked().detail
    choose_device("emulated")  # without a compiler there is none to be named
    monkeypatch.setenv("HAMFIT_DEVICE", "emulated")
    assert asked().facts["device"] == "emulated GPU"
    monkeypatch.setenv("HAMFIT_DEVICE", "abacus")
    assert (asked().status, "HAMFIT_DEVICE is 'abacus'" in asked().detail) == ("failure", True)


CUPY = """
import numpy

__version__ = "14.2.0"
ones = numpy.ones
broken = None


class RawModule:
    def __init__(self, **options):
        pass

    def compile(self):
        if broken:
            raise RuntimeError(broken)


class cuda:
    class get_current_stream:
        def synchronize(self):
            pass

    class Device:
        id = 0

    class runtime:
        CUDARuntimeError = RuntimeError

        @staticmethod
        def getDeviceCount():
            return 1

        @staticmethod
        def getDeviceProperties(index):
            return dict(name=b"Abacus 100", totalGlobalMem=80 * 2**30, sharedMemPerBlockOptin=2**17)
"""


@pytest.mark.parametrize(
    ("broken", "status", "detail"),
    [
        (None, "ok", "Abacus 100 (80.0 GiB); hamfit computes on Abacus 100"),
        (
            "libnvrtc is not there",
            "warning",
            "Abacus 100 is there, but CuPy cannot compute on it (libnvrtc is not there): install hamfit[gpu] on a"
            " machine with an NVIDIA driver, or use the device cpu; hamfit computes on the processor",
        ),
    ],
    ids=["usable", "unusable"],
)
def test_gpus_are_named_with_their_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str | None, status: str, detail: str
) -> None:
    (tmp_path / "cupy.py").write_text(CUPY.replace("broken = None", f"broken = {broken!r}"))
    # another cupy of this test may have been loaded
    # and what an import leaves behind must go with the rest
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "cupy", importlib.import_module("cupy"))
    monkeypatch.delenv("HAMFIT_DEVICE", raising=False)
    monkeypatch.setattr(selection, "_cuda", selection._once(selection._cuda.__wrapped__))
    check = next(check for check in doctor.examine(tmp_path) if check.name == "gpu")
    assert (check.status, check.detail) == (status, detail)
    assert check.facts["devices"] == [{"name": "Abacus 100", "total_bytes": 80 * 2**30}]
