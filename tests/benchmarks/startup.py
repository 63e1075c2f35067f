"""What a user waits for: the first fit after an installation, and the second."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.records import Case, Value
from tests.benchmarks.study import DATA, ROOT, Study

TITLE = "Start-up"
TEXT = """
`hamfit fit` of lj-500 (20 frames of 500 atoms, default options) as a fresh process. The first run has an empty cache
of compiled kernels, as after an installation; the second finds it filled.
"""


def cases(study: Study) -> Iterator[Case]:
    """Time the command line twice."""
    data = study.ingest("lj-500", DATA / "lj-500.lammpstrj.gz", units="lj", energies=DATA / "lj-500.energies.csv")
    cache = study.folder / "numba-cache"
    shutil.rmtree(cache, ignore_errors=True)
    model = study.folder / "lj-500.model"
    hamfit = str(Path(sys.executable).with_name("hamfit"))
    command = [hamfit, "fit", str(data.path), "--cutoff", "2.5", "--out", str(model), "--json"]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    environment.pop("OPENBLAS_NUM_THREADS", None)
    for name, bar in (("first, empty kernel cache", 30.0), ("second", 6.0)):
        began = time.perf_counter()
        subprocess.run(command, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
        yield Case("hamfit fit lj-500", name, (Value("seconds", round(time.perf_counter() - began, 2), bar),))
