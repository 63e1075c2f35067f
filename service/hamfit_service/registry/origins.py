"""Where a model comes from and how good it is, as it says itself: its provenance holds the report of its fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hamfit_service.jsonable import jsonable

_SUMMARY = ("warnings", "blocks", "rows", "columns", "rank", "condition", "train", "held_out")
"""Of the report, what tells one version from another; the whole report is in the model and in the job."""


def lineage_and_summary(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Lineage and summary of a model, every byte of which is checked; raises StoreError when it is none, or damaged."""
    # loads the numerics, which only a service that publishes needs
    from hamfit.bundles import read_bundle
    from hamfit.model import MODEL_SCHEMA

    attrs, _ = read_bundle(path, "model", MODEL_SCHEMA)
    provenance = dict(attrs.get("provenance", {}))
    report = provenance.pop("report", {})
    lineage = {**provenance, "units": attrs.get("units"), "species": attrs.get("labels")}
    return jsonable(lineage), jsonable({name: report[name] for name in _SUMMARY if name in report})
