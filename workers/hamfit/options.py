"""The options of a fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from hamfit.block_names import BUILT_IN, is_offered
from hamfit.checked_options import CheckedOptions, PlaceOptions
from hamfit.device_choice import DeviceChoice
from hamfit.solver_choice import SOLVERS, described


def _offered(name: str) -> str:
    if not is_offered(name):
        known = ", ".join(f"'{block}'" for block in BUILT_IN)
        raise ValueError(f"name {known}, or a block of a package that is installed")
    return name


Block: TypeAlias = Annotated[str, AfterValidator(_offered)]
Sampler: TypeAlias = Literal["auto", "elm", "swim", "swim-gradient"]
InputMap: TypeAlias = Literal["auto", "r", "1/r", "r2"]
Taper: TypeAlias = Literal["auto", "smooth", "none"]
if TYPE_CHECKING:
    Solver: TypeAlias = str
else:
    Solver = Literal[tuple(SOLVERS)]
Precision: TypeAlias = Literal["double", "mixed"]


class FitSpec(CheckedOptions):
    """All that decides the numbers of a fit. Every field has a default that is chosen from the data or good for most.

    A service accepts these, and says itself where the work is done.
    """

    cutoff: str | float | None = Field(
        default=None,
        union_mode="left_to_right",
        description="Distance beyond which particles do not interact: one for all pairs (2.5) or one per pair"
        " of species labels (1-1=2.5,1-2=2.0); by default the data's bonds, without bonds all pairs in open"
        " systems. For periodic data or the many-body block the default is chosen by held-out error among"
        " 1.8, 2.1, 2.4 and 2.7 nearest-neighbour distances.",
    )
    features: int = Field(
        default=256,
        ge=1,
        description="Random features of every channel of the pair and kinetic blocks, and of the many-body block.",
    )
    blocks: tuple[Block, ...] | None = Field(
        default=None,
        description="Families of features: kinetic, pair, manybody, field, and those that installed packages offer;"
        " by default kinetic and pair, as the data allow.",
        json_schema_extra={"words": list(BUILT_IN)},
    )
    sampler: Sampler = Field(
        default="auto",
        description="How the features of the pair, many-body and field blocks are drawn; auto takes the best for"
        " pairs by held-out error and elm for the others. Many-body and field blocks take swim for swim-gradient;"
        " the kinetic block is always elm.",
    )
    input_map: InputMap = Field(
        default="auto",
        description="What the pair functions see of a distance; auto takes the best by held-out error.",
    )
    taper: Taper = Field(
        default="auto",
        description="Whether forces go smoothly to zero at the cutoff; auto lets the held-out error tell.",
    )
    solver: Solver = Field(
        default="sketched",
        description=f"How rows become a solution: {described()}.",
    )
    precision: Precision = Field(
        default="double",
        description="Precision of the matrix products of the sketched solver: mixed takes single precision and a second"
        " pass in double that refines the solution, for GPUs that are slow in double.",
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of all that is random; the same seed gives the same bits."
    )
    ridge: float | None = Field(
        default=None,
        ge=0.0,
        description="Ridge penalty in the whitened basis; by default chosen by leave-group-out.",
    )
    rank_cutoff: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="Singular values below this fraction of the largest drop out; by default sqrt(columns) * eps,"
        " or 1e-10 with energies as rows or more than 400 columns left.",
    )
    groups: int = Field(
        default=5, ge=2, description="Groups of frames for the leave-group-out choice of the ridge."
    )
    energy_weight: float | None = Field(
        default=None,
        ge=0.0,
        description="Weight of the energy rows beside the force rows; by default 1 with the many-body block and"
        " 0 without it. 0 uses energies for the constant only.",
    )
    stress_weight: float = Field(
        default=0.0,
        ge=0.0,
        description="Weight of stress rows beside the force rows, for data with stresses and blocks that know the"
        " virials of their features (pair); 0 fits none.",
    )
    l_max: int = Field(default=3, ge=0, le=3, description="Largest angular moment of the many-body block.")
    radial: int = Field(
        default=32,
        ge=1,
        description="Sampled radial functions of the many-body block; with --l-max 0 --radial 1 it is an embedded-atom"
        " model of one density.",
    )
    direct_links: bool = Field(default=True, description="Use the inputs themselves as features too.")

    @property
    def plain_sampler(self) -> Literal["elm", "swim"]:
        """The sampler of blocks that neither judge candidates nor have a gradient to weigh by."""
        return "swim" if self.sampler in ("swim", "swim-gradient") else "elm"

    @field_validator("cutoff")
    @classmethod
    def _cutoff_is_readable(cls, value: str | float | None) -> str | float | None:
        if value is None:
            return None
        text = str(value)
        # the grammar only; which species there are is known once the data are open
        for part in text.split(","):
            pair, equals, number = part.rpartition("=")
            try:
                length = float(number)
            except ValueError:
                length = math.nan
            if not 0.0 <= length < math.inf or (equals and "-" not in pair) or (not equals and part != text):
                raise ValueError("write one distance such as 2.5, or one per pair of species such as 1-1=2.5,1-2=2.0")
        # "2.5" and 2.5 are one choice, so that a fit begun by one door can be resumed by another.
        if isinstance(value, str) and "=" in value:
            return ",".join(part.strip() for part in value.split(","))
        return float(value)

    @field_validator("blocks", mode="before")
    @classmethod
    def _split_blocks(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("blocks")
    @classmethod
    def _blocks_are_distinct(cls, value: tuple[Block, ...] | None) -> tuple[Block, ...] | None:
        if value is not None and (not value or len(set(value)) != len(value)):
            raise ValueError("must name each block once and at least one")
        return value

    @field_validator("precision")
    @classmethod
    def _precision_suits_the_solver(cls, value: Precision, info: ValidationInfo) -> Precision:
        if value == "mixed" and "solver" in info.data:
            # only now, because what a solver can is known where numbers are
            from hamfit.reductions import solver_named

            able = [name for name in SOLVERS if solver_named(name).refinement]
            if info.data["solver"] not in able:
                raise ValueError(f"only the solver {' or '.join(able)} can refine what single precision loses")
        return value


class FitOptions(PlaceOptions, FitSpec):
    """How to fit a model: what decides the numbers, and where and how carefully they are computed."""

    device: DeviceChoice = Field(
        default="auto",
        description="What computes the rows: cpu, cuda (an NVIDIA GPU through CuPy) or emulated (the GPU's kernels on"
        " the processor, to check them); auto takes a GPU where there is one and systems are large, on each worker by"
        " itself.",
    )
    checkpoint: bool = Field(
        default=True, description="Keep partial results beside the model until it is published."
    )
