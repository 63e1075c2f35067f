"""Devices: kernels found by their signatures, arguments checked before a launch, and the emulated one sees races."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import pytest

from hamfit.devices import AbstractDevice, DeviceMemoryFull, choose_device, selection, sources
from hamfit.devices.cuda import CupyDevice
from hamfit.devices.emulated import EmulatedDevice
from hamfit.devices.selection import WORTHWHILE_PARTICLES, device_for
from hamfit.errors import DeviceError

# every thread of a block takes what its neighbour put down, as often as it is told
ROTATE = """
// extern "C" __global__ void not_a_kernel(int n) {}
extern "C" __global__ void rotate(double* __restrict__ values, int times)
{
    extern __shared__ double tile[];
    double* own = values + blockIdx.x * blockDim.x;
    for (int k = 0; k < times; ++k) {
        tile[threadIdx.x] = own[threadIdx.x];
        FIRST
        own[threadIdx.x] = tile[(threadIdx.x + 1) % blockDim.x];
        SECOND
    }
}

extern "C" __global__ void scaled(
    const float* values, const int* __restrict__ index, double factor,
    long long shift, double* out, int n)
{
    int k = blockIdx.x * blockDim.x + threadIdx.x;
    if (k < n) out[k] = factor * values[index[k]] + shift;
}
"""
THREADS, BLOCKS = 64, 3

Made: TypeAlias = Callable[..., EmulatedDevice]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Makes a device of a source of its own."""

    def make(first: str = "__syncthreads();", second: str = "__syncthreads();", **options: Any) -> EmulatedDevice:
        (tmp_path / "common.cu").write_text(ROTATE.replace("FIRST", first).replace("SECOND", second))
        return EmulatedDevice(**options)

    monkeypatch.setattr(sources, "FOLDER", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _forget()
    yield make
    _forget()


@pytest.fixture
def own(made: Made, device: AbstractDevice) -> AbstractDevice:
    """A device of every kind there is, with the source of these tests."""
    made()
    return type(device)()


def _forget() -> None:
    sources.source.cache_clear()
    sources.signatures.cache_clear()


def rotated(device: AbstractDevice, times: int) -> np.ndarray:
    values = device.upload(np.arange(float(THREADS * BLOCKS)))
    device.launch("rotate", BLOCKS, THREADS, values, times, shared_bytes=8 * THREADS)
    return device.download(values)


def expected(times: int) -> np.ndarray:
    return np.roll(np.arange(float(THREADS * BLOCKS)).reshape(BLOCKS, THREADS), -times, axis=1).reshape(-1)


def test_signatures_are_read_from_the_source(made: Made) -> None:
    made()
    assert list(sources.signatures()) == ["rotate", "scaled"]
    rotate, scaled = sources.signatures().values()
    assert (rotate.has_barriers, scaled.has_barriers) == (True, False)
    assert [(p.name, p.dtype.name, p.is_pointer) for p in scaled.parameters] == [
        ("values", "float32", True),
        ("index", "int32", True),
        ("factor", "float64", False),
        ("shift", "int64", False),
        ("out", "float64", True),
        ("n", "int32", False),
    ]


def test_threads_wait_for_each_other_at_barriers(own: AbstractDevice) -> None:
    for times in (1, 2, 5):
        np.testing.assert_array_equal(rotated(own, times), expected(times))


@pytest.mark.parametrize(("first", "second"), [("", ""), ("__syncthreads();", ""), ("", "__syncthreads();")])
def test_a_kernel_that_lacks_a_barrier_gives_wrong_numbers(made: Made, first: str, second: str) -> None:
    assert not np.array_equal(rotated(made(first, second), 3), expected(3))


def test_arguments_of_every_type_arrive(own: AbstractDevice) -> None:
    values, index = np.linspace(0.0, 1.0, 7, dtype=np.float32), np.array([6, 0, 3, 3, 1], dtype=np.int32)
    out = own.xp.zeros(6)
    own.launch_each("scaled", 5, own.upload(values), own.upload(index), 2.5, -(2**40), out)
    np.testing.assert_array_equal(own.download(out), [*(2.5 * values[index].astype(float) - 2**40), 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros(7)}, "values is float64, not an array of float32"),
        ({"values": [0.0] * 7}, "values is list, not an array of float32"),
        ({"index": np.zeros(5, dtype=np.int64)}, "index is int64, not an array of int32"),
        ({"out": np.zeros((5, 2))[:, 0]}, "out is not contiguous"),
        ({"out": np.zeros((5, 2)).T}, "out is not contiguous"),
        ({"more": 1}, "scaled takes 6 arguments, not 7"),
    ],
)
def test_a_launch_that_does_not_fit_is_refused(made: Made, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "values": np.zeros(7, dtype=np.float32),
        "index": np.zeros(5, dtype=np.int32),
        "factor": 1.0,
        "shift": 0,
        "out": np.zeros(5),
        **change,
    }
    with pytest.raises(TypeError, match=message):
        made().launch_each("scaled", 5, *arguments.values())


def test_nothing_to_do_is_no_launch(made: Made) -> None:
    made().launch_each("scaled", 0, None, None, None, None, None)


def test_shared_memory_and_memory_have_bounds(made: Made) -> None:
    with pytest.raises(TypeError, match="a block has 98304"):
        made().launch("rotate", 1, THREADS, np.zeros(THREADS), 1, shared_bytes=10**6)
    small = made(memory_bytes=1000)
    assert small.total_bytes() == 1000
    with pytest.raises(DeviceMemoryFull):
        rotated(small, 1)
    with pytest.raises(DeviceMemoryFull), small.guarded():
        raise MemoryError("full")


def test_recorded_steps_can_be_repeated(own: AbstractDevice) -> None:
    values = own.upload(np.arange(float(THREADS * BLOCKS)))

    def step() -> None:
        own.launch("rotate", BLOCKS, THREADS, values, 1, shared_bytes=8 * THREADS)

    step()
    replay = own.record(step)
    # recording may run the steps or not
    own.synchronize()
    before = int(own.download(values)[0])
    for times in (1, 2):
        replay()
        np.testing.assert_array_equal(own.download(values), expected(before + times))


def test_a_source_that_is_no_cuda_is_told_so(made: Made) -> None:
    with pytest.raises(DeviceError, match="cannot be compiled for the processor"):
        made(first="no such words;")


def test_without_a_compiler_the_remedy_is_named(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DeviceError, match=r"no g\+\+ to compile the kernels with: install it"):
        made()


@pytest.fixture
def without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(selection, "_cuda", selection._once(selection._cuda.__wrapped__))


@pytest.mark.usefixtures("without_cupy")
def test_a_gpu_that_is_asked_for_in_vain_is_an_error_and_else_the_processor_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HAMFIT_DEVICE", raising=False)
    assert choose_device() is None
    with pytest.raises(DeviceError, match=r"CuPy cannot be imported.*install hamfit\[gpu\].*use the device cpu"):
        choose_device("cuda")
    monkeypatch.setenv("HAMFIT_DEVICE", "cuda")
    with pytest.raises(DeviceError, match="CuPy cannot be imported"):
        choose_device()
    assert choose_device("cpu") is None


@pytest.mark.usefixtures("without_cupy")
def test_the_environment_decides_where_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAMFIT_DEVICE", "emulated")
    emulated = choose_device()
    assert emulated is not None
    assert emulated.kind == "emulated"
    assert choose_device() is emulated
    assert choose_device("cpu") is None
    assert device_for(1) is emulated
    monkeypatch.setenv("HAMFIT_DEVICE", "abacus")
    with pytest.raises(DeviceError, match="HAMFIT_DEVICE is 'abacus': give one of auto, cpu, cuda, emulated"):
        choose_device()


def test_small_systems_do_not_even_look_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def look() -> AbstractDevice:
        looked.append(1)
        raise DeviceError("no GPU")

    monkeypatch.setattr(selection, "_cuda", look)
    monkeypatch.delenv("HAMFIT_DEVICE", raising=False)
    assert device_for(WORTHWHILE_PARTICLES - 1) is None
    assert device_for(9, "cpu") is None
    assert looked == []
    assert device_for(WORTHWHILE_PARTICLES) is None
    assert looked == [1]
    # where one is asked for, size does not count
    with pytest.raises(DeviceError, match="no GPU"):
        device_for(0, "cuda")
    monkeypatch.setenv("HAMFIT_DEVICE", "abacus")
    with pytest.raises(DeviceError, match="HAMFIT_DEVICE is 'abacus'"):
        device_for(0)


def test_threads_that_ask_at_the_same_time_get_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[AbstractDevice] = []
    together = threading.Barrier(8)

    def slowly() -> AbstractDevice:
        time.sleep(0.05)
        made.append(EmulatedDevice())
        return made[-1]

    def ask(_: int) -> AbstractDevice | None:
        together.wait()
        return choose_device("emulated")

    monkeypatch.setattr(selection, "_emulated", selection._once(slowly))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(made) == 1
    assert all(device is made[0] for device in found)


def test_a_gpu_that_is_not_there_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []

    def look() -> AbstractDevice:
        looked.append(1)
        raise DeviceError("no GPU can be used")

    monkeypatch.setattr(selection, "_cuda", selection._once(look))
    monkeypatch.delenv("HAMFIT_DEVICE", raising=False)
    assert [choose_device() for _ in range(3)] == [None] * 3
    for _ in range(2):
        with pytest.raises(DeviceError, match="no GPU can be used"):
            choose_device("cuda")
    assert looked == [1]


def cupy_that_finds_a_gpu(compile_kernels: Callable[[], None]) -> SimpleNamespace:
    """As much of CuPy as it takes to open a device."""
    runtime = SimpleNamespace(
        CUDARuntimeError=RuntimeError,
        getDeviceProperties=lambda index: {"name": b"Abacus 100", "sharedMemPerBlockOptin": 2**17},
        memGetInfo=lambda: (3 * 2**30, 80 * 2**30),
    )
    stream = SimpleNamespace(synchronize=lambda: None)
    cuda = SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(id=0), get_current_stream=lambda: stream)
    module = SimpleNamespace(compile=compile_kernels)
    return SimpleNamespace(cuda=cuda, ones=np.ones, RawModule=lambda **options: module)


def test_a_gpu_that_cannot_compute_is_missed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("libnvrtc.so.12 is not there\nand more")

    monkeypatch.setitem(sys.modules, "cupy", cupy_that_finds_a_gpu(refuse))
    with pytest.raises(DeviceError, match=r"Abacus 100 is there, but CuPy cannot compute on it \(libnvrtc.so.12 is"):
        CupyDevice()


def test_what_cuda_reports_becomes_an_exception_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy_that_finds_a_gpu(lambda: None))
    device = CupyDevice()
    error = type("CUBLASError", (RuntimeError,), {"__module__": "cupy_backends.cuda.libs.cublas"})
    with pytest.raises(DeviceMemoryFull), device.guarded():
        raise error("CUBLAS_STATUS_ALLOC_FAILED")
    with pytest.raises(DeviceError, match="Abacus 100 failed"), device.guarded():
        raise error("CUBLAS_STATUS_EXECUTION_FAILED")
    with pytest.raises(ZeroDivisionError), device.guarded():
        raise ZeroDivisionError


def test_the_memory_of_a_device_is_what_it_has_and_not_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", cupy_that_finds_a_gpu(lambda: None))
    assert CupyDevice().total_bytes() == 80 * 2**30
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=2**33, available=2**20))
    assert EmulatedDevice().total_bytes() == 2**33


def test_where_the_cache_cannot_be_written_kernels_are_kept_among_temporary_files_of_this_user(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    np.testing.assert_array_equal(rotated(made(), 2), expected(2))
    kept = tmp_path / f"hamfit-{os.getuid()}"
    assert kept.stat().st_mode & 0o077 == 0
    assert [path.suffix for path in kept.iterdir()] == [".so"]


@pytest.mark.parametrize("how", ["of another", "open to all", "a link", "a file"])
def test_kernels_are_loaded_from_no_folder_that_others_may_write(
    how: str, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "taken"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    user = os.getuid() + (how == "of another")
    mine = tmp_path / f"hamfit-{user}"
    if how == "a file":
        mine.write_text("no folder")
    elif how == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        mine.symlink_to(tmp_path / "elsewhere")
    else:
        mine.mkdir()
        mine.chmod(0o777 if how == "open to all" else 0o700)
    monkeypatch.setattr("os.getuid", lambda: user)
    with pytest.raises(DeviceError, match=r"must be a folder of this user alone: set XDG_CACHE_HOME"):
        made()


def test_a_user_without_a_home_has_a_place_for_kernels(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    np.testing.assert_array_equal(rotated(made(), 2), expected(2))
