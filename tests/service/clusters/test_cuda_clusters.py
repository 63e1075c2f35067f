"""local-cuda without a GPU: a stand-in with the interface of dask-cuda shows what is asked of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hamfit_service.clusters.host import choose_host, connect
from hamfit_service.settings import Settings
from watching import until

STAND_IN = """
from distributed import LocalCluster


class LocalCUDACluster(LocalCluster):
    def __init__(self, n_workers=None, threads_per_worker=1, memory_limit="auto", device_memory_limit="default",
                 preload=(), **others):
        assert others.pop("processes", True)
        assert (n_workers, threads_per_worker, memory_limit, device_memory_limit) == (None, 1, 0, None)
        # two GPUs; the real one adds a preload of its own to those given
        preload = [*preload, "dask_cuda_stand_in"]
        super().__init__(n_workers=2, threads_per_worker=1, memory_limit=memory_limit, preload=preload, **others)
"""


def test_one_worker_for_each_gpu_in_a_process_that_is_kept_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dask_cuda").mkdir()
    (tmp_path / "dask_cuda" / "__init__.py").write_text(STAND_IN)
    (tmp_path / "dask_cuda_stand_in.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

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
