"""How fast rows become a solution, beside one matrix product, and what a second worker gains."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from tests.benchmarks.records import Case, Value
from tests.benchmarks.study import Study
from threadpoolctl import threadpool_limits

import hamfit
from hamfit.checked_options import available_cores
from hamfit.data import as_datasets
from hamfit.fitting.clock import Clock
from hamfit.fitting.executors import on_threads
from hamfit.fitting.preparing import prepare
from hamfit.fitting.problem import pose
from hamfit.options import FitOptions

TITLE = "Performance"
TEXT = """
A Lennard-Jones liquid of 10,976 atoms (density 0.8442, cutoff 2.5, about 54 neighbours each), 20 frames, 512 features
on 1/r, ELM, forces cut hard. All times are wall times on an idle machine, medians over repeats in one run.

**One frame.** Neighbour list, assembly of all 32,928 rows and their reduction, over all cores, against the Gram
matrix `A.T @ A` of a ready float64 matrix A (32,928 x 512) with NumPy's BLAS on the same cores. The sketched solver
streams whitened columns through tables, so it need not even touch 512 columns; what it does once per fit, before the
first frame (sampling rows, QR, SVD, tables), stands in the column `once`. The other solvers evaluate every tanh.

**Two workers.** The whole fit on a Dask cluster of processes with one thread each. Dask's share is what is left of the
workers' time in the streaming phase after the computing itself. With 20 frames the whole fit takes a second, and what
cannot be shared (first look, SVD, solution, the start of each pass) weighs; 200 frames are the same 20 ten times over.
"""

FRAMES = 20
REPEATS = 5
OPTIONS = {"features": 512, "blocks": ("pair",), "cutoff": 2.5, "input_map": "1/r", "taper": "none", "sampler": "elm"}


def cases(study: Study) -> Iterator[Case]:
    """Measure one frame with every solver, then workers."""
    material = study.simulate(
        "lj-10976", "lj", shape=(14, 14, 14), n_frames=FRAMES, every=10, melt_steps=200, n_trajectories=1
    )
    yield from _one_frame(material.path)
    yield from _workers(material.path)


def _one_frame(path: Path) -> Iterator[Case]:
    cores = available_cores()
    matrix = np.random.default_rng(0).normal(size=(3 * 10_976, 512))
    with threadpool_limits(limits=cores, user_api="blas"):
        product = _median(lambda: matrix.T @ matrix)
    for solver, repeats in (("sketched", REPEATS), ("tsqr", 1), ("normal", 1)):
        options = FitOptions.build({**OPTIONS, "solver": solver, "threads": cores})
        executor = partial(on_threads, cores)
        problem = pose(as_datasets(path), options)
        began = time.perf_counter()
        prepared = prepare(problem, options, executor, None, Clock())
        once = time.perf_counter() - began
        frame = _median(partial(executor, prepared.stage, prepared.shards, _ignore), repeats) / FRAMES
        bar = 1.0 if solver == "sketched" else None
        values = (
            Value("frame, ms", round(1e3 * frame, 2)),
            Value("A.T @ A, ms", round(1e3 * product, 2)),
            Value("frame / A.T @ A", round(frame / product, 3), bar),
            Value("once, ms", round(1e3 * once, 1)),
            Value("columns", float(prepared.stage.basis.parts[0].n_columns)),
        )
        yield Case("One frame of 10,976 atoms, 512 features", f"{solver}, {cores} threads", values)


def _ignore(shard: object) -> None:
    """Nobody watches."""


def _workers(path: Path) -> Iterator[Case]:
    from hamfit_service.clusters.local import LocalProcesses

    totals: dict[tuple[int, int], float] = {}
    for workers in (1, 2):
        with LocalProcesses(workers, 1).connect() as client:
            for times in (1, 10):
                fit = partial(hamfit.fit, [path] * times, client=client, workers=workers, threads=1, **OPTIONS)
                fit()
                seconds, shares = [], []
                for _ in range(REPEATS):
                    began = time.perf_counter()
                    report = fit().report
                    seconds.append(time.perf_counter() - began)
                    shares.append(1.0 - report["compute_seconds"] / (workers * report["seconds"]["features"]))
                total = totals[workers, times] = statistics.median(seconds)
                values = [Value("fit, s", round(total, 3))]
                if workers == 2:
                    speed_up = totals[1, times] / total
                    values.append(Value("speed-up", round(speed_up, 2)))
                    values.append(Value("time / time of one worker", round(1.0 / speed_up, 3), 1.0 / 1.8))
                values.append(Value("Dask's share", round(statistics.median(shares), 3), 0.05))
                name = f"{workers} worker{'s' * (workers > 1)}"
                yield Case(f"The same fit on Dask, {FRAMES * times} frames", name, tuple(values))


def _median(run: Callable[[], object], repeats: int = REPEATS) -> float:
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
