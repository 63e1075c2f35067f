from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import pytest

from hamfit.errors import SpecError
from hamfit_service.clusters import LocalProcesses, RunningScheduler, ThreadsOnly, choose_cluster, local


def _thread_settings() -> tuple[list[int], int, str | None]:
    import numba
    from threadpoolctl import threadpool_info

    import_module("numpy")  # loads the BLAS
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return blas, numba.config.NUMBA_NUM_THREADS, os.environ.get("OPENBLAS_NUM_THREADS")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_flags_choose_the_kind_of_cluster() -> None:
    assert choose_cluster(workers=None, threads=3, scheduler=None) == ThreadsOnly()
    assert choose_cluster(workers=2, threads=3, scheduler=None) == LocalProcesses(workers=2, threads=3)
    assert choose_cluster(workers=None, threads=3, scheduler="a") == RunningScheduler(address="a")
    with pytest.raises(SpecError, match="give one of them"):
        choose_cluster(workers=2, threads=3, scheduler="a")


@pytest.mark.parametrize(("workers", "threads"), [(0, 1), (1, 0)])
def test_a_cluster_without_workers_or_threads_is_refused(workers: int, threads: int) -> None:
    with pytest.raises(SpecError, match="needs a worker and a thread"):
        LocalProcesses(workers=workers, threads=threads)


def test_threads_only_has_no_client() -> None:
    with ThreadsOnly().connect() as client:
        assert client is None


def test_local_workers_have_one_blas_thread_and_leave_nothing_behind(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")  # what a user's shell may say
    with LocalProcesses(workers=2, threads=1).connect() as client:
        workers = client.scheduler_info()["workers"]
        assert len(workers) == 2
        assert all(address.startswith("tcp://127.0.0.1:") for address in workers)
        blas, numba_threads, variable = client.submit(_thread_settings).result()
        assert (set(blas), numba_threads, variable) == ({1}, 1, "1")
        with RunningScheduler(address=client.scheduler.address).connect() as second:
            assert second.submit(sum, [3, 5]).result() == 8
        assert client.submit(sum, [7, 11]).result() == 18  # the first outlives the second
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert list(scratch.iterdir()) == []


def test_an_error_inside_stops_the_workers_too(scratch: Path) -> None:
    with pytest.raises(ZeroDivisionError), LocalProcesses(workers=1, threads=1).connect() as client:
        client.submit(divmod, 1, 0).result()
    assert list(scratch.iterdir()) == []


def test_a_scheduler_that_does_not_answer_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "CONNECT_TIMEOUT_SECONDS", 0.5)
    adapter = RunningScheduler(address="tcp://127.0.0.1:1")
    with (
        pytest.raises(SpecError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"),
        adapter.connect(),
    ):
        pytest.fail("connected to nothing")


def test_an_address_that_is_none_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "CONNECT_TIMEOUT_SECONDS", 0.5)
    adapter = RunningScheduler(address="nonsense://x")
    with pytest.raises(SpecError, match="no Dask scheduler answers at 'nonsense://x'"), adapter.connect():
        pytest.fail("connected to nothing")


def test_a_scheduler_without_workers_is_refused() -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(SpecError, match="has no workers"),
        RunningScheduler(address=cluster.scheduler_address).connect(),
    ):
        pytest.fail("connected to a scheduler without workers")
