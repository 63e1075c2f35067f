"""One small fitted model for all tests that only need some model, and every device that this machine has."""

from __future__ import annotations

import pytest

from hamfit.devices import AbstractDevice, DeviceChoice, choose_device
from hamfit.errors import DeviceError
from hamfit.fitting import FitResult, fit
from hamfit.options import FitOptions
from worlds import liquids, write


@pytest.fixture(scope="session")
def binary_fit(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A binary Lennard-Jones liquid, kinetic and pair blocks, cutoff 1.75; exact to 1e-8."""
    path = tmp_path_factory.mktemp("binary") / "data.zarr"
    data = write(path, [liquids(1, 24, n_species=2)])
    return fit(data, options=FitOptions(cutoff=1.75, features=32, threads=1, checkpoint=False))


def _devices() -> list[DeviceChoice]:
    try:
        choose_device("cuda")
    except DeviceError:
        return ["emulated"]
    return ["emulated", "cuda"]


@pytest.fixture(scope="session", params=_devices())
def device(request: pytest.FixtureRequest) -> AbstractDevice:
    """The CUDA source on the processor and, where there is one, on the GPU."""
    chosen = choose_device(request.param)
    assert chosen is not None
    return chosen


@pytest.fixture(scope="session", params=["cpu", *_devices()])
def place(request: pytest.FixtureRequest) -> AbstractDevice | None:
    """Where to compute: the processor (None), and every device."""
    return choose_device(request.param)
