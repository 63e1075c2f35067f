"""When the reconciler looks at the jobs: at once when one may begin, and not when none can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from parts import Parts

from hamfit_service.clusters.host import ClusterHost
from hamfit_service.jobs import supervisor as module
from hamfit_service.jobs.endings import Endings
from hamfit_service.jobs.store import JobStore
from hamfit_service.jobs.supervisor import Supervisor
from hamfit_service.settings import Settings


@dataclass
class _Cluster:
    """A cluster that has not come up yet."""

    generation: int = 1
    address: str | None = None


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts.at(tmp_path)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each look at the jobs."""
    # only what wakes the reconciler makes it look
    monkeypatch.setattr(module, "_LOOK_SECONDS", 60.0)
    found: list[None] = []
    to_dismiss = JobStore.to_dismiss

    def counted(store: JobStore) -> Any:
        found.append(None)
        return to_dismiss(store)

    monkeypatch.setattr(JobStore, "to_dismiss", counted)
    return found


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20.0):
        while not true():
            await asyncio.sleep(0.01)


def test_an_accepted_job_is_looked_at_now_unless_every_place_is_taken(parts: Parts, looks: list[None]) -> None:
    cluster = cast(ClusterHost, _Cluster())
    settings = Settings(root=parts.folders.root, running_jobs=1)
    endings = Endings(parts.store, parts.registry, parts.folders, parts.confinement, cluster, 3)
    supervisor = Supervisor(
        settings, parts.store, parts.folders, parts.confinement, cluster, endings, parts.tokens.running_limits
    )

    async def work() -> None:
        await supervisor.start()
        await until(lambda: len(looks) == 1)
        supervisor.accepted()
        await until(lambda: len(looks) == 2)
        supervisor._running["0123456789abcdef"] = cast(Any, None)
        supervisor.accepted()
        await asyncio.sleep(0.3)
        assert len(looks) == 2
        del supervisor._running["0123456789abcdef"]
        supervisor.wake()
        await until(lambda: len(looks) == 3)
        await supervisor.stop()

    asyncio.run(work())
