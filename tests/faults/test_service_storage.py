"""Disks that fill up or cannot be written, a database that goes away: jobs wait, nothing is lost, no hands are needed.

Needs the right to mount.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hamfit.data import Dataset
from hamfit.fitting import fit
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.systems import simulate
from postgres import Postgres
from serving import COMMAND, Served, serving

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(600),
    # accuracy is not the subject here
    pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning"),
]

# TSQR of many columns, so that a fit takes seconds and can be hit in the middle.
FIT = {"cutoff": 2.5, "features": 400, "sampler": "elm", "input_map": "1/r", "taper": "none", "solver": "tsqr"}
AWAY_SECONDS = 30.0


@pytest.fixture(scope="module")
def liquid(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("data") / "lj.zarr"
    return simulate("lj", path, shape="3x3x3", n_frames=60, every=5, melt_steps=200, seed=3)


@pytest.fixture(scope="module")
def truth(liquid: Dataset) -> tuple[bytes, ...]:
    return bits(fit([liquid], options=FitOptions(**FIT, threads=1)).model)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for some jobs."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def bits(model: Model) -> tuple[bytes, ...]:
    return (*(theta.tobytes() for theta in model.theta), model.constants.tobytes())


def asked(liquid: Dataset, **more: Any) -> dict[str, Any]:
    return {"data": [liquid.path.name], **FIT, **more}


def wait_for_work(served: Served, job: str) -> None:
    """Until the fit is in the middle of its shards."""
    served.wait_until(lambda: served.job(job)["progress"]["percent"] > 10 or served.job(job)["finished_at"], 120.0)
    assert served.job(job)["status"] == "running"


def fill(place: Path) -> Path:
    """Take all the space there is."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(1))
        except OSError:
            pass
    return ballast


def test_a_disk_that_fills_up_makes_jobs_wait_and_freed_space_lets_them_go_on(
    disk: Path, liquid: Dataset, truth: tuple[bytes, ...]
) -> None:
    environment = {"HAMFIT_MIN_FREE_BYTES": str(8 * 2**20)}
    flags = ("--workers", "2", "--threads", "1")
    with serving(disk / "root", liquid.path.parent, *flags, environment=environment) as served:
        job = served.submit("fit", asked(liquid), key="first")
        wait_for_work(served, job)
        ballast = fill(disk)
        served.wait_until(lambda: served.http.get("/readyz").status_code == 503, 30.0)
        answer = served.http.post("/v1/processes/fit/execution", json=asked(liquid, seed=1))
        assert answer.status_code in (503, 507), answer.text
        assert answer.headers["content-type"].startswith("application/problem+json")
        # what can be read is still answered
        served.wait_until(lambda: served.http.get("/v1/jobs").status_code == 200, 30.0)
        # longer than all attempts together would take if they were made
        time.sleep(10.0)
        assert served.job(job)["status"] in ("running", "accepted")
        ballast.unlink()
        done = served.finished(job, 240.0)
        assert (done["status"], done["failure"]) == ("succeeded", None), served.tail()
        served.wait_until(lambda: served.http.get("/readyz").status_code == 200, 30.0)
        assert bits(Model.open(disk / "root" / "jobs" / job / "results" / "model")) == truth
        # the refused one left nothing, and the same key is the same job
        assert served.submit("fit", asked(liquid), key="first") == job
        assert len(served.http.get("/v1/jobs").json()["jobs"]) == 1


def test_a_service_that_is_killed_on_a_full_disk_comes_back_and_finishes(
    disk: Path, liquid: Dataset, truth: tuple[bytes, ...]
) -> None:
    environment = {"HAMFIT_MIN_FREE_BYTES": str(8 * 2**20)}
    flags = ("--workers", "2", "--threads", "1")
    with serving(disk / "root", liquid.path.parent, *flags, environment=environment) as served:
        job = served.submit("fit", asked(liquid))
        wait_for_work(served, job)
        ballast = fill(disk)
        served.kill()
        ballast.unlink()
        served.start()
        done = served.finished(job, 240.0)
        assert (done["status"], done["failure"]) == ("succeeded", None), served.tail()
        assert bits(Model.open(disk / "root" / "jobs" / job / "results" / "model")) == truth


def test_data_on_a_disk_that_cannot_be_written_are_read_all_the_same(
    disk: Path, tmp_path: Path, liquid: Dataset, truth: tuple[bytes, ...]
) -> None:
    shutil.copytree(liquid.path, disk / liquid.path.name)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with serving(tmp_path / "root", disk, "--workers", "2", "--threads", "1") as served:
        job = served.submit("fit", asked(liquid))
        done = served.finished(job, 240.0)
        assert (done["status"], done["failure"]) == ("succeeded", None), served.tail()
        assert bits(Model.open(tmp_path / "root" / "jobs" / job / "results" / "model")) == truth


def test_a_root_that_cannot_be_written_is_told_at_once(disk: Path, liquid: Dataset) -> None:
    (disk / "root").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    command = [str(COMMAND), "serve", "--root", str(disk / "root"), "--data-root", str(liquid.path.parent)]
    done = subprocess.run([*command, "--port", "0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "root" in done.stderr or "database" in done.stderr


def test_a_fit_goes_on_while_postgres_is_away_and_is_recorded_when_it_is_back(
    tmp_path: Path, liquid: Dataset, truth: tuple[bytes, ...]
) -> None:
    postgres = Postgres()
    try:
        postgres.start()
        flags = ("--workers", "2", "--threads", "1", "--database-url", postgres.url)
        with serving(tmp_path / "root", liquid.path.parent, *flags) as served:
            job = served.submit("fit", asked(liquid, publish="liquid"))
            waiting = served.submit("fit", asked(liquid, seed=1))
            wait_for_work(served, job)
            postgres.stop(now=True)
            gone = time.monotonic()
            while time.monotonic() - gone < AWAY_SECONDS:
                began = time.monotonic()
                answer = served.http.post(
                    "/v1/processes/fit/execution", json=asked(liquid, seed=2), headers={"Idempotency-Key": "away"}
                )
                assert answer.status_code == 503, answer.text
                assert int(answer.headers["retry-after"]) >= 1
                assert time.monotonic() - began < 8.0
                assert served.http.get("/healthz").status_code == 200
                assert served.http.get("/readyz").status_code == 503
                time.sleep(1.0)
            postgres.start()
            served.wait_until(lambda: served.http.get("/readyz").status_code == 200, 30.0)
            late = served.submit("fit", asked(liquid, seed=2), key="away")
            for name in (job, waiting, late):
                done = served.finished(name, 240.0)
                assert (done["status"], done["failure"]) == ("succeeded", None), served.tail()
            # the fit was not made twice, but only recorded late
            assert served.job(job)["attempts"] == 0
            assert bits(Model.open(tmp_path / "root" / "jobs" / job / "results" / "model")) == truth
            assert [model["version"] for model in served.http.get("/v1/models").json()["models"]] == [1]
            assert len(served.http.get("/v1/jobs").json()["jobs"]) == 3
    finally:
        postgres.remove()
