"""How attempts end: which jobs are tried again and how often, and what becomes of a model that cannot be published."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from parts import Parts

from hamfit_service.clusters.host import ClusterHost
from hamfit_service.jobs.endings import Attempt, Endings
from hamfit_service.jobs.job import Job, JobProgress

KILLED = Attempt(outcome=None, exit_code=-9, stopped_for=None, generation=1)
MAX_ATTEMPTS = 3


@dataclass
class _Cluster:
    """A cluster that stays."""

    generation: int = 1


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts.at(tmp_path)


@pytest.fixture
def endings(parts: Parts) -> Endings:
    cluster = cast(ClusterHost, _Cluster())
    return Endings(parts.store, parts.registry, parts.folders, parts.confinement, cluster, MAX_ATTEMPTS)


def killed_at(parts: Parts, endings: Endings, job: Job, percent: float) -> Job:
    """The job after one more attempt, whose runner was killed when it had come so far."""
    if parts.store.get(job.id).state == "accepted":
        parts.store.claim(job.id)
    parts.store.report(job.id, JobProgress("assembling", percent))
    asyncio.run(endings.of_attempt(job.id, KILLED))
    return parts.store.get(job.id)


def test_a_job_whose_process_dies_again_and_again_at_one_place_is_given_up(parts: Parts, endings: Endings) -> None:
    job = parts.job(state="running")
    assert [killed_at(parts, endings, job, 40.0).state for _ in range(MAX_ATTEMPTS - 1)] == ["accepted", "accepted"]
    end = killed_at(parts, endings, job, 40.0)
    assert end.state == "failed"
    assert end.failure is not None
    assert (end.failure.kind, end.failure.type) == ("system", "RunnerLost")


def test_a_job_that_gets_on_between_failures_is_never_given_up(parts: Parts, endings: Endings) -> None:
    job = parts.job(state="running")
    for percent in range(0, 100, 5):
        found = killed_at(parts, endings, job, float(percent))
        assert found.state == "accepted"
        assert found.not_before is not None
        # and the pause does not grow
        assert (found.not_before - found.updated_at).total_seconds() < 2.5
    assert found.attempts == 20


def test_a_fit_whose_model_cannot_be_published_fails_and_says_that_it_was_fitted(
    parts: Parts, endings: Endings
) -> None:
    job = parts.job(state="running", inputs={"publish": "liquid"})
    # its results hold no model
    outcome = {"status": "succeeded", "attempt": 1, "report": {}}
    asyncio.run(endings.of_attempt(job.id, Attempt(outcome, 0, None, 1)))
    end = parts.store.get(job.id)
    assert end.state == "failed"
    assert end.failure is not None
    assert end.failure.message.startswith("the model was fitted but cannot be published: ")
    assert str(parts.folders.root) not in end.failure.message
