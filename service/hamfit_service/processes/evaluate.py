"""The process `evaluate`: the errors of a model on a dataset, frame by frame or by running along with it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from hamfit.errors import RolloutWarning
from hamfit.progress import Event
from hamfit.rollouts.options import IntegratorName
from hamfit_service.processes.process import AbstractInputs, Process, Workplace
from hamfit_service.processes.references import Reference


class EvaluateInputs(AbstractInputs):
    """A model, and the dataset it is judged on."""

    process: ClassVar[str] = "evaluate"

    model: Reference = Field(description="Model to judge: a path, job:ID, or NAME@VERSION of the registry.")
    data: Reference = Field(description="Dataset to predict.")
    rollout: bool = Field(
        default=False, description="Run the model from each first frame and compare with the later ones."
    )
    trajectories: Reference | None = Field(
        default=None, description="Compare these trajectories of a rollout instead of running."
    )
    dt: float | None = Field(default=None, gt=0.0, description="Largest step of rollout; proposed by default.")
    integrator: IntegratorName | None = Field(
        default=None, description="Of rollout; kahanli8 by default, verlet where forces are cut off."
    )

    @model_validator(mode="after")
    def _running_options_need_running(self) -> Self:
        if self.rollout and self.trajectories is not None:
            raise ValueError("trajectories are compared instead of running; leave rollout out")
        if not self.rollout and (self.dt is not None or self.integrator is not None):
            raise ValueError("dt and integrator say how a rollout is run; set rollout to true")
        return self

    @property
    def compares(self) -> bool:
        """Whether trajectories are compared, and not single frames."""
        return self.rollout or self.trajectories is not None

    def references(self) -> Sequence[tuple[str, str, str]]:
        """See `AbstractInputs.references`."""
        found = [("model", "model", self.model), ("data", "dataset", self.data)]
        return found if self.trajectories is None else [*found, ("trajectories", "dataset", self.trajectories)]

    def replaced(self, changes: Mapping[str, str]) -> EvaluateInputs:
        """See `AbstractInputs.replaced`."""
        given = {field: changes.get(reference, reference) for field, _, reference in self.references()}
        return self.with_changes(**given)


def run_evaluate(inputs: EvaluateInputs, workplace: Workplace) -> Mapping[str, Any]:
    """Judge the model, and return the errors; a comparison writes a report too, where one is asked for."""
    model, data = workplace.resolve("model", inputs.model), workplace.resolve("dataset", inputs.data)
    if not inputs.compares:
        from hamfit.data import Dataset
        from hamfit.evaluation import evaluate
        from hamfit.model import Model

        return evaluate(
            Model.open(model),
            Dataset.open(data),
            threads=workplace.threads,
            client=workplace.client,
            progress=workplace.progress,
        )
    from hamfit.comparison import compare_rollouts
    from hamfit.rollouts.following import follow

    if inputs.trajectories is not None:
        trajectories = workplace.resolve("dataset", inputs.trajectories)
    else:
        trajectories = workplace.outputs.main
        with warnings.catch_warnings():
            # the comparison says the same of its own accord
            warnings.simplefilter("ignore", RolloutWarning)
            follow(
                model,
                data,
                out=trajectories,
                dt=inputs.dt,
                integrator=inputs.integrator,
                client=workplace.client,
                progress=workplace.progress,
                overwrite=workplace.overwrite,
                threads=workplace.threads,
                **workplace.execution,
            )
    workplace.progress(Event("comparing", 0, 1, 0, 0.0, 0))
    comparison = compare_rollouts(model, data, trajectories)
    if workplace.outputs.report is not None:
        from hamfit.reports import write_report

        title = f"{Path(inputs.model).name} on {Path(inputs.data).name}"
        write_report(comparison, workplace.outputs.report, title=title)
    return comparison.to_dict()


EVALUATE = Process(
    name="evaluate",
    summary="Measure the errors of a model on a dataset.",
    inputs=EvaluateInputs,
    output="trajectories.zarr",
    kind="dataset",
    phases=(("proposing", 2.0), ("rollout", 93.0), ("comparing", 5.0)),
    runner=run_evaluate,
)
