"""Fits whose workers or whose driver die half-way: the model is the same to the last bit, or is not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hamfit.data import Dataset
from hamfit.fitting import fit, stage
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.progress import Event
from hamfit.systems import simulate
from hamfit_service.clusters import LocalProcesses

pytestmark = pytest.mark.faults

# TSQR of many columns, so that the pass over the shards takes seconds and can be hit in the middle.
OPTIONS = FitOptions(
    cutoff=2.5, features=400, sampler="elm", input_map="1/r", taper="none", solver="tsqr", threads=1, seed=5
)
FLAGS = (
    *("--cutoff", "2.5", "--features", "400", "--sampler", "elm", "--input-map", "1/r", "--taper", "none"),
    *("--solver", "tsqr", "--threads", "1", "--seed", "5"),
)


@pytest.fixture(scope="module")
def liquid(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("liquid") / "lj.zarr"
    return simulate("lj", path, shape="3x3x3", n_frames=60, every=5, melt_steps=200, seed=3)


@pytest.fixture(scope="module")
def undisturbed(liquid: Dataset) -> Model:
    return fit([liquid], options=OPTIONS).model


def _assert_same_bits(model: Model, other: Model) -> None:
    for one, two in zip(model.theta, other.theta, strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(model.constants, other.constants)


class _KillOnce:
    """A listener that kills a process when the first shards are done."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.killed = False

    def __call__(self, event: Event, /) -> None:
        if event.phase == "features" and event.done >= 2 and not self.killed:
            os.kill(self.pid, signal.SIGKILL)
            self.killed = True


def test_a_fit_whose_worker_is_killed_gives_the_same_bits(liquid: Dataset, undisturbed: Model, tmp_path: Path) -> None:
    out = tmp_path / "lj.model"
    with LocalProcesses(workers=2, threads=1).connect() as client:
        victim = next(iter(client.run(os.getpid).values()))
        killer = _KillOnce(victim)
        fit([liquid], out=out, options=OPTIONS, client=client, progress=killer)
    assert killer.killed
    _assert_same_bits(Model.open(out), undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["lj.model"]


@contextmanager
def _fit_in_its_own_process(liquid: Dataset, out: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [str(Path(sys.executable).with_name("hamfit")), "fit", str(liquid.path), "--out", str(out)]
    process = subprocess.Popen(
        [*command, *FLAGS, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)


def _finished_shards(out: Path) -> int:
    return len(list(out.with_name(f".{out.name}.fit").glob("*/stream-0*")))


@pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["threads", "workers"])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_driver_that_dies_leaves_no_model_and_its_successor_computes_only_what_is_missing(
    liquid: Dataset,
    undisturbed: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    blow: signal.Signals,
) -> None:
    out = tmp_path / "lj.model"
    with _fit_in_its_own_process(liquid, out, *flags) as process:
        deadline = time.monotonic() + 120.0
        while _finished_shards(out) < 3:
            assert process.poll() is None, "the fit ended before it could be hit"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(blow)
        process.wait(timeout=60)
    assert process.returncode == (-signal.SIGKILL if blow is signal.SIGKILL else 130)
    assert not out.exists()
    finished = _finished_shards(out)
    assert finished >= 3

    computed = []
    reduce_shard = stage.reduce_shard

    def counted(shard: Any, *rest: Any) -> Any:
        computed.append(shard)
        return reduce_shard(shard, *rest)

    monkeypatch.setattr(stage, "reduce_shard", counted)
    report = fit([liquid], out=out, options=OPTIONS).report
    # Workers of a killed driver may finish the shard in their hands before they notice.
    assert report["shards"] - finished - 2 <= len(computed) <= report["shards"] - 3
    _assert_same_bits(Model.open(out), undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == ["lj.model"]


def test_a_second_fit_of_the_same_model_is_refused_while_the_first_runs(liquid: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "lj.model"
    command = Path(sys.executable).with_name("hamfit")
    with _fit_in_its_own_process(liquid, out) as process:
        deadline = time.monotonic() + 120.0
        while _finished_shards(out) < 1:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        second = subprocess.run(
            [str(command), "fit", str(liquid.path), "--out", str(out), *FLAGS],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 2
        assert "is being written by" in second.stderr
