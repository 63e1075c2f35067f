from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from hamfit.errors import ClusterError, SpecError
from hamfit_service.clusters import LocalGpus, LocalProcesses, RunningScheduler, ThreadsOnly, choose_cluster, connection


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
    assert choose_cluster(workers=None, threads=None, scheduler=None, cluster="local-cuda") == LocalGpus()
    assert choose_cluster(workers=2, threads=3, scheduler=None, cluster="local-cuda") == LocalGpus(2, 3)
    started = choose_cluster(workers=None, threads=None, scheduler=None, cluster="local")
    assert isinstance(started, LocalProcesses)
    assert started.workers >= 1
    for given in ({"workers": 2}, {"workers": None, "cluster": "local-cuda"}):
        with pytest.raises(SpecError, match="give one of them"):
            choose_cluster(**given, threads=3, scheduler="a")


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
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.5)
    adapter = RunningScheduler(address="tcp://127.0.0.1:1")
    with (
        pytest.raises(ClusterError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"),
        adapter.connect(),
    ):
        pytest.fail("connected to nothing")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense://x", "write tls://HOST:PORT, or tcp://127.0.0.1:PORT"),
        ("tcp://10.1.2.3:8786", "anybody who reaches it could run programs there; .* DASK_DISTRIBUTED__COMM__TLS"),
        ("tls://dask.example:8786", "needs certificates; give DASK_DISTRIBUTED__COMM__TLS__CA_FILE"),
    ],
)
def test_an_address_that_cannot_or_must_not_be_used_is_named_with_the_remedy(address: str, message: str) -> None:
    with pytest.raises(SpecError, match=message), RunningScheduler(address=address).connect():
        pytest.fail("connected to it")


def test_a_scheduler_without_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(connection, "WORKERS_SECONDS", 0.5)
    with (
        LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(ClusterError, match="has no workers"),
        RunningScheduler(address=cluster.scheduler_address).connect(),
    ):
        pytest.fail("connected to a scheduler without workers")


def test_certificates_of_dask_s_own_configuration_are_used(tmp_path: Path) -> None:
    import dask
    from distributed import LocalCluster, Security

    script = Path(__file__).parents[2] / "deploy" / "certificates"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, stdout=subprocess.DEVNULL)
    of_scheduler = Security(
        tls_ca_file=str(tmp_path / "ca.pem"),
        require_encryption=True,
        **{
            f"tls_{role}_{part}": str(tmp_path / f"{name}.{end}")
            for role, name in (("scheduler", "scheduler"), ("worker", "worker"), ("client", "service"))
            for part, end in (("cert", "pem"), ("key", "key"))
        },
    )
    of_client = {
        "distributed.comm.tls.ca-file": str(tmp_path / "ca.pem"),
        "distributed.comm.tls.client.cert": str(tmp_path / "service.pem"),
        "distributed.comm.tls.client.key": str(tmp_path / "service.key"),
    }
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        host="127.0.0.1",
        protocol="tls://",
        security=of_scheduler,
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        assert cluster.scheduler_address.startswith("tls://127.0.0.1:")
        with (
            dask.config.set(of_client),
            RunningScheduler(address=cluster.scheduler_address).connect() as client,
        ):
            assert client.submit(sum, [3, 5]).result(timeout=30) == 8
