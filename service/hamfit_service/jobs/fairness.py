"""Whose turn it is: owners take turns, and the jobs of one owner run in the order they were submitted."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence

from hamfit_service.jobs.job import Job


def next_to_run(
    waiting: Sequence[Job],
    running_owners: Iterable[str],
    free: int,
    per_owner: int,
    limits: Mapping[str, int] | None = None,
) -> list[Job]:
    """The jobs to begin now.

    Args:
        waiting: jobs that may run, the oldest first.
        running_owners: the owner of every running job.
        free: how many more may run.
        per_owner: how many jobs of one owner may run.
        limits: another number for some owners.

    Returns:
        At most ``free`` jobs: each time the oldest job of the owner who has the fewest running, an owner's age deciding
        between equals, so that a hundred jobs of one do not hold up the one job of another.

    """
    counts = Counter(running_owners)
    queues: dict[str, deque[Job]] = defaultdict(deque)
    for job in waiting:
        queues[job.owner].append(job)
    chosen: list[Job] = []
    while len(chosen) < free:
        able = [
            owner for owner, jobs in queues.items() if jobs and counts[owner] < (limits or {}).get(owner, per_owner)
        ]
        if not able:
            break
        owner = min(able, key=lambda owner: (counts[owner], queues[owner][0].submitted_at, queues[owner][0].id))
        chosen.append(queues[owner].popleft())
        counts[owner] += 1
    return chosen
