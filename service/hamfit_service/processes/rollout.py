"""The process `rollout`: from a model and initial states to trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from hamfit.rollouts.options import RolloutOptions, RolloutSpec
from hamfit_service.processes.process import AbstractInputs, Process, Workplace
from hamfit_service.processes.references import Reference

CHECKPOINT_SECONDS = 15.0
"""Between two checkpoints of a rollout that is a job: what a killed worker or service costs at most."""


class RolloutInputs(RolloutSpec, AbstractInputs):
    """A model, a dataset of initial states, and how to run from them."""

    process: ClassVar[str] = "rollout"

    model: Reference = Field(description="Model to run: a path, job:ID, or NAME@VERSION of the registry.")
    initial: Reference = Field(description="Dataset that holds the initial states.")

    def references(self) -> Sequence[tuple[str, str, str]]:
        """See `AbstractInputs.references`."""
        return [("model", "model", self.model), ("initial", "dataset", self.initial)]

    def replaced(self, changes: Mapping[str, str]) -> RolloutInputs:
        """See `AbstractInputs.replaced`."""
        return self.with_changes(
            model=changes.get(self.model, self.model), initial=changes.get(self.initial, self.initial)
        )

    def options(self, **execution: Any) -> RolloutOptions:
        """The options of the library's `rollout`; ``execution`` says where and how carefully it works."""
        spec = self.model_dump(include=set(RolloutSpec.model_fields))
        return RolloutOptions.build({**spec, "checkpoint_seconds": CHECKPOINT_SECONDS, **execution})


def run_rollout(inputs: RolloutInputs, workplace: Workplace) -> Mapping[str, Any]:
    """Run from every initial state, and return the report."""
    from hamfit.rollouts import rollout

    return rollout(
        workplace.resolve("model", inputs.model),
        workplace.resolve("dataset", inputs.initial),
        out=workplace.outputs.main,
        options=inputs.options(threads=workplace.threads, **workplace.execution),
        client=workplace.client,
        progress=workplace.progress,
        overwrite=workplace.overwrite,
    ).report


ROLLOUT = Process(
    name="rollout",
    summary="Run a model from initial states, one trajectory for each.",
    inputs=RolloutInputs,
    output="trajectories.zarr",
    kind="dataset",
    phases=(("proposing", 2.0), ("rollout", 98.0)),
    runner=run_rollout,
)
