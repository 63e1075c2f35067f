"""Fits and rollouts take the client that they are given, the default one or not, and say what is wrong with it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster, default_client

from hamfit.data import Dataset
from hamfit.errors import ClusterError
from hamfit.fitting import FitResult, fit
from hamfit.options import FitOptions
from hamfit.progress import Event
from hamfit.rollouts import rollout
from worlds import liquids, write

pytestmark = [
    pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning"),
    pytest.mark.filterwarnings("ignore::hamfit.errors.RolloutWarning"),
]

Work = Callable[..., Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    how = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**how) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("data") / "a.zarr", [liquids(1, 8, n_species=2)])


@pytest.fixture(params=["fit", "rollout"])
def work(request: pytest.FixtureRequest, data: Dataset, binary_fit: FitResult, tmp_path: Path) -> Work:
    """A fit or a rollout, which lacks nothing but a client."""
    if request.param == "fit":
        options = FitOptions(cutoff=1.75, features=24, threads=1)
        return lambda **how: fit(data, options=options, out=tmp_path / "out", **how)
    given = {"steps": 400, "dt": 0.001, "every": 10, "frames": "0,1,2", "threads": 1}
    return lambda **how: rollout(binary_fit.model, data, out=tmp_path / "out", **given, **how)


def test_a_client_that_is_not_the_default_one_is_used(work: Work, cluster: LocalCluster, tmp_path: Path) -> None:
    with Client(cluster, set_as_default=False) as client:
        with pytest.raises(ValueError):
            default_client()
        work(client=client)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_closed_client_is_refused_before_anything_is_written(
    work: Work, cluster: LocalCluster, tmp_path: Path
) -> None:
    client = Client(cluster, set_as_default=False)
    client.close()
    with pytest.raises(ClusterError, match=r"^the client of the cluster is closed: connect another one and repeat the"):
        work(client=client)
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_is_closed_meanwhile_ends_the_work(work: Work, cluster: LocalCluster) -> None:
    client = Client(cluster, set_as_default=False)

    def close(event: Event, /) -> None:
        if event.phase in ("features", "rollout") and event.total:
            client.close()

    began = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        work(client=client, progress=close)
    assert "\n" not in str(caught.value)
    assert "repeat the" in str(caught.value)
    assert time.monotonic() - began < 30.0


def test_a_client_that_answers_with_coroutines_is_refused(work: Work, cluster: LocalCluster) -> None:
    async def attempt() -> None:
        async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
            with pytest.raises(ClusterError, match=r"give the .* one without asynchronous=True"):
                work(client=client)

    asyncio.run(attempt())


def test_a_listener_that_raises_ends_the_tasks(work: Work, cluster: LocalCluster) -> None:
    told = []

    def raising(event: Event, /) -> None:
        if event.phase in ("features", "rollout"):
            told.append(event)
            # the first is told before anything is given out
            if len(told) == 2:
                raise RuntimeError("the listener failed")

    def keys(dask_scheduler: Any) -> list[str]:
        return [str(key) for key in dask_scheduler.tasks]

    with Client(cluster, set_as_default=False) as client:
        with pytest.raises(RuntimeError, match="the listener failed") as kept:
            work(client=client, progress=raising)
        deadline = time.monotonic() + 2.0
        while ours := [key for key in client.run_on_scheduler(keys) if key.startswith("hamfit")]:
            assert time.monotonic() < deadline, ours
        del kept


def test_tasks_of_other_clients_are_left_alone(work: Work, cluster: LocalCluster) -> None:
    with Client(cluster, set_as_default=False) as other, Client(cluster, set_as_default=False) as client:
        kept = other.submit(sum, [1, 2, 4], pure=False)
        work(client=client)
        assert kept.result() == 7
