"""Services, schedulers, workers and runners that are killed at random moments, again and again.

Every accepted job must come to its true end, and what it made must be the same to the last bit as without any of this.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hamfit.data import Dataset
from hamfit.fitting import fit
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.rollouts import rollout
from hamfit.systems import simulate
from serving import FINAL, Served, serving

pytestmark = [
    pytest.mark.faults,
    # accuracy is not the subject here
    pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning", "ignore::hamfit.errors.RolloutWarning"),
]

KILLS = 55
SEED = 20261124
# TSQR of many columns, so that a fit takes seconds and can be hit in the middle.
FIT = {
    "cutoff": 2.5,
    "features": 400,
    "sampler": "elm",
    "input_map": "1/r",
    "taper": "none",
    "solver": "tsqr",
}
ROLLOUT = {"steps": 6000, "dt": 0.002, "every": 2000, "frames": "0,1,2,3"}
VICTIMS = ("service", "scheduler", "worker", "runner")


@pytest.fixture(scope="module")
def liquid(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("data") / "lj.zarr"
    return simulate("lj", path, shape="3x3x3", n_frames=60, every=5, melt_steps=200, seed=3)


def _theta(model: Model) -> tuple[bytes, ...]:
    return (*(theta.tobytes() for theta in model.theta), model.constants.tobytes())


def _positions(dataset: Dataset) -> list[bytes]:
    return [
        np.ascontiguousarray(trajectory.frame(index).q).tobytes()
        for trajectory in dataset.trajectories
        for index in range(trajectory.n_frames)
    ]


def _victim(served: Served, kind: str) -> psutil.Process | None:
    """A process of this kind, if there is one now."""
    assert served.process is not None
    if kind == "service":
        return psutil.Process(served.process.pid)
    if kind == "runner":
        found = served.children("hamfit_service.jobs.runner")
        return found[0] if found else None
    hosts = served.children("hamfit_service.clusters.hosting")
    if kind == "scheduler" or not hosts:
        return hosts[0] if hosts else None
    try:
        workers = [child for child in hosts[0].children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return None
    return workers[-1] if workers else None


class _Load:
    """Keeps some jobs under way, and remembers every one that was accepted."""

    def __init__(self, served: Served, liquid: Dataset) -> None:
        self.served, self.liquid = served, liquid
        self.accepted: dict[str, tuple[str, int]] = {}
        self.dismissed: set[str] = set()
        self._count = 0

    def fill(self) -> None:
        """Submit until four jobs are unfinished, with the same key as long as no answer came."""
        states = {job["id"]: job["status"] for job in self.served.http.get("/v1/jobs?limit=200").json()["jobs"]}
        unfinished = [job for job in self.accepted if states.get(job) not in FINAL]
        for _ in range(4 - len(unfinished)):
            seed = self._count % 3
            kind = ("fit", "rollout")[self._count % 2]
            inputs: dict[str, Any] = (
                {"data": [self.liquid.path.name], "seed": seed, "publish": f"lj-{seed}", **FIT}
                if kind == "fit"
                else {"model": "given.model", "initial": self.liquid.path.name, **ROLLOUT}
            )
            job = self.served.submit(kind, inputs, key=f"load-{self._count}")
            self.accepted[job] = (kind, seed)
            self._count += 1


@pytest.mark.timeout(2400)
def test_every_job_survives_kills_and_makes_the_same_bits(liquid: Dataset, tmp_path: Path) -> None:
    options = {seed: FitOptions(**FIT, seed=seed, threads=1) for seed in range(3)}
    models = {seed: fit([liquid], options=options[seed]).model for seed in range(3)}
    given = liquid.path.with_name("given.model")
    models[0].save(given)
    whole = rollout(given, liquid, out=tmp_path / "whole.zarr", threads=1, **ROLLOUT)
    draw = random.Random(SEED)
    kills: dict[str, int] = dict.fromkeys(VICTIMS, 0)
    # when a job is given up is not left to the draw: test_endings tells
    patient = {"HAMFIT_MAX_ATTEMPTS": str(KILLS + 1)}
    with serving(
        tmp_path / "root", liquid.path.parent, "--workers", "2", "--threads", "1", environment=patient
    ) as served:
        load = _Load(served, liquid)
        while sum(kills.values()) < KILLS:
            served.wait_until(lambda: load.fill() or True, 60.0)
            time.sleep(draw.uniform(0.1, 4.0))
            if sum(kills.values()) % 9 == 4 and (waiting := sorted(set(load.accepted) - load.dismissed)):
                job = waiting[-1]
                answer = served.http.delete(f"/v1/jobs/{job}")
                if answer.status_code == 200:
                    load.dismissed.add(job)
            kind = draw.choice(VICTIMS)
            victim = _victim(served, kind)
            if victim is None:
                continue
            victim.kill()
            kills[kind] += 1
            if kind == "service":
                assert served.process is not None
                served.process.wait(timeout=30.0)
                served.start()
        done = {job: served.finished(job, 600.0) for job in load.accepted}
        published = served.http.get("/v1/models?limit=200").json()["models"]
    assert min(kills.values()) >= 5
    assert {job: d["failure"] for job, d in done.items() if d["status"] == "failed"} == {}
    assert {job for job, d in done.items() if d["status"] == "dismissed"} == load.dismissed
    for job, (kind, seed) in load.accepted.items():
        results = tmp_path / "root" / "jobs" / job / "results"
        if job in load.dismissed:
            assert not results.exists()
        elif kind == "fit":
            assert _theta(Model.open(results / "model")) == _theta(models[seed])
            assert [model["job"] for model in published].count(job) == 1
        else:
            assert _positions(Dataset.open(results / "trajectories.zarr")) == _positions(whole.dataset)
        # nothing hidden is left beside what was made
        assert not results.exists() or [path.name for path in results.iterdir() if path.name.startswith(".")] == []
