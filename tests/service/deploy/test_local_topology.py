"""deploy/local/up: Postgres, a scheduler, workers with TLS and the service, from one command; a real fit through it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hamfit.systems import simulate
from hamfit_service.client import Client
from hamfit_service.processes.fit import FitInputs

UP = Path(__file__).parents[3] / "deploy" / "local" / "up"


def up(folder: Path, *words: str) -> str:
    command = [sys.executable, str(UP), "--folder", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def folder() -> Iterator[Path]:
    # not below pytest's folders, which root's Postgres, being another user, may not enter
    place = Path(tempfile.mkdtemp(prefix="hamfit-local-"))
    os.chmod(place, 0o755)
    yield place
    up(place, "--down")
    shutil.rmtree(place)


def pids(folder: Path) -> dict[str, int]:
    return {path.stem: int(path.read_text().split()[0]) for path in (folder / "run").glob("*.pid")}


@pytest.mark.faults
def test_a_fit_runs_through_postgres_tls_and_two_workers_and_survives_a_restart(folder: Path) -> None:
    simulate("lj", folder / "data" / "lj.zarr", shape="2x2x2", n_frames=20, every=5, melt_steps=100, seed=3)
    address = up(folder, "--threads", "1")
    begun = pids(folder)
    assert set(begun) == {"scheduler", "worker-1", "worker-2", "service"}
    # again changes nothing, but starts what has died
    assert up(folder, "--threads", "1") == address
    assert pids(folder) == begun
    os.kill(begun["worker-1"], 9)
    assert up(folder, "--threads", "1") == address
    assert {name for name, pid in pids(folder).items() if pid != begun[name]} == {"worker-1"}
    with Client(address) as client:
        state = client.cluster()
        assert (state.kind, state.alive) == ("scheduler", True)
        job = client.submit(FitInputs(data=("lj.zarr",), cutoff=1.5, features=32, publish="liquid"))
        assert client.wait(job.id, timeout=120).status == "succeeded"
    for name in ("hamfit.toml", "certificates/service.key", "postgres/password"):
        assert (folder / name).stat().st_mode & 0o077 == 0
    up(folder, "--down")
    assert not [pid for pid in begun.values() if psutil.pid_exists(pid)]
    assert up(folder, "--threads", "1") == address
    with Client(address) as client:
        assert client.job(job.id).status == "succeeded"
        assert [model.reference for model in client.models()] == ["liquid@1"]
