"""What holds for every test: one BLAS thread, few and repeatable random examples."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Before NumPy is imported, which Hypothesis leaves to others: nested thread pools make timings and memory depend on
# the machine.
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# No deadline: the first example of a kernel compiles it. Derandomised: a red run is red again.
settings.register_profile(
    "hamfit",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("hamfit")
