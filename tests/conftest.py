"""What holds for every test: one BLAS thread, few and repeatable random examples, children that can be interrupted."""

from __future__ import annotations

import os
import signal

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

# A shell without job control starts what it puts in the background with SIGINT ignored, and children inherit that:
# programs that a test interrupts would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
