"""Peak memory is predicted before a fit and does not grow with the number of frames."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hamfit.data import Dataset, DatasetWriter
from hamfit.fitting import plan
from hamfit.options import FitOptions
from hamfit.solver_choice import SOLVERS

N = 3000
FEATURES = 16

PROGRAM = """
import json, pathlib, sys
from hamfit.fitting import fit
from hamfit.options import FitOptions
report = fit(sys.argv[1], options=FitOptions.build(json.loads(sys.argv[2]))).report
# not getrusage, which counts what the parent held when it forked
status = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
print(json.dumps([peak, report["peak_bytes_per_worker"]]))
"""


def sparse_gas(path: Path, frames: int) -> Dataset:
    """Particles with few neighbours and forces of no law: cheap to stream, large to hold."""
    edge = float(N ** (1 / 3))
    with (
        DatasetWriter.create(path, units="lj", labels=("A",)) as writer,
        writer.open_trajectory(
            "run", dim=3, species=np.zeros(N, dtype=np.int64), masses=1.0, box=edge * np.eye(3), periodic=True
        ) as trajectory,
    ):
        rng = np.random.default_rng(3)
        for _ in range(frames):
            trajectory.append(
                q=rng.uniform(0.0, edge, size=(1, N, 3)),
                velocity=rng.normal(size=(1, N, 3)),
                force=rng.normal(size=(1, N, 3)),
            )
    return Dataset.open(path)


def measured(data: Dataset, options: FitOptions) -> tuple[int, int]:
    """Peak resident bytes of a process that does nothing but this fit: by the kernel and by the report."""
    text = options.model_dump_json(exclude_none=True)
    command = [sys.executable, "-c", PROGRAM, str(data.path), text]
    kernel, told = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return int(kernel), int(told)


@pytest.mark.parametrize("solver", SOLVERS)
def test_peak_memory_is_below_the_prediction_and_independent_of_the_number_of_frames(
    solver: str, tmp_path: Path
) -> None:
    options = FitOptions(
        cutoff=0.6, features=FEATURES, input_map="r", sampler="elm", taper="smooth", solver=solver, threads=1
    )
    few, many = sparse_gas(tmp_path / "few.zarr", 240), sparse_gas(tmp_path / "many.zarr", 720)
    peaks = []
    for data in (few, many):
        kernel, told = measured(data, options)
        predicted = plan(data, options).peak_bytes_per_worker
        assert kernel <= predicted
        assert told == pytest.approx(kernel, rel=0.1)
        # an upper bound that says something
        assert predicted < 5 * kernel
        peaks.append(kernel)
    # both fill the cache of chunks; three times the data are 104 MB more, of which none may stay
    assert peaks[1] - peaks[0] < 30 * 2**20
