"""The process `fit`: from datasets to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from hamfit.options import FitOptions, FitSpec
from hamfit_service.processes.process import AbstractInputs, Process, Workplace
from hamfit_service.processes.references import MODEL_NAME_PATTERN, Reference


class FitInputs(FitSpec, AbstractInputs):
    """Datasets, and how to fit a model to them."""

    process: ClassVar[str] = "fit"

    data: tuple[Reference, ...] = Field(
        min_length=1, max_length=10_000, description="Datasets made by ingest, simulate or rollout."
    )
    publish: str | None = Field(
        default=None,
        pattern=MODEL_NAME_PATTERN,
        description="Name under which the model is published when it is fitted; it gets the next version.",
    )

    def references(self) -> Sequence[tuple[str, str, str]]:
        """See `AbstractInputs.references`."""
        return [("data", "dataset", reference) for reference in self.data]

    def replaced(self, changes: Mapping[str, str]) -> FitInputs:
        """See `AbstractInputs.replaced`."""
        return self.with_changes(data=[changes.get(reference, reference) for reference in self.data])

    def options(self, **execution: Any) -> FitOptions:
        """The options of the library's `fit`; ``execution`` says where and how carefully it works."""
        return FitOptions.build({**self.model_dump(include=set(FitSpec.model_fields)), **execution})


def run_fit(inputs: FitInputs, workplace: Workplace) -> Mapping[str, Any]:
    """Fit, and return the report."""
    from hamfit.data import Dataset
    from hamfit.fitting import fit

    datasets = [Dataset.open(workplace.resolve("dataset", reference)) for reference in inputs.data]
    return fit(
        datasets,
        out=workplace.outputs.main,
        options=inputs.options(threads=workplace.threads, **workplace.execution),
        client=workplace.client,
        progress=workplace.progress,
        overwrite=workplace.overwrite,
    ).report


FIT = Process(
    name="fit",
    summary="Fit a model to trajectories in one linear solve.",
    inputs=FitInputs,
    output="model",
    kind="model",
    phases=(
        ("reading", 1.0),
        ("survey", 4.0),
        ("sampling", 8.0),
        ("whitening", 3.0),
        ("features", 80.0),
        ("solving", 3.0),
        ("publishing", 1.0),
    ),
    runner=run_fit,
)
