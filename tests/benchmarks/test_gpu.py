"""The measurements of the page on GPUs run, on the emulated device and small; what they say there is worth nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks import __main__ as command
from tests.benchmarks import gpu
from tests.benchmarks.gpu_clock import elapsed, measure_floors, median_time
from tests.benchmarks.records import Case
from tests.benchmarks.study import Study

from hamfit.devices import AbstractDevice, choose_device
from hamfit.errors import DeviceError

SMALL = gpu.Sizes(
    cells=4,
    frames=2,
    features=24,
    times=(("sketched", 1), ("normal", 1)),
    tiled_cells=4,
    tile=1,
    tiled_frames=2,
    melt_steps=20,
    repeats=1,
    steps=(2, 4),
    core_steps=(2, 4),
    matrix=64,
    copied_bytes=2**16,
)


@pytest.fixture(scope="module")
def emulated() -> AbstractDevice:
    device = choose_device("emulated")
    assert device is not None
    return device


@pytest.fixture(scope="module")
def found(emulated: AbstractDevice, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return list(gpu.measure(Study(tmp_path_factory.mktemp("gpu")), emulated, SMALL))


@pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning", "ignore::hamfit.errors.RolloutWarning")
def test_every_bar_is_measured_and_every_row_names_the_device(found: list[Case], emulated: AbstractDevice) -> None:
    assert all(case.name.startswith(emulated.name) for case in found)
    assert len({(case.group, case.name) for case in found}) == len(found)
    judged = [value for case in found for value in case.values if value.bar is not None]
    assert {value.quantity for value in judged} == {
        "relative difference",
        "GPU / cores",
        "both / their limits",
        "GPU memory, GB",
        "GPU / one core",
    }
    # so short are rollouts here that their difference may be nothing
    assert all(value.measured is not None for value in judged if value.quantity != "GPU / one core")
    assert all(np.isfinite(v.measured) for case in found for v in case.values if v.measured is not None)


@pytest.mark.filterwarnings("ignore::hamfit.errors.FitWarning", "ignore::hamfit.errors.RolloutWarning")
def test_forces_agree_already_here(found: list[Case]) -> None:
    differences = {c.name: v for c in found for v in c.values if v.quantity == "relative difference"}
    assert len(differences) == 3
    # so few features leave something to rounding where there is no ridge
    assert all(v.measured <= (1e-8 if "sketched" in name else gpu.AGREEMENT) for name, v in differences.items())


def test_kernels_are_timed_by_their_names(emulated: AbstractDevice) -> None:
    zeros = emulated.xp.zeros(3)
    with elapsed(emulated) as spent:
        emulated.synchronize()
    assert spent.total >= 0.0
    assert spent.kernels == {}
    assert "launch" not in vars(emulated)
    assert median_time(emulated, lambda: zeros + 1.0, repeats=3).total < 1.0


def test_floors_are_rates(emulated: AbstractDevice) -> None:
    floors = measure_floors(emulated, size=32, copied_bytes=2**14)
    assert min(floors.gemm_flops, floors.bandwidth, floors.upload) > 0.0
    assert floors.tanhs is None


def test_no_page_is_written_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(choice: str) -> None:
        raise DeviceError("no GPU can be used")

    monkeypatch.setenv("HAMFIT_DEVICE", "emulated")
    monkeypatch.setattr(gpu, "choose_device", none)
    monkeypatch.setattr(command, "_folder", lambda name: tmp_path)
    monkeypatch.setattr(command.Page, "save", lambda page: pytest.fail("written"))
    assert command.main(["gpu"]) == 2
    assert "no GPU can be used" in capsys.readouterr().err


def test_a_page_that_grows_is_saved_after_each_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    rows = [Case("Floors", "abacus", ()), Case("Fits", "abacus", ())]
    monkeypatch.setattr(gpu, "cases", lambda study: iter(rows))
    monkeypatch.setattr(gpu, "machine", lambda: {"GPU": "abacus"})
    monkeypatch.setattr(command.Page, "save", lambda page: saved.append(len(page.cases)))
    page = command.measure("gpu", tmp_path)
    assert saved == [1, 2]
    assert (page.cases, page.machine["GPU"]) == (tuple(rows), "abacus")


def test_sizes_of_the_page_are_those_of_its_bars() -> None:
    sizes = gpu.Sizes()
    assert 4 * sizes.cells**3 == 10_976
    assert 4 * sizes.tiled_cells**3 * sizes.tile**3 >= 1_000_000
    assert (sizes.features, sizes.tiled_frames) == (512, 10)
