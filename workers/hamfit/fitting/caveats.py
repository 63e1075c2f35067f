"""What the user of a fit should know beside its numbers: one sentence for each thing that is not as it should be.

What depends on the solver, the solver says itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hamfit.reductions import solver_named

#: Table errors below this, or below this share of the error of the fit itself, do not matter.
_TABLE_ERROR, _TABLE_SHARE = 1e-8, 0.1
_OUTSIDE_SHARE = 1e-2


def caveats(parts: Mapping[str, Mapping[str, Any]], solver: str) -> list[str]:
    """Sentences about the parts of the report of a fit by ``solver``; empty when all is well."""
    out = []
    for name, part in parts.items():
        if part["rows"] < part["columns"]:
            out.append(
                f"the {name} part has {part['rows']} rows for {part['columns']} columns, and was "
                f"{part['outcome']['sentence']}; give more frames or fewer --features"
            )
        out += solver_named(solver).caveats(name, part)
        enough = part["rows"] >= part["columns"]
        if enough and part["table_error"] > max(_TABLE_ERROR, _TABLE_SHARE * part["train"]):
            out.append(
                f"the tables of the {name} part are exact to {part['table_error']:.1e} only: the coefficients of its "
                "features are large; give another --seed or --sampler, or compare with --solver tsqr"
            )
        if part["edges_outside_tables"] > _OUTSIDE_SHARE * part["rows"]:
            out.append(
                f"{part['edges_outside_tables']} edges of the {name} part lie beyond the distances of the first look: "
                "the fit was slower, not worse"
            )
    return out
