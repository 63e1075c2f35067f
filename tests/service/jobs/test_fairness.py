"""Whose turn it is: nobody is starved, nobody exceeds a limit, and one owner's jobs keep their order."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hamfit_service.jobs.fairness import next_to_run
from hamfit_service.jobs.job import QUEUED, Job

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(number: int, owner: str) -> Job:
    at = NOON + timedelta(seconds=number)
    return Job(
        id=f"{number:016x}",
        process="fit",
        owner=owner,
        inputs={},
        state="accepted",
        target="run",
        progress=QUEUED,
        attempts=0,
        stalls=0,
        stalled_at=0.0,
        not_before=None,
        failure=None,
        result=None,
        submitted_at=at,
        started_at=None,
        finished_at=None,
        updated_at=at,
    )


def test_one_job_of_another_overtakes_the_hundred_of_the_first() -> None:
    waiting = [*(job(number, "ann") for number in range(100)), job(100, "bob")]
    assert [chosen.owner for chosen in next_to_run(waiting, ["ann"], 1, 2)] == ["bob"]


def test_a_limit_for_one_owner_wins_over_the_common_one() -> None:
    waiting = [job(number, "ann") for number in range(5)]
    assert len(next_to_run(waiting, [], 5, 2, {"ann": 3})) == 3


owners = st.sampled_from(["ann", "bob", "cy"])


@given(st.lists(owners, max_size=20), st.lists(owners, max_size=6), st.integers(0, 6), st.integers(1, 4))
def test_what_is_chosen_keeps_every_limit_and_leaves_no_room_unused(
    waiting_owners: list[str], running: list[str], free: int, per_owner: int
) -> None:
    waiting = [job(number, owner) for number, owner in enumerate(waiting_owners)]
    chosen = next_to_run(waiting, running, free, per_owner)
    counts = Counter(running) + Counter(each.owner for each in chosen)
    assert len(chosen) <= free
    for owner in set(waiting_owners):
        mine = [each for each in chosen if each.owner == owner]
        assert mine == [each for each in waiting if each.owner == owner][: len(mine)]
        assert not mine or counts[owner] <= per_owner
        left = len([each for each in waiting if each.owner == owner]) - len(mine)
        assert left == 0 or len(chosen) == free or counts[owner] >= per_owner
