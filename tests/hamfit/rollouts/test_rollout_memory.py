"""Peak memory is predicted before a rollout and does not grow with the number of steps."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes

from hamfit.data import Dataset, DatasetWriter
from hamfit.model import Model
from hamfit.rollouts import plan_rollout
from hamfit.rollouts.sizes import peak_bytes_of_process
from worlds import MASSES

PROGRAM = """
import json, pathlib, sys, warnings
warnings.simplefilter("ignore")
from hamfit.rollouts import rollout
report = rollout(sys.argv[1], sys.argv[2], out=sys.argv[3], **json.loads(sys.argv[4])).report
# not getrusage, which counts what the parent held when it forked
status = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
print(json.dumps([peak, report["peak_bytes"]]))
"""


def measured(model: Model, initial: Dataset, place: Path, **how: Any) -> int:
    """Peak resident bytes of a process that does nothing but this rollout."""
    model.save(place / "model")
    arguments = [str(place / "model"), str(initial.path), str(place / "out"), json.dumps(how)]
    ran = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, check=True, text=True)
    kernel, told = json.loads(ran.stdout)
    assert told == pytest.approx(kernel, rel=0.1)
    return int(kernel)


def crystal(path: Path, side: int) -> Dataset:
    """A cubic crystal of side^3 particles, at rest."""
    q = 1.2 * np.array(list(itertools.product(range(side), repeat=3)), dtype=float)
    with DatasetWriter.create(path, units="lj", labels=("A", "B")) as writer:
        writer.add_trajectory(
            "run-0",
            q=q[None],
            velocity=np.zeros_like(q[None]),
            species=np.arange(len(q)) % 2,
            masses=np.resize(MASSES, len(q)),
            box=1.2 * side * np.eye(3),
            periodic=True,
        )
    return Dataset.open(path)


def test_peak_memory_is_below_the_prediction_and_independent_of_the_number_of_steps(tmp_path: Path) -> None:
    model, initial = scenes.liquid_model(), crystal(tmp_path / "crystal", 10)
    peaks = []
    for steps in (120, 1200):
        how: dict[str, Any] = {
            "steps": steps,
            "dt": 0.002,
            "every": 1,
            "threads": 1,
            "forces": True,
            "temperature": 0.3,
        }
        (tmp_path / str(steps)).mkdir()
        peaks.append(measured(model, initial, tmp_path / str(steps), **how))
        predicted = plan_rollout(model, initial, **how)["peak_bytes_per_process"]
        assert peaks[-1] <= predicted
        # an upper bound that says something
        assert predicted < 6 * peaks[-1]
    # ten times the steps are 78 MB more on disk, of which the three chunks that fill may stay
    assert peaks[1] - peaks[0] < 45 * 2**20


def test_memory_that_is_predicted_grows_with_frames_only_until_chunks_are_full() -> None:
    assert peak_bytes_of_process(1000, 3, 2 * 10**6, 2, 1, 1100) == peak_bytes_of_process(1000, 3, 10**8, 2, 1, 1100)
    assert peak_bytes_of_process(1000, 3, 100, 2, 1, 1100) < peak_bytes_of_process(1000, 3, 1000, 2, 1, 1100)
