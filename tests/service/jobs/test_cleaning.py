"""What jobs leave behind: removed at once, and again until nothing writes any more, and never more than that."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from parts import Parts
from structlog.testing import capture_logs

from hamfit_service.jobs.cleaning import SETTLING, Cleaner
from hamfit_service.jobs.job import Failure, Job
from hamfit_service.jobs.tables import JobRow


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts.at(tmp_path)


@pytest.fixture
def cleaner(parts: Parts) -> Cleaner:
    return Cleaner(parts.store, parts.folders)


def written(parts: Parts, job: Job) -> tuple[Path, Path]:
    """A result of a job and a workspace beside it."""
    results = parts.folders.job(job.id).results
    (results / ".workspace").mkdir(parents=True, exist_ok=True)
    (results / "model").write_text("theta")
    return results / "model", results / ".workspace"


def dismissed(parts: Parts) -> Job:
    """A job that was dismissed while it ran."""
    job = parts.job(state="running")
    parts.store.ask_dismissal(job.id)
    parts.store.dismissed(job.id)
    return job


def settle(parts: Parts, job: Job) -> None:
    """Let the job's end be so long ago that nothing of it writes any more."""
    with parts.database.writing() as session:
        row = session.get(JobRow, job.id)
        assert row is not None
        row.finished_at = datetime.now(UTC) - SETTLING


def waiting(parts: Parts) -> list[str]:
    return [left.job_id for left in parts.store.uncleaned()]


def test_what_a_dismissed_job_writes_is_removed_until_nothing_writes_any_more(parts: Parts, cleaner: Cleaner) -> None:
    job = dismissed(parts)
    # what was there, and what a task that was still under way writes
    for _ in range(2):
        result, _ = written(parts, job)
        cleaner.clean()
        assert not result.parent.exists()
        assert waiting(parts) == [job.id]
    settle(parts, job)
    written(parts, job)
    cleaner.clean()
    assert not result.parent.exists()
    assert waiting(parts) == []


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_of_a_job_that_ended_by_itself_only_workspaces_go(parts: Parts, cleaner: Cleaner, state: str) -> None:
    job = parts.job(state="running")
    if state == "failed":
        parts.store.fail(job.id, Failure("user", "SpecError", "it cannot be done"))
    else:
        parts.store.succeed(job.id, {})
    # other shards of a fit that failed by one of them may go on for a while
    for _ in range(2):
        result, workspace = written(parts, job)
        cleaner.clean()
        assert result.exists()
        assert not workspace.exists()
        assert waiting(parts) == [job.id]
    settle(parts, job)
    cleaner.clean()
    assert result.exists()
    assert waiting(parts) == []


def test_a_job_that_never_ran_has_left_nothing(parts: Parts) -> None:
    job = parts.job(state="accepted")
    assert parts.store.ask_dismissal(job.id).state == "dismissed"
    assert waiting(parts) == []


def test_a_job_that_had_begun_before_it_waited_again_is_emptied(parts: Parts, cleaner: Cleaner) -> None:
    job = parts.job(state="running")
    result, _ = written(parts, job)
    parts.store.requeue(job.id, kind="handover", message="the service ends")
    assert parts.store.ask_dismissal(job.id).state == "dismissed"
    cleaner.clean()
    assert not result.exists()


def test_what_the_disk_refuses_stays_for_the_next_time_and_holds_up_no_other(
    parts: Parts, cleaner: Cleaner, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [dismissed(parts), dismissed(parts)]
    results = [written(parts, job)[0] for job in jobs]
    for job in jobs:
        settle(parts, job)
    unlink = os.unlink

    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        if dir_fd is not None and jobs[0].id in os.readlink(f"/proc/self/fd/{dir_fd}"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as patch, capture_logs() as told:
        # as root, under which tests may run, nothing but a mount refuses
        patch.setattr(os, "unlink", refuse)
        cleaner.clean()
        cleaner.clean()
    assert [result.exists() for result in results] == [True, False]
    assert waiting(parts) == [jobs[0].id]
    assert [line["job"] for line in told] == [jobs[0].id]
    cleaner.clean()
    assert not results[0].exists()
    assert waiting(parts) == []
