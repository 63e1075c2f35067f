"""What a GPU gains: whole fits and rollouts beside the processor of the same machine, kernels beside their limits."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from tests.benchmarks.gpu_clock import Floors, describe, measure_floors, taken_bytes, wall
from tests.benchmarks.gpu_limits import panel_parts, step_bytes
from tests.benchmarks.records import Case, Value
from tests.benchmarks.study import Study

from hamfit.checked_options import available_cores
from hamfit.data import Dataset, as_datasets
from hamfit.devices import AbstractDevice, DeviceChoice, choose_device
from hamfit.fitting import FitResult, fit
from hamfit.fitting.clock import Clock
from hamfit.fitting.executors import on_threads
from hamfit.fitting.preparing import prepare
from hamfit.fitting.problem import pose
from hamfit.model import Model
from hamfit.options import FitOptions, Solver
from hamfit.rollouts import rollout

TITLE = "GPUs"
TEXT = """
Lennard-Jones liquids (density 0.8442, cutoff 2.5, about 54 neighbours each), 512 features on 1/r, ELM, forces cut hard,
all in float64. Everything on this page is measured in one run on one machine: the processor beside the GPU is that of
the same machine, with all its cores unless said otherwise. Wall times are medians over runs after a first one that
does not count; times of kernels are medians by CUDA events.

**Tests.** All tests that have a GPU among their cases, run there first.

**Floors.** What the GPU can do at best, measured before anything else: a matrix product of 8192 x 8192 float64 numbers
(cuBLAS), a copy of 2 GiB on the device (bytes read and written), an upload as the library makes it, float64
multiply-adds outside the matrix units, and tanh in a kernel that does nothing else.

**Forces.** A fit on the GPU against one on the processor: rms of the difference of forces over their rms. Solvers on
raw columns have a ridge, without which rounding decides directions that the data do not.

**Fits.** The whole command in memory, from reading to solution, and its streaming phase alone. Frames are the same 20,
several times over. `sketched` streams some forty whitened columns through tables, and is so quick on the processor
that reading the frames weighs; `normal` evaluates all 512 features of every pair.

**Kernels.** One frame of 10,976 atoms as one panel. Each part beside its limit, which is the greatest of: bytes that
must be read and written over the bandwidth; flops of a symmetric product, or of the product that lifts splines to
whitened columns, over that of cuBLAS; tanh over their rate. `assembly` makes the rows, `reduction` is the lift and the
Gram matrix. The bar of 1.67 is 60 % of the limit. `both / frame` is their share of the streaming time of a frame;
the rest is reading, uploads, the search for neighbours and launches.

**A million particles.** 1,000,188 particles, ten frames (the same one ten times). Memory is all that is taken on the
GPU when the fit is done, CuPy's pool included, which does not shrink in between; the bar is 80 GB.

**Rollouts.** 1,000,188 atoms, Störmer-Verlet, dt 0.002, through `hamfit.rollout`; time of a step is the difference of
two lengths over the difference of their steps, so that the beginning and the writing do not count. The processor has
one core. The bandwidth limit is the time to read the lists once and all that is kept of particles as often as a step
needs: positions are taken to stay in the cache while neighbours are gathered.
"""
SAVED_AS_IT_GROWS = True

#: Forces of a fit on the GPU and one on the processor, rms over rms.
AGREEMENT = 1e-10
LEAST_SPEED_UP = 20.0
LEAST_SHARE_OF_LIMIT = 0.6
MOST_BYTES = 80e9
LEAST_ROLLOUT_SPEED_UP = 50.0
#: A fit on raw columns leaves directions to rounding where it has no ridge.
_RIDGES: Mapping[Solver, float | None] = {"sketched": None, "tsqr": 1e-8, "normal": 1e-6}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large everything is; small ones only show that it runs."""

    cells: int = 14
    """Crystal cells of the liquid along each axis, 4 atoms each."""
    frames: int = 20
    features: int = 512
    times: tuple[tuple[Solver, int], ...] = (("sketched", 10), ("normal", 2))
    """Solvers of the fits that are timed, and how often each goes through the frames."""
    tiled_cells: int = 9
    tile: int = 7
    """Copies along each axis of the melted box that makes a million particles."""
    tiled_frames: int = 10
    melt_steps: int = 200
    repeats: int = 3
    seconds: float = 30.0
    """Spent at most on the repeats of one measurement."""
    steps: tuple[int, int] = (200, 1200)
    """Lengths of the two rollouts on the GPU."""
    core_steps: tuple[int, int] = (5, 25)
    """The same on one core."""
    matrix: int = 8192
    copied_bytes: int = 2**31


def cases(study: Study) -> Iterator[Case]:
    """Everything, on the GPU that CuPy takes first; DeviceError where there is none."""
    device = choose_device("cuda")
    assert device is not None
    yield _tests(study, device)
    yield from measure(study, device, Sizes())


def _tests(study: Study, device: AbstractDevice) -> Case:
    """Every test that has a GPU among its cases, run there before anything is measured."""
    found = study.folder / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-k", "cuda", f"--junitxml={found}"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    counts = ElementTree.parse(found).getroot().find("testsuite") if found.exists() else None
    names = ("tests", "failures", "errors", "skipped")
    numbers = {name: 0 if counts is None else int(counts.get(name, 0)) for name in names}
    failed = numbers["failures"] + numbers["errors"] + int(counts is None or done.returncode not in (0, 1))
    return Case(
        "Tests on the GPU",
        device.name,
        (Value("passed", max(0, numbers["tests"] - numbers["skipped"] - failed)), Value("failed", failed, 0)),
        commands=(f"python {' '.join(command[1:-1])}",),
    )


def machine() -> Mapping[str, Any]:
    """The GPU, for the foot of the page."""
    device = choose_device("cuda")
    assert device is not None
    return describe(device)


def measure(study: Study, device: AbstractDevice, sizes: Sizes) -> Iterator[Case]:
    """Everything, on any device."""
    floors = measure_floors(device, size=sizes.matrix, copied_bytes=sizes.copied_bytes)
    yield _floors(device, floors)
    shape, more = (sizes.cells,) * 3, {"melt_steps": sizes.melt_steps, "n_trajectories": 1}
    liquid = study.simulate("gpu-liquid", "lj", shape=shape, n_frames=sizes.frames, every=10, **more).path
    yield from _forces(device, liquid, sizes)
    for solver, times in sizes.times:
        yield _fits(device, liquid, sizes, solver, times)
    for solver, _ in sizes.times:
        yield _kernels(device, floors, liquid, sizes, solver)
    shape = (sizes.tiled_cells,) * 3
    large = study.simulate("gpu-million", "lj", shape=shape, tile=sizes.tile, n_frames=1, **more).path
    yield _million(device, large, sizes)
    yield _rollouts(study, device, floors, liquid, large, sizes)


def _floors(device: AbstractDevice, floors: Floors) -> Case:
    values = [
        Value("float64 product, Tflop/s", floors.gemm_flops / 1e12),
        Value("memory, GB/s", floors.bandwidth / 1e9),
        Value("upload, GB/s", floors.upload / 1e9),
        Value("multiply-adds, Tflop/s", None if floors.multiply_adds is None else floors.multiply_adds / 1e12),
        Value("tanh, 10^9/s", None if floors.tanhs is None else floors.tanhs / 1e9),
    ]
    return Case("Floors", device.name, tuple(values))


def _options(sizes: Sizes, solver: Solver, device: DeviceChoice, **changes: Any) -> FitOptions:
    common = {"cutoff": 2.5, "blocks": ("pair",), "input_map": "1/r", "taper": "none", "sampler": "elm"}
    where = {"threads": available_cores(), "checkpoint": False, "device": device}
    return FitOptions.build({**common, **where, "features": sizes.features, "solver": solver, **changes})


def _fitted(device: AbstractDevice | None, data: Path | list[Path], options: FitOptions) -> FitResult:
    """A fit, which must have run where it should."""
    result = fit(data, options=options)
    expected = [] if device is None else [device.name]
    assert result.report["devices"] == expected, result.report["devices"]
    return result


def _forces(device: AbstractDevice, liquid: Path, sizes: Sizes) -> Iterator[Case]:
    frame = Dataset.open(liquid).trajectories[0].frame(-1)
    for solver, ridge in _RIDGES.items():
        on_device, on_host = (
            _fitted(place, liquid, _options(sizes, solver, kind, ridge=ridge)).model.forces(frame)
            for place, kind in ((device, device.kind), (None, "cpu"))
        )
        difference = float(np.linalg.norm(on_device - on_host) / np.linalg.norm(on_host))
        yield Case(
            "Forces of a fit on the GPU and of one on the processor",
            f"{device.name}: {solver}",
            (Value("relative difference", difference, AGREEMENT), Value("ridge", ridge)),
        )


def _fits(device: AbstractDevice, liquid: Path, sizes: Sizes, solver: Solver, times: int) -> Case:
    atoms, seconds, streaming = 4 * sizes.cells**3, {}, {}
    for place, kind in ((device, device.kind), (None, "cpu")):
        reports: list[Mapping[str, Any]] = []

        def run(place: AbstractDevice | None = place, kind: str = kind, reports: list[Any] = reports) -> None:
            reports.append(_fitted(place, [liquid] * times, _options(sizes, solver, kind)).report)

        seconds[kind] = wall(run, sizes.repeats, sizes.seconds)
        streaming[kind] = statistics.median(report["seconds"]["features"] for report in reports[1:])
    gpu = device.kind
    return Case(
        f"Fits of {atoms:,} atoms, {sizes.features} features",
        f"{device.name}: {solver}, {times * sizes.frames} frames",
        (
            Value("GPU, s", round(seconds[gpu], 4)),
            Value(f"{available_cores()} cores, s", round(seconds["cpu"], 4)),
            Value("GPU / cores", round(seconds[gpu] / seconds["cpu"], 4), 1.0 / LEAST_SPEED_UP),
            Value("streaming, GPU / cores", round(streaming[gpu] / streaming["cpu"], 4)),
            Value("GPU, ms a frame", round(1e3 * streaming[gpu] / (times * sizes.frames), 3)),
        ),
    )


def _kernels(device: AbstractDevice, floors: Floors, liquid: Path, sizes: Sizes, solver: Solver) -> Case:
    cores = available_cores()
    options = _options(sizes, solver, device.kind)
    prepared = prepare(pose(as_datasets(liquid), options), options, partial(on_threads, cores), None, Clock())
    parts = panel_parts(device, prepared.stage.basis, Dataset.open(liquid).trajectories[0].frame(0), floors)
    executor = partial(on_threads, cores)
    stream = partial(executor, prepared.stage, prepared.shards, lambda shard: None)
    frame = wall(stream, sizes.repeats, sizes.seconds) / sizes.frames
    spent = sum(part.seconds for part in parts.values())
    limit = sum(part.limit for part in parts.values())
    return Case(
        f"Kernels: one frame of {4 * sizes.cells**3:,} atoms, {sizes.features} features",
        f"{device.name}: {solver}",
        (
            *(Value(f"{name}, ms", round(1e3 * part.seconds, 4)) for name, part in parts.items()),
            *(Value(f"{name} / limit", round(part.seconds / part.limit, 3)) for name, part in parts.items()),
            Value("both / their limits", round(spent / limit, 3), 1.0 / LEAST_SHARE_OF_LIMIT),
            Value("frame, ms", round(1e3 * frame, 3)),
            Value("both / frame", round(spent / frame, 3)),
        ),
    )


def _million(device: AbstractDevice, large: Path, sizes: Sizes) -> Case:
    device.release()
    particles = Dataset.open(large).trajectories[0].n_particles
    report = _fitted(device, [large] * sizes.tiled_frames, _options(sizes, "sketched", device.kind)).report
    return Case(
        "Fit of a million particles",
        f"{device.name}: {particles:,} particles, {sizes.tiled_frames} frames",
        (
            Value("fit, s", round(report["seconds"]["total"], 2)),
            Value("streaming, s", round(report["seconds"]["features"], 2)),
            Value("GPU memory, GB", round(taken_bytes(device) / 1e9, 2), MOST_BYTES / 1e9),
            Value("host memory, GB", round(report["peak_bytes_per_worker"] / 1e9, 2)),
        ),
        note=" ".join(report["warnings"]),
    )


def _rollouts(study: Study, device: AbstractDevice, floors: Floors, liquid: Path, large: Path, sizes: Sizes) -> Case:
    options = _options(sizes, "sketched", device.kind, blocks=("kinetic", "pair"))
    model = _fitted(device, liquid, options).model
    device.release()
    out = study.folder / "rolled.zarr"
    gpu = _step_seconds(model, large, out, device.kind, sizes.steps)
    core = _step_seconds(model, large, out, "cpu", sizes.core_steps)
    frame = Dataset.open(large).trajectories[0].frame(0)
    return Case(
        f"Rollouts of {frame.n_particles:,} atoms",
        f"{device.name}: Störmer-Verlet",
        (
            Value("GPU, ms a step", round(1e3 * gpu, 4)),
            Value("one core, ms a step", round(1e3 * core, 2)),
            Value("GPU / one core", round(gpu / core, 5) if gpu > 0.0 < core else None, 1.0 / LEAST_ROLLOUT_SPEED_UP),
            Value("GPU / bandwidth limit", round(gpu / (step_bytes(device, frame) / floors.bandwidth), 3)),
        ),
    )


def _step_seconds(model: Model, large: Path, out: Path, kind: DeviceChoice, steps: tuple[int, int]) -> float:
    """Time of a step from rollouts of two lengths, after a first one that does not count."""
    times = []
    for n in (1, *steps):
        began = time.perf_counter()
        done = rollout(model, large, out=out, steps=n, every=n, dt=0.002, threads=1, device=kind, overwrite=True)
        times.append(time.perf_counter() - began)
        assert bool(done.report["devices"]) == (kind != "cpu"), done.report["devices"]
    return (times[2] - times[1]) / (steps[1] - steps[0])
