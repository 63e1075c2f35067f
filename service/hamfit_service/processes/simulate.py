"""The process `simulate`: trajectories of a built-in system become a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from hamfit.errors import SpecError
from hamfit_service.processes.process import AbstractInputs, Process, Workplace

Value: TypeAlias = bool | int | float | str | tuple[int, ...] | None
"""A value of a system's option; a shape may be text ("3x3") or numbers."""


class SimulateInputs(AbstractInputs):
    """A built-in system, and its options."""

    process: ClassVar[str] = "simulate"

    system: str = Field(max_length=100, description="Name of a built-in system.")
    options: dict[str, Value] = Field(
        default_factory=dict,
        max_length=50,
        description="Options of the system, by their names in the Python API; what is left out has a default.",
    )

    @field_validator("system")
    @classmethod
    def _system_is_known(cls, value: str) -> str:
        from hamfit.systems import system

        try:
            return system(value).name
        except SpecError as error:
            raise ValueError(str(error)) from error

    @field_validator("options")
    @classmethod
    def _options_are_allowed(cls, value: dict[str, Value], info: ValidationInfo) -> dict[str, Value]:
        name = info.data.get("system")
        if name is None:
            return value
        from hamfit.systems import system

        try:
            system(name).spec(value)
        except (SpecError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(str(error)) from error
        return value

    def references(self) -> Sequence[tuple[str, str, str]]:
        """See `AbstractInputs.references`."""
        return []

    def replaced(self, changes: Mapping[str, str]) -> SimulateInputs:
        """See `AbstractInputs.replaced`."""
        del changes
        return self


def run_simulate(inputs: SimulateInputs, workplace: Workplace) -> Mapping[str, Any]:
    """Simulate into a dataset, and describe it."""
    from hamfit.data import describe
    from hamfit.systems import simulate

    simulate(
        inputs.system,
        workplace.outputs.main,
        overwrite=workplace.overwrite,
        progress=workplace.progress,
        **inputs.options,
    )
    return describe(workplace.outputs.main)


SIMULATE = Process(
    name="simulate",
    summary="Simulate a built-in system into a dataset.",
    inputs=SimulateInputs,
    output="dataset.zarr",
    kind="dataset",
    phases=(("simulating", 100.0),),
    runner=run_simulate,
)
