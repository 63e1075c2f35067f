"""What a task without a result means (the cluster's fault, the machine's, the library's), and where it runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hamfit.errors import ClusterError, DataError, HamfitError, TaskError
from hamfit.tasks.cluster import task_error


class KilledWorker(Exception):
    """Named as distributed names it."""


@pytest.mark.parametrize(
    "error, kind, words",
    [
        (DataError("frame 3 is empty"), DataError, "frame 3 is empty"),
        (None, ClusterError, "repeat the fit"),
        (KilledWorker("leaf-1"), ClusterError, "memory"),
        (OSError("no space"), TaskError, "a worker failed"),
    ],
)
def test_each_ending_is_told_as_what_it_is(error: Exception | None, kind: type[HamfitError], words: str) -> None:
    found = task_error(error, "lost", "repeat the fit")
    assert type(found) is kind
    assert words in str(found)


ONE_THREAD = """
from hamfit.processes import prepare_worker
prepare_worker()
import hamfit.fitting.cluster, scipy.linalg
from threadpoolctl import threadpool_info
print([one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"])
"""


def test_a_worker_that_judges_before_it_fits_has_one_blas_thread_for_both() -> None:
    """SciPy has a BLAS of its own, which may be loaded later than a worker is prepared, and decides bits of a fit."""
    told = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", ONE_THREAD], env=told, capture_output=True, text=True, check=True)
    threads = json.loads(done.stdout)
    assert len(threads) >= 1
    assert set(threads) == {1}
