"""A fit on workers that fails leaves nothing at work: no task on the cluster, and no workspace that comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from hamfit.data import Dataset
from hamfit.errors import GraphError
from hamfit.fitting import fit
from hamfit.options import FitOptions
from hamfit.progress import Event
from hamfit.tasks import cluster
from worlds import liquids, write

pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")

#: Twenty shards and more, and no sample of rows, which would meet the bad frame in the first tasks.
OPTIONS = FitOptions(cutoff=1.75, features=24, groups=20, solver="tsqr", threads=1)
#: None of those that the survey looks at, which are 45 of the 60.
BAD = 10
SECONDS = 0.7


def slow_down() -> None:
    """Runs on a worker: every good shard takes a while, and its state is kept at the end of it."""
    from hamfit.fitting import stage

    reduce_shard = stage.reduce_shard

    def slowly(*arguments: Any) -> Any:
        state = reduce_shard(*arguments)
        time.sleep(SECONDS)
        return state

    stage.reduce_shard = slowly


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    scratch = str(tmp_path_factory.mktemp("scratch"))
    how = {"dashboard_address": "127.0.0.1:0", "local_directory": scratch, "silence_logs": 40, "memory_limit": 0}
    with LocalCluster(n_workers=2, threads_per_worker=2, **how) as cluster, Client(cluster) as client:
        client.run(slow_down)
        yield client


def dataset(path: Path, bad: int | None = None) -> Dataset:
    frames = liquids(1, 60)
    if bad is not None:
        q = frames[bad].q.copy()
        q[3] = q[11]
        frames[bad] = replace(frames[bad], q=q)
    return write(path, [frames])


def assert_forgotten(client: Client) -> None:
    """The scheduler knows of none of our tasks, as soon as it has been told."""

    def keys(dask_scheduler: Any) -> list[str]:
        return [str(key) for key in dask_scheduler.tasks]

    deadline = time.monotonic() + 1.0
    while ours := [key for key in client.run_on_scheduler(keys) if "hamfit" in key]:
        assert time.monotonic() < deadline, ours


def hidden(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".m.fit")]


@pytest.mark.parametrize("patience", [10.0, 0.0], ids=["waited for", "running on"])
def test_a_bad_frame_among_good_ones_ends_the_tasks_and_no_workspace_comes_back(
    patience: float, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_PARTING_SECONDS", patience)
    data = dataset(tmp_path / "a.zarr", BAD)
    with pytest.raises(GraphError, match=rf"frame {BAD}: particles 3 and 11 are at the same place") as kept:
        fit(data, options=OPTIONS, client=client, out=tmp_path / "m")
    assert_forgotten(client)
    assert patience == 0.0 or not any(client.call_stack().values())
    for _ in range(20):
        assert hidden(tmp_path) == []
        time.sleep(0.1)
    assert not any(client.call_stack().values())
    del kept


class Stop:
    """A listener that raises when some shards are done."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, event: Event, /) -> None:
        if event.phase == "features" and event.done == 2:
            raise self.error


@pytest.mark.parametrize("patience", [10.0, 0.0], ids=["waited for", "running on"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("failed")], ids=["Ctrl-C", "listener"])
def test_an_interrupted_fit_leaves_its_workspace_as_it_is(
    error: BaseException, patience: float, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_PARTING_SECONDS", patience)
    data = dataset(tmp_path / "a.zarr")
    with pytest.raises(type(error)):
        fit(data, options=OPTIONS, client=client, out=tmp_path / "m", progress=Stop(error))
    before = states(tmp_path)
    # four shards run at a time; those that did then have kept theirs, if they were waited for
    assert len(before) >= (6 if patience else 2)
    assert_forgotten(client)
    time.sleep(3 * SECONDS)
    assert states(tmp_path) == before
    assert not any(client.call_stack().values())


def test_what_an_interrupted_fit_kept_is_taken_up(client: Client, tmp_path: Path) -> None:
    data = dataset(tmp_path / "a.zarr")
    with pytest.raises(KeyboardInterrupt):
        fit(data, options=OPTIONS, client=client, out=tmp_path / "m", progress=Stop(KeyboardInterrupt()))
    kept = states(tmp_path)
    seen: list[dict[str, float]] = []
    fit(data, options=OPTIONS, client=client, out=tmp_path / "m", progress=lambda event: seen.append(states(tmp_path)))
    last = [found for found in seen if found][-1]
    assert {name: last[name] for name in kept} == kept
    assert hidden(tmp_path) == []


def states(folder: Path) -> dict[str, float]:
    """When each state was put into its place."""
    home = next(iter((folder / ".m.fit").glob("*/")), folder)
    return {entry.name: entry.stat().st_mtime for entry in home.glob("stream-0*")}
