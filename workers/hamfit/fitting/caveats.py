"""What the user of a fit should know beside its numbers: one sentence for each thing that is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Condition number at which normal equations have lost all but a few digits.
_NORMAL_CONDITION = 1e6
#: Condition number of whitened columns above which Cholesky loses digits that rounding would have kept.
_WHITE_CONDITION = 1e4
#: Table errors below this, or below this share of the error of the fit itself, do not matter.
_TABLE_ERROR, _TABLE_SHARE = 1e-8, 0.1
_OUTSIDE_SHARE = 1e-2
#: A refinement that moves by more than this share of the first step, or of the error of the fit, has not converged;
#: steps of the size of rounding never matter.
_STEP_SHARE, _STEP = 0.1, 1e-10


def caveats(parts: Mapping[str, Mapping[str, Any]], solver: str) -> list[str]:
    """Sentences about the parts of a report; empty when all is well."""
    out = []
    for name, part in parts.items():
        if part["rows"] < part["columns"]:
            out.append(
                f"the {name} part has {part['rows']} rows for {part['columns']} columns: the solution of least norm "
                "was taken; give more frames or fewer --features"
            )
        condition = part["solved_condition"]
        if solver == "normal" and condition > _NORMAL_CONDITION:
            out.append(
                f"the {name} part has condition number {condition:.1e}, which normal equations square: expect errors "
                "of 1e-4 to 1e-3; use --solver sketched"
            )
        whitened_by_gram = solver == "sketched" and not part["rare_rows_apart"]
        if whitened_by_gram and part["ridge"] == 0.0 and condition > _WHITE_CONDITION:
            out.append(
                f"the whitened columns of the {name} part have condition number {condition:.1e}: the sample of rows "
                "was not representative; compare with --solver tsqr"
            )
        enough = part["rows"] >= part["columns"]
        if enough and part["table_error"] > max(_TABLE_ERROR, _TABLE_SHARE * part["train"]):
            out.append(
                f"the tables of the {name} part are exact to {part['table_error']:.1e} only: the coefficients of its "
                "features are large; give another --seed or --sampler, or compare with --solver tsqr"
            )
        step = part.get("refinement_step", 0.0)
        if step > max(_STEP, _STEP_SHARE * part.get("first_step", 0.0), _STEP_SHARE * part["train"]):
            out.append(
                f"the second pass over the {name} part still moved its predictions by {step:.1e}: single precision is "
                "not enough for these data; use --precision double"
            )
        if part["edges_outside_tables"] > _OUTSIDE_SHARE * part["rows"]:
            out.append(
                f"{part['edges_outside_tables']} edges of the {name} part lie beyond the distances of the first look: "
                "the fit was slower, not worse"
            )
    return out
