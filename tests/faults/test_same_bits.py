"""Coefficients do not depend on where the shards were reduced, in what order, or what happened on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hamfit.data import Dataset
from hamfit.errors import FitError
from hamfit.fitting import fit, stage
from hamfit.fitting.shards import Shard
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.progress import Event
from hamfit.systems import simulate
from hamfit_service.clusters import LocalProcesses

# Warnings about accuracy are not the subject here.
pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")]

# Features are given, not chosen, so that most of the time goes into the pass that is disturbed.
OPTIONS = FitOptions(cutoff=2.5, features=300, sampler="elm", input_map="1/r", taper="none", threads=1, seed=11)


@pytest.fixture(scope="module")
def liquid(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    path = tmp_path_factory.mktemp("liquid") / "lj.zarr"
    return simulate("lj", path, shape="3x3x3", n_frames=60, every=5, melt_steps=200, seed=3)


def bits(model: Model) -> bytes:
    return b"".join(t.tobytes() for t in model.theta) + model.constants.tobytes()


@pytest.fixture(scope="module")
def reference(liquid: Dataset) -> dict[str, bytes]:
    """The bits of every solver on one thread of this process."""
    return {s: bits(fit(liquid, options=OPTIONS, solver=s).model) for s in ("sketched", "tsqr", "normal")}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_gives_the_bits_of_one_thread(
    workers: int, liquid: Dataset, reference: dict[str, bytes], tmp_path: Path
) -> None:
    with LocalProcesses(workers=workers, threads=1).connect() as client:
        for solver, expected in reference.items():
            out = tmp_path / f"{solver}.model"
            result = fit(liquid, options=OPTIONS, solver=solver, out=out, client=client)
            assert bits(result.model) == expected, solver
            assert bits(Model.open(out)) == expected, solver


def test_workers_with_two_threads_give_the_same_bits(
    liquid: Dataset, reference: dict[str, bytes], tmp_path: Path
) -> None:
    with LocalProcesses(workers=2, threads=2).connect() as client:
        result = fit(liquid, options=OPTIONS, out=tmp_path / "m", client=client)
    assert bits(result.model) == reference["sketched"]


def test_threads_of_this_process_give_the_same_bits(liquid: Dataset, reference: dict[str, bytes]) -> None:
    for solver, expected in reference.items():
        assert bits(fit(liquid, options=OPTIONS, solver=solver, threads=2).model) == expected, solver


class KillEveryWorkerInTurn:
    """A listener that kills one worker after another as shards finish, each once."""

    def __init__(self, victims: list[int]) -> None:
        self.victims = victims

    def __call__(self, event: Event, /) -> None:
        if event.phase == "features" and event.done in (2, 8) and self.victims:
            os.kill(self.victims.pop(), signal.SIGKILL)


def test_every_worker_may_be_lost_once(liquid: Dataset, reference: dict[str, bytes], tmp_path: Path) -> None:
    with LocalProcesses(workers=2, threads=1).connect() as client:
        killer = KillEveryWorkerInTurn(list(client.run(os.getpid).values()))
        result = fit(liquid, options=OPTIONS, solver="tsqr", out=tmp_path / "m", client=client, progress=killer)
    assert killer.victims == []
    assert bits(result.model) == reference["tsqr"]


def interrupted(liquid: Dataset, out: Path, after: int) -> list[Path]:
    """Stop a fit after some shards; the states it left."""
    real: Callable[..., object] = stage.reduce_shard
    done = 0

    def stopping(shard: Shard, *rest: object) -> object:
        nonlocal done
        if not shard.sampled:
            if done == after:
                raise FitError("stopped by the test")
            done += 1
        return real(shard, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "reduce_shard", stopping)
        with pytest.raises(FitError, match="stopped by the test"):
            fit(liquid, options=OPTIONS, solver="tsqr", out=out)
    return sorted(out.with_name(f".{out.name}.fit").glob("*/stream-0*"))


@pytest.mark.parametrize("damage", ["truncated", "removed", "manifest truncated"])
def test_workers_compute_a_damaged_state_again_and_leave_the_others(
    damage: str, liquid: Dataset, reference: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "m"
    states = interrupted(liquid, out, 9)
    assert len(states) == 9
    victim = states[3]
    chunk = max((f for f in victim.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    if damage == "truncated":
        chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])
    elif damage == "removed":
        chunk.unlink()
    else:
        manifest = victim / "_manifest.json"
        manifest.write_text(manifest.read_text()[:40])
    times = {state.name: stamp(state) for state in states}
    rewritten: set[str] = set()

    def watch(event: Event, /) -> None:
        if event.phase == "features":
            now = {s.name: stamp(s) for s in states if (s / "_manifest.json").exists()}
            rewritten.update(name for name, when in now.items() if when != times[name])

    with LocalProcesses(workers=2, threads=1).connect() as client:
        result = fit(liquid, options=OPTIONS, solver="tsqr", out=out, client=client, progress=watch)
    assert rewritten == {victim.name}
    assert bits(result.model) == reference["tsqr"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def stamp(state: Path) -> int:
    """When the state was put in place: a rewritten one is a new directory."""
    return (state / "_manifest.json").stat().st_ino if (state / "_manifest.json").exists() else 0
