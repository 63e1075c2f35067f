"""What holds for every test: one BLAS thread, few and repeatable random examples, children that can be interrupted.

Tests that need a program which this machine lacks are left out, and one line at the end says which and how to get it.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Generator

import pytest
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

#: Programs that tests may lack: what they are for, and how to get them.
PROGRAMS = {
    "Chromium": ("the service's web pages", "apt-get install chromium, or name one in HAMFIT_CHROMIUM"),
    "g++": ("kernels of GPUs on a processor", "apt-get install g++"),
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that ended because there is no compiler is left out: kernels are compiled when they are first used."""
    report = yield
    error = None if call.excinfo is None else call.excinfo.value
    # by its name: the library is not imported for those who only collect
    lacks = type(error).__name__ == "DeviceError" and "there is no g++" in str(error) and shutil.which("g++") is None
    if report.failed and lacks:
        report.outcome, report.longrepr = "skipped", (str(item.path), item.location[1] or 0, "Skipped: no g++")
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for program, (what, how) in PROGRAMS.items():
        count = sum(f"no {program}" in reason for reason in reasons)
        if count:
            terminalreporter.write_line(f"left out: {count} tests of {what}, for there is no {program}: {how}")
