"""What is seen to beside the jobs: a disk that takes nothing holds them back, and is not asked at every request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest
from parts import Parts

from hamfit.errors import DiskError
from hamfit_service.clusters.host import ClusterHost
from hamfit_service.jobs import housekeeping
from hamfit_service.jobs.endings import Endings
from hamfit_service.jobs.folders import Folders
from hamfit_service.jobs.housekeeping import Housekeeping
from hamfit_service.jobs.job import Failure
from hamfit_service.settings import Settings


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts.at(tmp_path)


def keeper(parts: Parts, **settings: object) -> Housekeeping:
    # a failure is recorded without a look at the cluster
    endings = Endings(parts.store, parts.registry, parts.folders, parts.confinement, cast(ClusterHost, None), 3)
    found = Settings(root=parts.folders.root, **settings)
    return Housekeeping(found, parts.store, parts.folders, parts.confinement, endings)


def test_the_disk_is_tried_once_a_second_however_often_there_is_work(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    check = Folders.check
    monkeypatch.setattr(Folders, "check", lambda self, least: tried.append(least) or check(self, least))
    house = keeper(parts)

    async def work() -> None:
        for _ in range(50):
            await house.look()
        await house.stop(5.0)

    asyncio.run(work())
    assert len(tried) == 1
    assert house.storage_problem is None


def test_a_disk_that_is_full_is_told_and_forgotten_once_there_is_room(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_EVERY_SECONDS", 0.0)
    house = keeper(parts, min_free_bytes=2**60)
    asyncio.run(house.look())
    assert house.storage_problem is not None
    assert "bytes left" in house.storage_problem
    assert str(parts.folders.root) not in house.storage_problem
    house._settings = Settings(root=parts.folders.root, min_free_bytes=0)
    asyncio.run(house.look())
    assert house.storage_problem is None


def test_only_jobs_that_failed_on_the_full_disk_are_let_go_and_only_in_the_end(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_EVERY_SECONDS", 0.0)
    house = keeper(parts, min_free_bytes=2**60)
    full, other = parts.job(state="running"), parts.job(state="accepted")
    failure = Failure("system", DiskError.__name__, "the disk is full")
    parts.store.requeue(full.id, kind="retry", message="waits for room", failure=failure)
    asyncio.run(house.look())
    assert parts.store.get(full.id).state == "accepted"
    monkeypatch.setattr(housekeeping, "_STORAGE_PATIENCE_SECONDS", 0.0)
    asyncio.run(house.look())
    assert parts.store.get(full.id).state == "failed"
    assert parts.store.get(other.id).state == "accepted"


def test_what_ended_jobs_left_is_removed_beside_the_rest(parts: Parts) -> None:
    job = parts.job()
    workspace = parts.folders.job(job.id).results / ".model.fit"
    workspace.mkdir()
    house = keeper(parts)

    async def work() -> None:
        await house.look()
        await house.stop(10.0)

    asyncio.run(work())
    assert not workspace.exists()
