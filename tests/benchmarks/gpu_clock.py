"""What a device can do at best, and how long it works: measured with its own events, on the machine at hand."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hamfit.devices import AbstractDevice

#: Instructions of the loops below; independent ones in each thread, so that their latencies overlap.
_CEILINGS = r"""
extern "C" __global__ void multiply_adds(double* out, int rounds) {
    double a[8], b = 1.0 + 1e-9 * threadIdx.x, c = 1e-9;
    for (int k = 0; k < 8; ++k) a[k] = k + threadIdx.x;
    for (int n = 0; n < rounds; ++n)
        for (int k = 0; k < 8; ++k) a[k] = a[k] * b + c;
    double sum = 0.0;
    for (int k = 0; k < 8; ++k) sum += a[k];
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

extern "C" __global__ void tanhs(double* out, int rounds) {
    double sum = 0.0, x = -3.0 + 1e-4 * threadIdx.x;
    for (int n = 0; n < rounds; ++n) {
        sum += tanh(x);
        x += 6.0 / rounds;
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
"""
_THREADS, _BLOCKS, _ROUNDS = 256, 132 * 16, 4096


@dataclass(frozen=True, slots=True)
class Floors:
    """What bounds every kernel on one device."""

    gemm_flops: float
    """Flops a second of a large float64 matrix product (cuBLAS)."""
    bandwidth: float
    """Bytes a second that a copy on the device reads and writes together."""
    upload: float
    """Bytes a second from the host, as the library uploads arrays."""
    multiply_adds: float | None = None
    """Flops a second of float64 multiply-adds outside the matrix units; None where they were not measured."""
    tanhs: float | None = None
    """float64 tanh a second of a kernel that does nothing else; None where they were not measured."""


@dataclass(slots=True)
class Elapsed:
    """Time that a device worked, by its own events where it has them."""

    total: float = 0.0
    """From the first to the last thing in between, s."""
    kernels: dict[str, float] = field(default_factory=dict)
    """Each kernel of ``kernels/cuda`` by itself, s."""


def measure_floors(device: AbstractDevice, *, size: int = 8192, copied_bytes: int = 2**31) -> Floors:
    """Measure them, a few seconds."""
    product = 2.0 * size**3 / _product_seconds(device, size)
    copied = 2.0 * copied_bytes / _copy_seconds(device, copied_bytes)
    host = np.zeros(copied_bytes // 32)
    uploaded = host.nbytes / median_time(device, lambda: device.upload(host)).total
    device.release()
    return Floors(product, copied, uploaded, **(_measure_ceilings(device) if device.kind == "cuda" else {}))


def _product_seconds(device: AbstractDevice, size: int) -> float:
    xp = device.xp
    a, b = (xp.asarray(xp.arange(size * size) % 7, dtype=np.float64).reshape(size, size) for _ in range(2))
    return median_time(device, lambda: xp.matmul(a, b)).total


def _copy_seconds(device: AbstractDevice, copied_bytes: int) -> float:
    source = device.xp.zeros(copied_bytes // 8)
    target = device.xp.empty_like(source)

    def copy() -> None:
        target[...] = source

    return median_time(device, copy).total


def _measure_ceilings(device: AbstractDevice) -> dict[str, float]:
    module = device.xp.RawModule(code=_CEILINGS)
    out = device.xp.empty(_THREADS * _BLOCKS)
    work = {"multiply_adds": 2.0 * 8 * _ROUNDS * out.size, "tanhs": 1.0 * _ROUNDS * out.size}
    rates = {}
    for name, count in work.items():
        kernel, arguments = module.get_function(name), (out, np.int32(_ROUNDS))

        def start(kernel: Any = kernel, arguments: Any = arguments) -> None:
            kernel((_BLOCKS,), (_THREADS,), arguments)

        rates[name] = count / median_time(device, start).total
    return rates


def median_time(device: AbstractDevice, run: Callable[[], object], repeats: int = 7) -> Elapsed:
    """Medians over runs, the first of which does not count: it compiles."""
    run()
    every = []
    for _ in range(repeats):
        with elapsed(device) as spent:
            run()
        every.append(spent)
    names = {name for spent in every for name in spent.kernels}
    return Elapsed(
        statistics.median(spent.total for spent in every),
        {name: statistics.median(spent.kernels.get(name, 0.0) for spent in every) for name in sorted(names)},
    )


@contextmanager
def elapsed(device: AbstractDevice) -> Iterator[Elapsed]:
    """Time what a device does within the block; filled in when it is left."""
    spent = Elapsed()
    device.synchronize()
    marks: list[tuple[str, Any, Any]] = []
    launch = device.launch

    def timed(kernel: str, blocks: int, threads: int, *arguments: Any, shared_bytes: int = 0) -> None:
        begun = _mark(device)
        launch(kernel, blocks, threads, *arguments, shared_bytes=shared_bytes)
        marks.append((kernel, begun, _mark(device)))

    first = _mark(device)
    device.launch = timed
    try:
        yield spent
    finally:
        del device.launch
    last = _mark(device)
    device.synchronize()
    spent.total = _between(device, first, last)
    for kernel, begun, ended in marks:
        spent.kernels[kernel] = spent.kernels.get(kernel, 0.0) + _between(device, begun, ended)


def _mark(device: AbstractDevice) -> Any:
    if device.kind != "cuda":
        return time.perf_counter()
    event = device.xp.cuda.Event()
    event.record()
    return event


def _between(device: AbstractDevice, first: Any, last: Any) -> float:
    if device.kind != "cuda":
        return float(last - first)
    return 1e-3 * float(device.xp.cuda.get_elapsed_time(first, last))


def wall(run: Callable[[], object], repeats: int, seconds: float) -> float:
    """Median wall time of runs after one that does not count; fewer runs where they would take longer than that."""
    run()
    times: list[float] = []
    while len(times) < repeats and (not times or sum(times) + times[-1] < seconds):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def describe(device: AbstractDevice) -> Mapping[str, Any]:
    """The GPU, its driver and CuPy, for the foot of a page."""
    runtime = device.xp.cuda.runtime
    return {
        "GPU": device.name,
        "its memory": f"{runtime.memGetInfo()[1] / 2**30:.0f} GiB",
        "CUDA driver": runtime.driverGetVersion(),
        "CuPy": device.xp.__version__,
    }


def taken_bytes(device: AbstractDevice) -> float:
    """Memory of the GPU that is taken, by this process alone where nobody else uses it; 0 on other devices."""
    if device.kind != "cuda":
        return 0.0
    free, total = device.xp.cuda.runtime.memGetInfo()
    return float(total - free)
