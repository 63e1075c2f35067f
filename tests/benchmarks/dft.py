"""Forces from density functional theory: the mlearn data, beside the published potentials."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.records import Case, Value
from tests.benchmarks.study import CPU_SECONDS, OUTSIDE, Study

import hamfit

TITLE = "Density functional theory"
TEXT = """
Silicon and lithium of the mlearn benchmark (Zuo et al., J. Phys. Chem. A 124, 731 (2020)), fitted to its
training sets and tested on its test sets, with the many-body block and defaults chosen by held-out frames.
Force MAE in eV/A. The files are not part of this repository: fetch them from
github.com/materialsvirtuallab/mlearn as extended XYZ and name their folder in the environment variable
`HAMFIT_DFT_DATA`. Beside the bars stand qSNAP (measured by running LAMMPS with the published coefficients:
0.116 for silicon, 0.033 for lithium) and GAP (published: 0.07 and 0.01).
"""

_MATERIALS = (("Si", "silicon", 0.09), ("Li", "lithium", 0.015))


def folder() -> Path:
    """Where the DFT files are; SystemExit when nobody said so."""
    named = os.environ.get("HAMFIT_DFT_DATA")
    if not named or not Path(named).is_dir():
        raise SystemExit("the DFT files are not part of this repository: set HAMFIT_DFT_DATA to the folder with them")
    return Path(named)


def cases(study: Study) -> Iterator[Case]:
    """Fit to each training set, test on each test set."""
    source = folder()
    for element, words, bar in _MATERIALS:
        train = study.ingest(f"{element}-train", source / f"{element}-training.extxyz.gz", units="ase")
        test = study.ingest(f"{element}-test", source / f"{element}-test.extxyz.gz", units="ase")
        fitted = study.fit(element, train, blocks="pair,manybody")
        errors = hamfit.evaluate(fitted.model, test.path)
        values = (
            Value("force MAE, eV/A", errors["force_mae"], bar),
            Value("force RMSE, eV/A", errors["force_rmse"]),
            Value("energy MAE, eV/atom", errors["energy_mae_per_particle"]),
            Value(OUTSIDE, errors["extrapolated_share"]),
            Value(CPU_SECONDS, round(fitted.seconds, 2)),
        )
        yield Case(f"{words.capitalize()} test set", words, values, (*fitted.commands, *test.commands))
