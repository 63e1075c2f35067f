"""Jobs that are dismissed, handed over or taken up again: the work really stops, and what is done is not done twice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from hamfit.fitting import fit
from hamfit.options import FitOptions
from hamfit.systems import simulate
from serving import Served, serving

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")]

FIT = {"cutoff": 2.5, "features": 400, "sampler": "elm", "input_map": "1/r", "taper": "none", "solver": "tsqr"}
ENDLESS = {
    "model": "given.model",
    "initial": "lj.zarr",
    "steps": 100_000_000,
    "every": 1000,
    "dt": 0.002,
    "frames": "0,1",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    dataset = simulate("lj", folder / "lj.zarr", shape="3x3x3", n_frames=60, every=5, melt_steps=200, seed=3)
    options = FitOptions(cutoff=2.5, features=64, sampler="elm", input_map="1/r", taper="none", threads=1)
    fit([dataset], options=options, out=folder / "given.model")
    return folder


@pytest.fixture
def served(data: Path, tmp_path: Path) -> Any:
    with serving(tmp_path / "root", data, "--workers", "2", "--threads", "1") as service:
        yield service


def _tasks(served: Served) -> int:
    return int(served.http.get("/v1/cluster").json()["tasks"])


def _step(served: Served, job: str) -> int:
    found = served.http.get(f"/v1/jobs/{job}/results/trajectories").json()["trajectories"]
    return min((trajectory["step"] for trajectory in found), default=0)


def test_dismissal_stops_the_work_on_the_cluster_within_seconds_and_cleans_up(served: Served) -> None:
    job = served.submit("rollout", ENDLESS)
    served.wait_until(lambda: _tasks(served) > 0 and _step(served, job) > 0, 90.0)
    began = time.monotonic()
    assert served.http.delete(f"/v1/jobs/{job}").json()["status"] in ("running", "dismissed")
    assert served.finished(job, 15.0)["status"] == "dismissed"
    served.wait_until(lambda: _tasks(served) == 0, 15.0)
    assert time.monotonic() - began < 15.0
    assert not (served.root / "jobs" / job / "results").exists()
    # the workers are free for the next job, and not busy with a ghost
    assert served.finished(served.submit("fit", {"data": ["lj.zarr"], **FIT}), 90.0)["status"] == "succeeded"


def test_dismissal_of_a_waiting_job_is_immediate(served: Served) -> None:
    jobs = [served.submit("rollout", ENDLESS) for _ in range(3)]
    answer = served.http.delete(f"/v1/jobs/{jobs[2]}").json()
    assert answer["status"] == "dismissed"
    assert answer["started_at"] is None


def test_a_service_that_is_told_to_end_hands_its_rollouts_over(served: Served) -> None:
    job = served.submit("rollout", {**ENDLESS, "steps": 60_000, "every": 1000})
    served.wait_until(lambda: _step(served, job) >= 2000, 90.0)
    assert served.stop() == 0
    served.start()
    done = served.finished(job, 240.0)
    assert done["status"] == "succeeded"
    report = served.http.get(f"/v1/jobs/{job}/results").json()["report"]
    assert report["resumed"] is True
    assert done["attempts"] == 0


def test_shards_that_were_done_when_the_service_was_killed_are_not_done_again(served: Served) -> None:
    job = served.submit("fit", {"data": ["lj.zarr"], **FIT, "features": 600})
    home = served.root / "jobs" / job / "results" / ".model.fit"

    def states() -> dict[str, int]:
        try:
            return {
                path.name: path.stat().st_ino
                for path in home.glob("*/*")
                if path.name.startswith("stream-") and not path.name.endswith("basis")
            }
        except FileNotFoundError:
            return {}

    served.wait_until(lambda: len(states()) >= 3, 90.0)
    served.kill()
    before = states()
    assert len(before) >= 3
    served.start()
    later: dict[str, int] = {}

    def more() -> bool:
        nonlocal later
        found = states()
        later = found if len(found) >= len(later) else later
        return served.job(job)["status"] == "succeeded"

    served.wait_until(more, 120.0)
    assert len(later) > len(before)
    assert before.items() <= later.items()


def test_a_worker_that_dies_costs_no_attempt(served: Served) -> None:
    job = served.submit("fit", {"data": ["lj.zarr"], **FIT})
    served.wait_until(lambda: _tasks(served) > 0, 60.0)
    host = served.children("hamfit_service.clusters.hosting")[0]
    workers = [child for child in host.children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    done = served.finished(job, 120.0)
    assert (done["status"], done["attempts"]) == ("succeeded", 0)
