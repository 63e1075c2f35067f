"""An interrupted fit, started again, computes what is missing and nothing else, to the same bits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hamfit.data import Dataset
from hamfit.errors import FitError
from hamfit.fitting import FitResult, fit, stage
from hamfit.fitting.partial import PartialState
from hamfit.fitting.shards import Shard
from hamfit.options import FitOptions
from hamfit.reductions import Triangle
from worlds import liquids, write

OPTIONS = FitOptions(cutoff=1.75, features=24, threads=1, seed=3)
STOP_AFTER = 9


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return write(tmp_path / "a.zarr", [liquids(1, 20)])


class Spy:
    """Counts the shards of the main pass that are computed, and may stop the fit after some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> None:
        self.computed: list[int] = []
        real: Callable[..., object] = stage.reduce_shard

        def spied(shard: Shard, *rest: object) -> object:
            if not shard.sampled:
                if len(self.computed) == stop_after:
                    raise FitError("stopped by the test")
                self.computed.append(shard.index)
            return real(shard, *rest)

        monkeypatch.setattr(stage, "reduce_shard", spied)


def bits(result: FitResult) -> bytes:
    return b"".join(t.tobytes() for t in result.model.theta)


@pytest.fixture
def interrupted(data: Dataset, tmp_path: Path) -> Path:
    """Where a fit stopped after some shards."""
    with pytest.MonkeyPatch.context() as patch:
        spy = Spy(patch, STOP_AFTER)
        with pytest.raises(FitError, match="stopped by the test"):
            fit(data, options=OPTIONS, out=tmp_path / "m")
        assert len(spy.computed) == STOP_AFTER
    assert not (tmp_path / "m").exists()
    return tmp_path / ".m.fit"


def states(home: Path) -> list[Path]:
    return sorted(home.glob("*/stream-0*"))


def test_only_missing_shards_are_computed(
    data: Dataset, interrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = fit(data, options=OPTIONS)
    assert len(states(interrupted)) == STOP_AFTER
    spy = Spy(monkeypatch)
    result = fit(data, options=OPTIONS, out=tmp_path / "m")
    assert sorted(spy.computed) == list(range(STOP_AFTER, result.report["shards"]))
    assert bits(result) == bits(clean)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zarr", "m"]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "manifest gone", "bit flipped"])
def test_a_damaged_state_is_computed_again(
    data: Dataset, interrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    victim = states(interrupted)[4]
    chunks = [f for f in victim.rglob("*") if f.is_file() and f.suffix != ".json"]
    chunk = max(chunks, key=lambda f: f.stat().st_size)
    if damage == "truncated":
        chunk.write_bytes(chunk.read_bytes()[:-7])
    elif damage == "emptied":
        chunk.write_bytes(b"")
    elif damage == "manifest gone":
        (victim / "_manifest.json").unlink()
    else:
        content = bytearray(chunk.read_bytes())
        content[10] ^= 4
        chunk.write_bytes(content)
    spy = Spy(monkeypatch)
    result = fit(data, options=OPTIONS, out=tmp_path / "m")
    assert sorted(spy.computed) == [4, *range(STOP_AFTER, result.report["shards"])]
    monkeypatch.undo()
    assert bits(result) == bits(fit(data, options=OPTIONS))


def test_another_plan_starts_anew(
    data: Dataset, interrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    result = fit(data, options=OPTIONS, seed=4, out=tmp_path / "m")
    assert len(spy.computed) == result.report["shards"]
    assert not interrupted.exists()


def test_resuming_can_be_refused(
    data: Dataset, interrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert interrupted.exists()
    spy = Spy(monkeypatch)
    result = fit(data, options=OPTIONS, resume=False, out=tmp_path / "m")
    assert len(spy.computed) == result.report["shards"]


def test_threads_may_change_between_the_two_runs(data: Dataset, interrupted: Path, tmp_path: Path) -> None:
    assert interrupted.exists()
    result = fit(data, options=OPTIONS, threads=2, out=tmp_path / "m")
    assert bits(result) == bits(fit(data, options=OPTIONS))


def test_tasks_of_a_pass_whose_driver_is_gone_keep_nothing_once_another_has_begun(interrupted: Path) -> None:
    (home,) = (path.parent for path in interrupted.glob("*/stream-basis"))
    basis = stage.stored_basis(home, "stream")
    assert basis is not None
    again = stage.Stage(basis, "stream", home)
    shard = Shard(999, 0, ())
    state = PartialState({"force": Triangle(np.ones(3), 2)}, {"force": 1.0}, {}, {})
    with again.keeping() as of_the_first:
        orphan = of_the_first(shard)
        assert orphan is not None
        with again.keeping() as of_the_second:
            orphan.save(state)
            assert not Path(orphan.path).exists()
            heir = of_the_second(shard)
            assert heir is not None
            heir.save(state)
            assert Path(heir.path).exists()
    shutil.rmtree(home)
    heir.save(state)
    assert not home.exists()
