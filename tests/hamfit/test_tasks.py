"""Tasks on threads and on a cluster: a bounded number in flight, whatever the number of tasks, and none left behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from distributed import Client, LocalCluster

from hamfit.errors import DataError, TaskError
from hamfit.tasks import ClusterTasks, Task, ThreadTasks

THREADS = 2


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    how = {"n_workers": 1, "threads_per_worker": THREADS, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**how) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


Pool = ThreadTasks[int] | ClusterTasks[int]


@pytest.fixture(params=["threads", "cluster"])
def pool(request: pytest.FixtureRequest, client: Client) -> Callable[[], Pool]:
    return lambda: ThreadTasks(THREADS) if request.param == "threads" else ClusterTasks(client, "fit")


def square(k: int) -> int:
    return k * k


def tasks(function: Callable[[int], Any], n: int, given: list[int]) -> Iterator[Task[int]]:
    for k in range(n):
        given.append(k)
        yield Task(k, "square", str(k), function, (k,))


def test_every_task_gives_its_own_result_and_few_are_in_flight(pool: Callable[[], Pool]) -> None:
    given: list[int] = []
    found = {}
    with pool() as running:
        for k, result in running.results(tasks(square, 40, given)):
            found[k] = result
            # what runs and what waits, and the one that is told
            assert len(given) - len(found) <= 2 * THREADS
    assert found == {k: k * k for k in range(40)}


def test_no_task_is_no_work(pool: Callable[[], Pool]) -> None:
    with pool() as running:
        assert list(running.results(iter(()))) == []


def refusing(k: int) -> int:
    if k == 5:
        raise DataError("number 5 is bad: take another")
    return k


def test_an_error_of_ours_ends_it_and_the_rest_is_never_given_out(pool: Callable[[], Pool]) -> None:
    given: list[int] = []
    with pytest.raises(DataError, match="number 5 is bad"), pool() as running:
        list(running.results(tasks(refusing, 1000, given)))
    assert len(given) < 500


def failing(k: int) -> int:
    raise ZeroDivisionError(k)


def test_another_error_on_a_worker_is_told_as_a_failed_task(client: Client) -> None:
    with pytest.raises(TaskError, match=r"a worker failed \(ZeroDivisionError: 0\)"), ClusterTasks[int](
        client, "fit"
    ) as running:
        list(running.results(tasks(failing, 1, [])))


def test_tasks_given_out_meanwhile_are_told_too(client: Client) -> None:
    with ClusterTasks[int](client, "fit") as running:
        found = []
        for k, result in running.results(tasks(square, 3, [])):
            found.append(result)
            if k < 3:
                running.submit(Task(k + 3, "square", str(k + 3), square, (k + 3,)))
    assert sorted(found) == [0, 1, 4, 9, 16, 25]


def test_results_that_stay_on_workers_are_told_as_futures_and_do_not_outlive_the_block(client: Client) -> None:
    with ClusterTasks[int](client, "fit", gather=False) as running:
        futures = dict(running.results(tasks(square, 5, [])))
        assert running.gather(futures) == {k: k * k for k in range(5)}
    assert {future.status for future in futures.values()} == {"cancelled"}


BEGUN: list[int] = []
ENDED: list[int] = []


def slow(k: int) -> None:
    BEGUN.append(k)
    time.sleep(1.0)
    ENDED.append(k)


def interrupted(client: Client) -> None:
    with ClusterTasks[int](client, "fit") as running:
        for k in range(4):
            running.submit(Task(k, "slow", str(k), slow, (k,)))
        while len(BEGUN) < THREADS:
            time.sleep(0.01)
        raise KeyboardInterrupt


def test_tasks_that_run_are_waited_for_and_those_that_wait_are_not_begun(client: Client) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(client)
    assert sorted(ENDED) == sorted(BEGUN) == [0, 1]
