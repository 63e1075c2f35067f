"""The options of a rollout."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from hamfit.checked_options import CheckedOptions, PlaceOptions
from hamfit.device_choice import DeviceChoice

IntegratorName: TypeAlias = Literal["verlet", "yoshida4", "kahanli6", "kahanli8", "midpoint"]


class RolloutSpec(CheckedOptions):
    """All that decides the numbers of a rollout. A service accepts these, and says itself where the work is done."""

    steps: int = Field(ge=1, description="Steps of each rollout.")
    dt: float | None = Field(
        default=None,
        description="Length of a step in the data's time unit, negative for backwards; by default a fraction of the"
        " fastest period of the model around the initial states.",
    )
    every: int | None = Field(
        default=None, ge=1, description="Steps between two stored frames; by default a hundredth of the steps."
    )
    frames: str = Field(
        default="0",
        description="Frames of each trajectory to start from: 0, a list such as 0,10,-1, a range first:last:step that"
        " includes its ends, or all.",
    )
    replicas: int = Field(
        default=1, ge=1, description="Copies of each start with momenta of their own; several need a temperature."
    )
    temperature: float | None = Field(
        default=None,
        ge=0.0,
        description="Temperature of new momenta, in kelvin for ase units and in epsilon / k_B for lj; by default the"
        " stored momenta are used.",
    )
    integrator: IntegratorName = Field(
        default="verlet",
        description="verlet (order 2), yoshida4, kahanli6 and kahanli8 (orders 4, 6, 8), or midpoint (implicit, order"
        " 2).",
    )
    forces: bool = Field(default=False, description="Store forces beside positions, velocities and energies.")
    seed: int = Field(default=0, ge=0, description="Seed of all that is random; the same seed gives the same bits.")

    @property
    def stride(self) -> int:
        """Steps between two stored frames."""
        return self.every or max(1, self.steps // 100)

    def physics(self) -> dict[str, object]:
        """The fields that decide the numbers, defaults put in."""
        return {**self.model_dump(mode="json", include=set(RolloutSpec.model_fields)), "every": self.stride}


class RolloutOptions(PlaceOptions, RolloutSpec):
    """How to run a model from initial states: what decides the numbers, and where and how carefully it is done."""

    device: DeviceChoice = Field(
        default="auto",
        description="What moves the particles: cpu, cuda (an NVIDIA GPU through CuPy) or emulated (the GPU's kernels on"
        " the processor, to check them); auto takes a GPU where there is one and systems are large, on each worker by"
        " itself. Bits depend on it.",
    )
    checkpoint_seconds: float = Field(
        default=120.0, ge=0.0, description="Seconds between two checkpoints of a rollout that is running."
    )
