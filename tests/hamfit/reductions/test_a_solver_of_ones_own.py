"""A solver is a file and its registration: a fit by one that hamfit has never heard of, through every door."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hamfit.data import Dataset
from hamfit.fitting import fit
from hamfit.options import FitOptions
from worlds import liquids, write

#: Registration comes before options are loaded, as an installed solver's would.
PROGRAM = """
import sys
from hamfit.solver_choice import SOLVERS, Registered
SOLVERS["gradients"] = Registered("gradients_solver:Gradients", "for the patient")
from hamfit_service.cli import main
sys.argv[0] = "hamfit"
main()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return write(tmp_path_factory.mktemp("own") / "a.zarr", [liquids(1, 12)])


def hamfit(*words: str) -> subprocess.CompletedProcess[str]:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False, env=environment
    )


def test_a_solver_of_ones_own_fits_from_the_command_line(data: Dataset, tmp_path: Path) -> None:
    flags = ("--cutoff", "1.75", "--features", "32", "--threads", "1", "--blocks", "pair")
    done = hamfit("fit", str(data.path), *flags, "--solver", "gradients", "--out", str(tmp_path / "m"), "--json")
    assert done.returncode == 0, done.stderr
    part = json.loads(done.stdout)["parts"]["force"]
    assert part["outcome"]["method"] == "converged"
    assert part["outcome"]["sentence"] == "solved by conjugate gradients"
    assert part["outcome"]["solves"]["converged"] > 1
    usual = fit(data, options=FitOptions(cutoff=1.75, features=32, threads=1, blocks=("pair",), checkpoint=False))
    assert part["train"] < 1e-6
    assert part["rank"] == usual.report["rank"]["force"]


def test_a_solver_of_ones_own_stands_in_the_help_and_in_refusals(data: Dataset, tmp_path: Path) -> None:
    assert "gradients (for the patient)" in hamfit("fit", "--help").stdout
    refused = hamfit("fit", str(data.path), "--solver", "gradients", "--precision", "mixed", "--plan")
    assert refused.returncode != 0
    assert "only the solver sketched can refine" in refused.stderr
