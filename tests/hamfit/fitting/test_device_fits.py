"""Fits whose rows are computed on a device: the processor's forces, the same bits again, less memory than hoped."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from test_streaming import gram_of

import radial_oracle as oracle
from hamfit.data import Dataset
from hamfit.devices import AbstractDevice, DeviceArray, DeviceChoice
from hamfit.devices.emulated import EmulatedDevice
from hamfit.errors import DeviceError
from hamfit.features.pair import PairBlock
from hamfit.fitting import fit, preparing
from hamfit.fitting.basis import Basis, PartBasis
from hamfit.fitting.clock import Clock
from hamfit.fitting.executors import on_threads
from hamfit.fitting.preparing import prepare
from hamfit.fitting.problem import pose
from hamfit.fitting.shards import FrameTable, Shard
from hamfit.fitting.streaming import reduce_shard
from hamfit.graphs import CutoffGraph
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.progress import silent
from hamfit.reductions import Residuals, factors, tsqr
from hamfit.systems import simulate
from hamfit.types import FloatArray
from worlds import liquids, write

pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning")

#: What forces of the two may differ by: rms over rms.
AGREEMENT = 1e-10


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("binary") / "a.zarr", [liquids(1, 10, n_species=2)])


@pytest.fixture(scope="module")
def argon(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return simulate("lj", tmp_path_factory.mktemp("lj") / "a.zarr", shape="4x4x4", n_frames=4, every=5, melt_steps=100)


def forces_of(model: Model, data: Dataset) -> FloatArray:
    frames = [trajectory.frame(index) for trajectory in data.trajectories for index in (0, 2)]
    return np.concatenate([model.forces(frame).reshape(-1) for frame in frames])


def fitted(data: Dataset, device: DeviceChoice, **options: object) -> Model:
    whole = FitOptions.model_validate({"cutoff": 1.75, "threads": 1, "checkpoint": False, "device": device, **options})
    return fit(data, options=whole).model


#: With a ridge where directions that rounding decides would be left free: there two fits on one device differ as much.
CASES: dict[str, dict[str, object]] = {
    "sketched": {"features": 24},
    "tsqr": {"features": 12, "solver": "tsqr", "ridge": 1e-8},
    "normal": {"features": 8, "solver": "normal", "ridge": 1e-6},
    "many-body with energies": {"features": 16, "blocks": ("manybody",), "radial": 3, "l_max": 2, "ridge": 1e-6},
    "pair and many-body": {"features": 12, "blocks": ("pair", "manybody"), "radial": 2, "l_max": 1, "ridge": 1e-6},
}


@pytest.mark.parametrize("case", CASES)
def test_forces_are_those_of_a_fit_on_the_processor(binary: Dataset, device: AbstractDevice, case: str) -> None:
    choice: DeviceChoice = "cuda" if device.kind == "cuda" else "emulated"
    expected = forces_of(fitted(binary, "cpu", **CASES[case]), binary)
    got = forces_of(fitted(binary, choice, **CASES[case]), binary)
    assert np.linalg.norm(got - expected) <= AGREEMENT * np.linalg.norm(expected)


def test_the_same_fit_gives_the_same_bits_and_names_its_device(binary: Dataset, tmp_path: Path) -> None:
    options = FitOptions(cutoff=1.75, features=16, threads=2, device="emulated")
    first, second = (fit(binary, options=options, out=tmp_path / name) for name in ("a", "b"))
    assert [t.tobytes() for t in first.model.theta] == [t.tobytes() for t in second.model.theta]
    assert first.report["devices"] == ["emulated GPU"]
    assert fit(binary, options=options.with_changes(device="cpu")).report["devices"] == []


def test_a_gpu_that_is_not_there_is_said_so(binary: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamfit.devices.selection._cuda", _no_gpu)
    with pytest.raises(DeviceError, match="no GPU"):
        fitted(binary, "cuda", features=8)
    # and nobody who did not ask for one hears of it
    fitted(binary, "auto", features=8)


@pytest.mark.parametrize("named", ["by option", "by environment"])
def test_a_gpu_that_is_not_there_is_missed_before_anything_is_done(
    binary: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setattr("hamfit.devices.selection._cuda", _no_gpu)
    choice: DeviceChoice = "cuda" if named == "by option" else "auto"
    monkeypatch.setenv("HAMFIT_DEVICE", "cpu" if named == "by option" else "cuda")
    heard: list[object] = []
    options = FitOptions(cutoff=1.75, features=8, threads=1, device=choice)
    with pytest.raises(DeviceError, match="no GPU"):
        fit(binary, options=options, out=tmp_path / "model", progress=heard.append)
    assert heard == []
    assert list(tmp_path.iterdir()) == []


def _no_gpu() -> AbstractDevice:
    raise DeviceError("no GPU can be used")


class Crowded(EmulatedDevice):
    """A device that promises more memory than it gives."""

    def total_bytes(self) -> int:
        return 2**36


def shard_of(data: Dataset) -> Shard:
    return Shard(0, 0, FrameTable.of([data]).pieces(range(4)))


def test_a_panel_that_does_not_fit_is_halved_and_nothing_counts_twice(argon: Dataset) -> None:
    radial = oracle.random_radial(np.full(1, 2.0), n=6)
    block = PairBlock(radial, CutoffGraph(argon.labels, np.array([[2.0]])))
    basis = Basis((PartBasis("force", (block,), target_scale=3.0),), argon.labels, (), "normal")
    whole = reduce_shard(shard_of(argon), basis, EmulatedDevice())
    # the rows of 256 particles do not fit, those of fewer do
    crowded = reduce_shard(shard_of(argon), basis, Crowded(memory_bytes=220_000))
    np.testing.assert_allclose(gram_of(crowded), gram_of(whole), rtol=1e-12, atol=1e-9)
    assert crowded.n_rows == whole.n_rows
    assert crowded.squares["force"] == pytest.approx(whole.squares["force"], rel=1e-13)
    assert whole.notes == ()
    (note,) = crowded.notes
    assert "smaller panels" in note
    with pytest.raises(DeviceError, match="no room for the rows of 64 particles"):
        reduce_shard(shard_of(argon), basis, Crowded(memory_bytes=30_000))
    with pytest.raises(DeviceError, match="no room for a frame of 256 particles"):
        reduce_shard(shard_of(argon), basis, Crowded(memory_bytes=10_000))


class Grudging(EmulatedDevice):
    """A device that is full after some uploads."""

    def __init__(self, uploads: int) -> None:
        super().__init__()
        self._left = uploads

    def upload(self, array: np.ndarray) -> DeviceArray:
        if self._left == 0:
            raise MemoryError("full")
        self._left -= 1
        return super().upload(array)


def basis_of(data: Dataset, **options: object) -> Basis:
    whole = FitOptions.model_validate({"cutoff": 1.75, "threads": 1, "features": 12, "seed": 3, **options})
    return prepare(pose([data], whole), whole, partial(on_threads, 1), None, Clock(silent)).stage.basis


@pytest.mark.parametrize("reduction", ["tsqr", "normal", Residuals.name])
def test_wherever_the_memory_ends_the_device_is_named_with_what_to_do(binary: Dataset, reduction: str) -> None:
    basis = replace(basis_of(binary, solver="tsqr" if reduction == "tsqr" else "sketched"), reduction=reduction)
    expected = reduce_shard(shard_of(binary), basis, EmulatedDevice())
    messages = set()
    for uploads in range(1000):
        try:
            state = reduce_shard(shard_of(binary), basis, Grudging(uploads))
        except DeviceError as error:
            messages.add(str(error).split(" (")[0].split(": ")[-1])
        else:
            break
    assert "emulated GPU has no room for the columns of the fit" in messages
    assert uploads > 10
    assert {name: t.packed.tobytes() for name, t in state.triangles.items()} == {
        name: t.packed.tobytes() for name, t in expected.triangles.items()
    }


def test_columns_are_the_same_whatever_computes_the_rows(binary: Dataset) -> None:
    here, there = (basis_of(binary, device=device) for device in ("cpu", "emulated"))
    for mine, theirs in zip(here.parts, there.parts, strict=True):
        assert mine.whitening is not None
        assert theirs.whitening is not None
        assert mine.whitening.projection.tobytes() == theirs.whitening.projection.tobytes()
        assert mine.whitening.preliminary.tobytes() == theirs.whitening.preliminary.tobytes()


@pytest.mark.parametrize("device", ["cpu", "emulated"])
def test_threads_join_large_factors_where_rows_were_computed(
    binary: Dataset, monkeypatch: pytest.MonkeyPatch, device: DeviceChoice
) -> None:
    joined: list[str] = []

    def spied(where: AbstractDevice, rows: DeviceArray) -> DeviceArray:
        # stacked factors, not a panel below one
        if rows.shape[0] == 2 * rows.shape[1]:
            joined.append(where.name)
        return factors.device_factor(where, rows)

    monkeypatch.setattr(tsqr, "device_factor", spied)
    # several shards in a group, so that there is something to merge
    monkeypatch.setattr(preparing, "most_particles", lambda *sizes: 27)
    options = {"features": 12, "solver": "tsqr", "ridge": 1e-8}
    fitted(binary, device, **options)
    assert joined == []
    monkeypatch.setattr(tsqr, "LARGE_STATE_BYTES", 0)
    fitted(binary, device, **options)
    assert set(joined) == ({"emulated GPU"} if device == "emulated" else set())
