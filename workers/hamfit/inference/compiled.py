"""What a model comes down to when it is compiled: functions of distances and of densities, and engines to run them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph
from hamfit.inference.engine import AbstractEngine
from hamfit.integrators import Composition
from hamfit.types import FloatArray

Kernel = TypeVar("Kernel")


@dataclass(frozen=True, slots=True, eq=False)
class Law:
    """One compiled function: the law of a channel, a density, an embedding."""

    label: str
    """Name of the channel, or of the function."""
    cutoff: float
    """Distance beyond which there is no force; inf for none."""
    extent: tuple[float, float]
    """Shortest and longest distance seen in training; nan where there was none."""
    core: float
    """Distance below which pieces are used; the cutoff (or inf) where they are used throughout."""
    form: str
    """What it was compiled to, in words."""
    error: float
    """Relative error of the compiled force, rms over the trained range."""
    worst: float
    """Largest error there over the same rms force."""
    row: FloatArray = field(default_factory=lambda: np.empty(0))
    """Numbers of the polynomial as ``kernels.lanes`` wants them; empty where there is none."""
    inverse: bool = False
    """Whether the polynomial is in 1/r^2."""


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """Which pairs a block has, and which of them training did not see."""

    cutoffs: FloatArray
    """Distance within which pairs are counted, (C,)."""
    extents: FloatArray
    """Shortest and longest distance seen in training, (C, 2)."""


@dataclass(frozen=True, slots=True, eq=False)
class AbstractCompiled(ABC, Generic[Kernel]):
    """A model whose forces are compiled functions, for particles whose velocities are p times a number."""

    what: ClassVar[str]
    """What acts within the cutoffs, for descriptions."""

    laws: tuple[Law, ...]
    """Its functions."""
    kernel: Kernel
    """The functions, for the kernels."""
    constants: FloatArray
    """Energy of a particle of each species beside the functions, (S,)."""
    graph: AbstractGraph
    """Which particles act on each other."""
    counted: tuple[Counted, ...]
    """How the pairs of each block are counted, as ``Model.extrapolated`` does."""

    @property
    def forms(self) -> str:
        """What the functions were compiled to, in words."""
        return "; ".join(sorted({law.form for law in self.laws}))

    def constant(self, frame: Frame) -> float:
        """Energy of all particles beside the functions."""
        return float(self.constants[frame.species].sum())

    @abstractmethod
    def on_processor(
        self, frame: Frame, rate: FloatArray, method: Composition, dt: float, threads: int
    ) -> AbstractEngine:
        """The engine on the processor; rate (N,): velocity over momentum. The method kicks first."""

    @abstractmethod
    def on_device(
        self, device: AbstractDevice, frame: Frame, rate: FloatArray, method: Composition, dt: float
    ) -> AbstractEngine | None:
        """The engine on a device, None where there is none; DeviceError where the device has no room."""
