"""A fit that worked but not as well as it might warns, in one sentence that says why and what to do."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hamfit.errors import FitWarning
from hamfit.fitting import fit
from hamfit.fitting.caveats import caveats
from hamfit.options import FitOptions
from hamfit.reductions import normal
from hamfit.solver_choice import SOLVERS
from hamfit.types import FloatArray
from worlds import Case, liquids, write

FINE: dict[str, Any] = {
    "rows": 1000,
    "columns": 100,
    "solved_condition": 12.0,
    "rare_rows_apart": False,
    "ridge": 0.0,
    "train": 1e-9,
    "table_error": 1e-12,
    "edges_outside_tables": 0,
    "outcome": {"method": "cholesky", "sentence": "solved by Cholesky", "solves": {"cholesky": 126}},
}
#: Rounding has made some matrices indefinite: of those of the ridges tried, and that of the result.
TRIALS = {"method": "cholesky", "solves": {"cholesky": 61, "eigenvectors": 65}}
RESULT = {"method": "eigenvectors", "solves": {"cholesky": 61, "eigenvectors": 65}}


@pytest.mark.parametrize(
    ("change", "solver", "sentence"),
    [
        ({"rows": 99}, "sketched", "99 rows for 100 columns, and was solved by Cholesky; give more frames"),
        ({"solved_condition": 1e9}, "normal", "condition number 1.0e\\+09, which normal equations square"),
        ({"solved_condition": 1e9}, "sketched", "was not representative; compare with --solver tsqr"),
        ({"outcome": TRIALS}, "normal", "by eigenvectors.*Cholesky.* failed, 65 times in 126 .*use --solver sketched"),
        ({"outcome": RESULT}, "sketched", "by eigenvectors.*Cholesky.* failed; compare with --solver tsqr"),
        ({"table_error": 1e-5}, "sketched", "exact to 1.0e-05 only"),
        ({"edges_outside_tables": 11}, "sketched", "11 edges .* slower, not worse"),
        (
            {"first_step": 1e-3, "refinement_step": 2e-4},
            "sketched",
            "moved its predictions by 2.0e-04.*precision double",
        ),
    ],
)
def test_each_trouble_has_a_sentence_that_names_the_part(change: dict[str, Any], solver: str, sentence: str) -> None:
    told = caveats({"force": {**FINE, **change}, "velocity": FINE}, solver)
    assert len(told) == 1
    assert "force part" in told[0]
    with pytest.warns(FitWarning, match=sentence):
        warnings.warn(told[0], FitWarning, stacklevel=1)


@pytest.mark.parametrize("solver", SOLVERS)
def test_nothing_is_said_when_all_is_well(solver: str) -> None:
    assert caveats({"force": FINE, "velocity": FINE}, solver) == []


def test_what_a_solver_copes_with_is_not_mentioned() -> None:
    assert caveats({"force": {**FINE, "solved_condition": 1e9}}, "tsqr") == []


def test_what_noise_or_a_ridge_covers_is_not_mentioned() -> None:
    assert caveats({"force": {**FINE, "solved_condition": 1e9, "ridge": 1e-9}}, "sketched") == []
    assert caveats({"force": {**FINE, "table_error": 1e-5, "train": 1e-2}}, "sketched") == []


def test_a_refinement_that_moves_little_is_not_mentioned() -> None:
    for first, second, train in ((1e-3, 9e-5, 1e-9), (1e-11, 9e-11, 1e-9), (1e-4, 9e-4, 1e-2)):
        assert (
            caveats({"force": {**FINE, "train": train, "first_step": first, "refinement_step": second}}, "sketched")
            == []
        )


def test_a_fit_by_eigenvectors_where_cholesky_was_asked_for_says_so_and_how_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[int] = []
    real = normal.cho_factor

    def counted(matrix: FloatArray, **keywords: Any) -> Any:
        try:
            return real(matrix, **keywords)
        except np.linalg.LinAlgError:
            failed.append(matrix.shape[0])
            raise

    monkeypatch.setattr(normal, "cho_factor", counted)
    data = write(tmp_path / "a.zarr", [liquids(1, 10)])
    options = FitOptions(cutoff=1.75, features=64, solver="normal", threads=1, checkpoint=False, blocks=("pair",))
    with pytest.warns(FitWarning) as told:
        result = fit(data, options=options)
    outcome = result.report["parts"]["force"]["outcome"]
    assert result.report["rank"]["force"] < result.report["columns"]
    assert len(failed) > 0
    assert outcome["solves"]["eigenvectors"] == len(failed)
    # 25 ridges without each of 5 groups, and the result
    assert sum(outcome["solves"].values()) == 126
    assert outcome["method"] in outcome["solves"]
    assert outcome["sentence"].startswith("solved by ")
    sentence = f"the force part was solved by eigenvectors of the normal equations.* failed, {len(failed)} times in 126"
    assert any(re.match(sentence, str(one.message)) for one in told)
    assert any(re.match(sentence, one) for one in result.report["warnings"])


def test_too_few_rows_for_the_columns_warn_and_give_finite_forces(tmp_path: Path) -> None:
    case = Case("few", 3, 7, periodic=False, apart=0.9)
    frames = [case.frame(seed) for seed in range(2)]
    data = write(tmp_path / "a.zarr", [frames], energies=False)
    options = FitOptions(
        cutoff=1.75, features=200, sampler="elm", input_map="r", taper="smooth", solver="tsqr", threads=1
    )
    with pytest.warns(FitWarning, match=r"the force part has 42 rows for \d+ columns"):
        result = fit(data, options=options, blocks=("pair",))
    forces = result.model.forces(frames[0])
    assert np.all(np.isfinite(forces))
    # regularised: no coefficient runs away
    assert np.abs(forces).max() < 100.0
    assert result.report["rank"]["force"] <= 42


def test_a_good_fit_warns_of_nothing(tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids(1, 24)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(data, options=FitOptions(cutoff=1.75, features=48, threads=1, checkpoint=False))
