"""JobStore keeps its word on both databases: one set of tests, each run on SQLite and on Postgres."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import update

from hamfit.errors import HamfitError, SpecError
from hamfit_service.jobs.database import Database, DatabaseAway
from hamfit_service.jobs.job import TRANSITIONS, Failure, Job, JobEvent, JobProgress, State
from hamfit_service.jobs.rows import JobNotFound, WrongState
from hamfit_service.jobs.store import JobStore, KeyReused, QueueFull, Submission
from hamfit_service.jobs.tables import JobRow

FAILURE = Failure("system", "ClusterError", "the workers were lost")


@pytest.fixture
def store(database: Database) -> JobStore:
    return JobStore(database, queued_jobs_per_owner=50)


def asked(key: str | None = None, owner: str = "ada", **inputs: object) -> Submission:
    return Submission("fit", {"data": ["a.zarr"], **inputs}, owner, idempotency_key=key)


def submitted(store: JobStore, **more: Any) -> Job:
    return store.submit(asked(**more))[0]


@dataclass(frozen=True)
class Move:
    """A call that brings a job to a state."""

    to: State
    call: Callable[[JobStore, str], object]


MOVES = {
    "claim": Move("running", lambda store, job: store.claim(job)),
    "requeue": Move("accepted", lambda store, job: store.requeue(job, kind="retry", message="again")),
    "succeed": Move("succeeded", lambda store, job: store.succeed(job, {"rank": 3})),
    "fail": Move("failed", lambda store, job: store.fail(job, FAILURE)),
    "dismissed": Move("dismissed", lambda store, job: store.dismissed(job)),
}
PATHS: dict[State, list[str]] = {
    "accepted": [],
    "running": ["claim"],
    "succeeded": ["claim", "succeed"],
    "failed": ["claim", "fail"],
    "dismissed": ["claim", "dismissed"],
}


@pytest.mark.parametrize(("state", "name"), list(itertools.product(PATHS, MOVES)))
def test_only_the_table_of_transitions_moves_a_job(store: JobStore, state: State, name: str) -> None:
    job = submitted(store)
    for step in PATHS[state]:
        MOVES[step].call(store, job.id)
    before, events = store.get(job.id), store.events(job.id)
    assert before.state == state
    if MOVES[name].to in TRANSITIONS[state]:
        MOVES[name].call(store, job.id)
        assert store.get(job.id).state == MOVES[name].to
        assert store.events(job.id)[-1].data["state"] == MOVES[name].to
    else:
        with pytest.raises(WrongState, match=job.id):
            MOVES[name].call(store, job.id)
        # neither state nor progress, attempts, failure, nor an event
        assert (store.get(job.id), store.events(job.id)) == (before, events)


def test_what_was_kept_comes_back_as_it_was(store: JobStore) -> None:
    inputs = {"data": ["ä/µ.zarr"], "cutoff": 2.5000000000000004, "steps": 2**60, "none": None, "deep": {"a": [1, {}]}}
    job, replayed = store.submit(Submission("fit", inputs, "ada@example", request={"data": ["x"]}))
    assert not replayed
    later = datetime.now(UTC) + timedelta(days=1)
    store.claim(job.id)
    store.requeue(job.id, kind="retry", message="later", failure=FAILURE, not_before=later)
    found = store.get(job.id)
    assert (dict(found.inputs), found.owner) == (inputs, "ada@example")
    assert (found.attempts, found.failure, found.not_before) == (1, FAILURE, later)
    assert found.submitted_at == job.submitted_at
    assert found.submitted_at.tzinfo is not None


def test_only_failures_in_a_row_without_progress_add_up(store: JobStore) -> None:
    job = submitted(store)

    def fail_at(percent: float, *, counts: bool = True) -> tuple[int, int]:
        store.claim(job.id)
        store.report(job.id, JobProgress("assembling", percent))
        found = store.requeue(job.id, kind="retry", message="again", counts=counts)
        return found.attempts, found.stalls

    assert [fail_at(0.0), fail_at(0.4)] == [(1, 1), (2, 2)]
    # a lost cluster says nothing about the job
    assert fail_at(0.4, counts=False) == (2, 2)
    assert [fail_at(12.0), fail_at(12.9), fail_at(12.9)] == [(3, 1), (4, 2), (5, 3)]
    # small steps count together once they amount to something
    assert fail_at(13.1) == (6, 1)


def test_a_job_that_is_not_there_is_named(store: JobStore) -> None:
    for call in (store.get, store.claim, store.ask_dismissal, store.events, lambda job: store.page(after=job)):
        with pytest.raises(JobNotFound, match="there is no job 0123"):
            call("0123")


def test_one_key_makes_one_job_however_many_ask_at_once(store: JobStore) -> None:
    together = Barrier(16)

    def ask(_: int) -> tuple[Job, bool]:
        together.wait()
        return store.submit(asked(key="k"))

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    assert len({job.id for job, _ in answers}) == 1
    assert [replayed for _, replayed in answers].count(False) == 1
    assert len(store.page().jobs) == 1


def test_a_key_belongs_to_its_owner_and_its_request(store: JobStore) -> None:
    first = submitted(store, key="k")
    assert store.submit(asked(key="k", owner="bob"))[0].id != first.id
    with pytest.raises(KeyReused, match=first.id):
        store.submit(asked(key="k", cutoff=3.0))
    with pytest.raises(KeyReused):
        store.submit(Submission("rollout", {"data": ["a.zarr"]}, "ada", idempotency_key="k"))


def test_the_queue_limit_holds_under_concurrent_requests(store: JobStore) -> None:
    together = Barrier(16)

    def ask(number: int) -> bool:
        together.wait()
        try:
            store.submit(asked(key=str(number)), limit=5)
        except QueueFull:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(ask, range(16)))
    assert taken.count(True) == 5
    assert len(store.page().jobs) == 5


def test_the_queue_limit_is_of_one_owner_and_of_unfinished_jobs(store: JobStore) -> None:
    first = submitted(store)
    with pytest.raises(QueueFull, match="ada has 1 unfinished job"):
        store.submit(asked(), limit=1)
    assert store.submit(asked(owner="bob"), limit=1)
    store.claim(first.id)
    with pytest.raises(QueueFull):
        store.submit(asked(), limit=1)
    store.succeed(first.id, {})
    assert store.submit(asked(), limit=1)


def test_of_a_dismissal_and_a_beginning_at_once_the_second_sees_the_first(store: JobStore) -> None:
    for _ in range(20):
        job = submitted(store)
        together = Barrier(2)

        def race(call: Callable[[str], Job], job: Job = job, together: Barrier = together) -> Job | None:
            together.wait()
            try:
                return call(job.id)
            except WrongState:
                return None

        with ThreadPoolExecutor(2) as pool:
            claimed, dismissed = pool.map(race, [store.claim, store.ask_dismissal])
        now = store.get(job.id)
        assert dismissed is not None
        # a runner was promised exactly when the job runs, and then it is known that it should stop
        assert now.state == ("dismissed" if claimed is None else "running")
        assert now.target == "dismiss"
        store.dismissed(job.id) if now.state == "running" else None


def test_of_a_success_and_a_dismissal_at_once_one_counts(store: JobStore) -> None:
    for _ in range(20):
        job = submitted(store)
        store.claim(job.id)
        together = Barrier(2)

        def succeed(job: Job = job, together: Barrier = together) -> None:
            together.wait()
            store.succeed(job.id, {})

        def dismiss(job: Job = job, together: Barrier = together) -> bool:
            together.wait()
            try:
                return store.ask_dismissal(job.id).state == "running"
            except WrongState:
                return False

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.submit(succeed), pool.submit(dismiss)
            first.result()
            was_in_time = second.result()
        assert store.get(job.id).state == ("dismissed" if was_in_time else "succeeded")


def test_pages_hold_every_job_once_the_newest_first(store: JobStore) -> None:
    made = [submitted(store, owner=("ada", "bob")[n % 2]).id for n in range(13)]
    found: list[str] = []
    after: str | None = None
    while True:
        page = store.page(limit=5, after=after)
        found += [job.id for job in page.jobs]
        # what comes in meanwhile does not shift the pages
        submitted(store)
        if page.next is None:
            break
        after = page.next
    assert found == made[::-1]
    assert [job.id for job in store.page(owner="bob").jobs] == made[1::2][::-1]
    store.claim(made[3])
    assert [job.id for job in store.page(states=["running", "failed"]).jobs] == [made[3]]
    assert store.page(process="rollout").jobs == []


def test_a_page_that_ends_with_the_last_job_says_so(store: JobStore) -> None:
    for _ in range(3):
        submitted(store)
    assert store.page(limit=3).next is None
    assert store.page(limit=2).next is not None


def test_events_can_be_read_from_any_point_on(store: JobStore) -> None:
    job = submitted(store)
    store.claim(job.id)
    store.report(job.id, JobProgress("features", 10.0))
    store.report(job.id, JobProgress("features", 20.0))
    store.report(job.id, JobProgress("solving", 30.0))
    store.succeed(job.id, {})
    events = store.events(job.id)
    assert [event.kind for event in events] == ["state", "state", "phase", "phase", "state"]
    numbers = [event.sequence for event in events]
    assert numbers == sorted(set(numbers))
    assert store.events(job.id, after=numbers[2]) == events[3:]
    assert store.events(job.id, limit=2) == events[:2]


def test_listeners_hear_of_what_is_on_disk_already(store: JobStore, database: Database) -> None:
    heard: list[tuple[str | None, str]] = []
    other = JobStore(database)

    def listen(event: JobEvent | None, job: Job) -> None:
        heard.append((None if event is None else event.kind, other.get(job.id).state))

    store.listen(listen)
    job = submitted(store)
    store.claim(job.id)
    store.report(job.id, JobProgress("provisioning", 1.0))
    store.fail(job.id, FAILURE)
    assert heard == [("state", "accepted"), ("state", "running"), (None, "running"), ("state", "failed")]


def test_jobs_wait_for_their_time_and_leave_the_queue_when_dismissed(store: JobStore) -> None:
    first, second, third = (submitted(store) for _ in range(3))
    assert [job.id for job in store.runnable()] == [first.id, second.id, third.id]
    store.claim(first.id)
    store.requeue(first.id, kind="retry", message="later", not_before=datetime.now(UTC) + timedelta(hours=1))
    assert store.ask_dismissal(second.id).state == "dismissed"
    assert [job.id for job in store.runnable()] == [third.id]
    store.claim(third.id)
    assert [job.id for job in store.reclaim()] == [third.id]
    assert store.ask_dismissal(third.id).state == "running"
    assert [job.id for job in store.to_dismiss()] == [third.id]
    store.dismissed(third.id)
    # the second never ran, so there is nothing of it
    assert [(left.job_id, left.state) for left in store.uncleaned()] == [(third.id, "dismissed")]
    store.cleaned(third.id)
    assert list(store.uncleaned()) == []
    assert store.counts() == {"accepted": 1, "dismissed": 2}


def test_what_is_written_with_a_success_fails_with_it(store: JobStore) -> None:
    job = submitted(store)
    store.claim(job.id)

    def refuse(session: object, now: datetime) -> None:
        raise SpecError("the name is taken")

    with pytest.raises(SpecError, match="the name is taken"):
        store.succeed(job.id, {}, refuse)
    assert store.get(job.id).state == "running"


@pytest.mark.parametrize("text", ["a\0b", "a" * 300], ids=["nul", "long"])
def test_text_that_one_database_cannot_keep_is_refused_or_kept_but_never_breaks(store: JobStore, text: str) -> None:
    with pytest.raises(HamfitError):
        store.get(text)
    try:
        job, _ = store.submit(asked(key=text))
    except SpecError:
        assert store.page().jobs == []
    else:
        assert store.submit(asked(key=text)) == (job, True)


def test_nul_within_what_was_told_is_kept(store: JobStore) -> None:
    job = submitted(store, title="a\0b")
    store.claim(job.id)
    store.report(job.id, JobProgress("features", 1.0, message="a\0b"))
    store.fail(job.id, Failure("user", "DataError", "a\0b"))
    found = store.get(job.id)
    assert found.failure is not None
    assert (found.failure.message, found.inputs["title"]) == ("a\0b", "a\0b")
    assert store.events(job.id)[-1].data["message"] == "a\0b"


def test_what_is_written_where_one_only_reads_is_not_kept(store: JobStore, database: Database) -> None:
    job = submitted(store)
    with suppress(DatabaseAway), database.reading() as connection:
        connection.execute(update(JobRow).values(owner="eve"))
    assert store.get(job.id).owner == job.owner
