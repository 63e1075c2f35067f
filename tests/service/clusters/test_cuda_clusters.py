"""Workers beside GPUs, where there are none: stand-ins with the interface of dask-cuda show what is asked of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hamfit.errors import ClusterError, SpecError
from hamfit_service.clusters import GpuOptions, LocalGpus
from hamfit_service.clusters.host import choose_host, connect
from hamfit_service.settings import Settings
from watching import until

# two GPUs; the real one adds a preload of its own to those given
STAND_IN = """
import json, pathlib
from distributed import LocalCluster


class LocalCUDACluster(LocalCluster):
    def __init__(self, n_workers=None, threads_per_worker=1, memory_limit="auto", device_memory_limit="default",
                 protocol=None, preload=(), rmm_pool_size=None, rmm_allocator_external_lib_list=None,
                 **others):
        assert others.pop("processes", True)
        asked = [n_workers, threads_per_worker, memory_limit, device_memory_limit, protocol]
        asked += [rmm_pool_size, rmm_allocator_external_lib_list]
        (pathlib.Path(__file__).parent / "asked.json").write_text(json.dumps(asked))
        if protocol == "ucx":
            assert "security" not in others
            protocol = "tcp://"
        preload = [*preload, "dask_cuda_stand_in"]
        super().__init__(n_workers=n_workers or 2, threads_per_worker=threads_per_worker, memory_limit=memory_limit,
                         protocol=protocol, preload=preload, **others)
"""

Installed = Callable[..., Path]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """Makes packages that can be found; returns where the stand-in says what it was asked for."""

    def install(*names: str, dask_cuda: str = STAND_IN) -> Path:
        for name in ("dask_cuda", "cupy", *names):
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text(dask_cuda if name == "dask_cuda" else "")
        (tmp_path / "dask_cuda_stand_in.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return tmp_path / "dask_cuda" / "asked.json"

    yield install
    sys.modules.pop("dask_cuda", None)


def fetched(path: Path) -> list[object]:
    return list(json.loads(path.read_text()))


def test_one_worker_for_each_gpu_in_a_process_that_is_kept_alive(tmp_path: Path, installed: Installed) -> None:
    asked = installed()

    async def work() -> None:
        cluster = choose_host(Settings(root=tmp_path, cluster="local-cuda"))
        await cluster.start()
        try:
            await until(lambda: cluster.address)
            state = await cluster.state()
            assert (state.kind, state.workers, state.threads) == ("local-cuda", 2, 2)

            def add() -> int:
                with connect(cluster.connection()) as client:
                    return int(client.submit(sum, [3, 5]).result(timeout=60))

            assert await asyncio.to_thread(add) == 8
        finally:
            await cluster.stop()

    asyncio.run(work())
    assert fetched(asked) == [None, 1, 0, None, "tls://", None, None]


def test_a_service_that_asks_for_ucx_has_a_cluster_without_certificates(tmp_path: Path, installed: Installed) -> None:
    asked = installed("distributed_ucxx")

    async def work() -> None:
        cluster = choose_host(Settings(root=tmp_path, cluster="local-cuda", workers=1, gpu_ucx=True))
        await cluster.start()
        try:
            await until(lambda: cluster.address)
            assert list(cluster.connection()) == ["address"]
        finally:
            await cluster.stop()

    asyncio.run(work())
    assert fetched(asked)[:5] == [1, 1, 0, None, "ucx"]


def test_a_command_starts_and_stops_them(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = installed().parents[1] / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with LocalGpus().connect() as client:
        assert len(client.scheduler_info()["workers"]) == 2
        assert client.submit(sum, [3, 5]).result() == 8
    assert list(scratch.iterdir()) == []


def test_memory_comes_from_a_pool_of_rmm_where_that_is_installed(installed: Installed) -> None:
    asked = installed("rmm")
    with LocalGpus(workers=1, options=GpuOptions(gpu_pool=0.6)).connect():
        pass
    assert fetched(asked) == [1, 1, 0, None, None, 0.6, ["cupy"]]


def test_without_a_pool_memory_is_left_to_cupy(installed: Installed) -> None:
    asked = installed("rmm")
    with LocalGpus(workers=1, options=GpuOptions(gpu_pool=0.0)).connect():
        pass
    assert fetched(asked)[5:] == [None, None]


def test_a_machine_without_gpus_is_told_where_to_look(installed: Installed) -> None:
    installed(dask_cuda="class LocalCUDACluster:\n    def __init__(self, **_):\n        raise OSError('no NVML')")
    with pytest.raises(ClusterError, match=r"no NVML.*hamfit doctor"), LocalGpus().connect():
        pytest.fail("started")


def test_the_environment_sets_how_memory_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    assert GpuOptions.from_environment() == GpuOptions(gpu_pool=0.8, gpu_ucx=False)
    monkeypatch.setenv("HAMFIT_GPU_POOL", "0.5")
    monkeypatch.setenv("HAMFIT_GPU_UCX", "true")
    assert GpuOptions.from_environment() == GpuOptions(gpu_pool=0.5, gpu_ucx=True)
    assert Settings().gpu_pool == 0.5
    monkeypatch.setenv("HAMFIT_GPU_POOL", "2")
    with pytest.raises(SpecError, match=r"HAMFIT_GPU_POOL.*'gpu_pool' cannot be '2'"):
        GpuOptions.from_environment()


def test_what_is_missing_is_named_with_the_remedy(
    tmp_path: Path, installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamfit_service.clusters.gpus.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"needs dask-cuda and CuPy.*pip install 'hamfit\[gpu,cuda-cluster\]'"):
        choose_host(Settings(root=tmp_path, cluster="local-cuda"))
    monkeypatch.undo()
    installed()
    with pytest.raises(SpecError, match=r"needs distributed-ucxx.*pip install distributed-ucxx-cu12"):
        LocalGpus(options=GpuOptions(gpu_ucx=True)).connect()
