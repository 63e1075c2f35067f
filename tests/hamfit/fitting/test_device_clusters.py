"""One fit on workers with and without a device: each finds its own, and their states are merged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, Nanny, Scheduler, get_task_stream
from distributed.deploy.spec import SpecCluster

from hamfit.data import Dataset
from hamfit.devices.emulated import EmulatedDevice
from hamfit.errors import DeviceError
from hamfit.fitting import fit, preparing
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.types import FloatArray
from worlds import liquids, write

pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")

#: Enough features for the liquid: what fewer cannot fit is decided by rounding, and differs as much from fit to fit. A
#: shard for every frame, so that no worker is done with all of them before the other has begun.
OPTIONS = FitOptions(cutoff=1.75, features=24, groups=10, threads=1)


@contextmanager
def workers(scratch: Path, *devices: str) -> Iterator[Client]:
    """A worker process for each, whose HAMFIT_DEVICE says so."""
    shared = {"nthreads": 1, "memory_limit": 0, "local_directory": str(scratch), "host": "127.0.0.1"}
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    specs = {
        name: {"cls": Nanny, "options": {**shared, "env": {**one_thread, "HAMFIT_DEVICE": name}}} for name in devices
    }
    scheduler = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    with SpecCluster(workers=specs, scheduler=scheduler, silence_logs=40) as cluster, Client(cluster) as client:
        client.wait_for_workers(len(devices), timeout=60)
        yield client


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """The kernels in the cache: a worker that compiles them first would have its shards taken by the others."""
    EmulatedDevice()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("data") / "a.zarr", [liquids(1, 10, n_species=2)])


def forces_of(model: Model, data: Dataset) -> FloatArray:
    return np.concatenate([model.forces(data.trajectories[0].frame(k)).reshape(-1) for k in (0, 5)])


def test_workers_with_and_without_a_device_fit_together(data: Dataset, tmp_path: Path) -> None:
    with (
        workers(tmp_path / "scratch", "emulated", "cpu") as client,
        get_task_stream(client) as stream,
    ):
        mixed = fit(data, options=OPTIONS, client=client, out=tmp_path / "mixed")
    leaves = [task for task in stream.data if "-stream-" in task["key"] and "-leaf-" in task["key"]]
    assert len(leaves) == mixed.report["shards"] >= 8
    assert len({task["worker"] for task in leaves}) == 2
    assert mixed.report["devices"] == ["emulated GPU"]
    alone = fit(data, options=OPTIONS.with_changes(device="cpu"))
    expected = forces_of(alone.model, data)
    assert np.linalg.norm(forces_of(mixed.model, data) - expected) <= 1e-10 * np.linalg.norm(expected)


def test_workers_merge_large_factors_as_threads_do(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # columns enough for R factors to be joined on the device, and several shards in a group
    monkeypatch.setattr(preparing, "most_particles", lambda *sizes: 27)
    options = OPTIONS.with_changes(features=250, blocks=("pair",), groups=5, solver="tsqr", device="emulated")
    with workers(tmp_path / "scratch", "auto") as client:
        there = fit(data, options=options, client=client, out=tmp_path / "there")
    here = fit(data, options=options)
    assert here.report["shards"] == there.report["shards"] == 10
    assert here.report["columns"] > 720
    assert [theta.tobytes() for theta in there.model.theta] == [theta.tobytes() for theta in here.model.theta]


def test_a_worker_that_finds_no_device_asked_for_by_name_says_so(data: Dataset, tmp_path: Path) -> None:
    with (
        workers(tmp_path / "scratch", "abacus") as client,
        pytest.raises(DeviceError, match="HAMFIT_DEVICE is 'abacus'"),
    ):
        fit(data, options=OPTIONS, client=client, out=tmp_path / "model")
