"""deploy/local/up: Postgres, a scheduler, workers with TLS and the service, from one command; a real fit through it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hamfit import Model
from hamfit.fitting import fit
from hamfit.options import FitOptions
from hamfit.systems import simulate
from hamfit_service.client import Client
from hamfit_service.processes.fit import FitInputs
from serving import FINAL

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


@pytest.mark.faults
def test_a_fit_outlives_the_death_of_every_part_and_makes_the_same_bits(folder: Path) -> None:
    data = simulate("lj", folder / "data" / "lj.zarr", shape="4x4x4", n_frames=150, every=5, melt_steps=100, seed=3)
    options: dict[str, Any] = {"cutoff": 2.5, "features": 128, "sampler": "elm", "solver": "tsqr"}
    undisturbed = fit([data], options=FitOptions(**options, threads=1)).model
    address = up(folder, "--threads", "1")
    draw, killed = random.Random(13), []
    with Client(address) as client:
        job = client.submit(FitInputs(data=("lj.zarr",), **options))
        for name in ("worker-2", "scheduler", "service", "scheduler", "worker-1", "service"):
            wait_until_running(client, job.id)
            time.sleep(draw.uniform(0.5, 2.0))
            if client.job(job.id).status != "running":
                break
            os.kill(pids(folder)[name], 9)
            killed.append(name)
            up(folder, "--threads", "1")
        # workers that lost their scheduler take a moment to end, and are begun anew by another `up`
        deadline = time.monotonic() + 180.0
        while client.job(job.id).status not in FINAL and time.monotonic() < deadline:
            up(folder, "--threads", "1")
            time.sleep(2.0)
        assert client.job(job.id).failure is None
        assert client.job(job.id).status == "succeeded"
    assert {"worker-2", "scheduler", "service"} <= set(killed)
    found = Model.open(folder / "root" / "jobs" / job.id / "results" / "model")
    assert [theta.tobytes() for theta in found.theta] == [theta.tobytes() for theta in undisturbed.theta]


def wait_until_running(client: Client, job: str) -> None:
    """Until the job runs, or has ended."""
    deadline = time.monotonic() + 120.0
    while client.job(job).status == "accepted" and time.monotonic() < deadline:
        time.sleep(0.1)
