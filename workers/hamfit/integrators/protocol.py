"""What an integrator is, and what it asks of a Hamiltonian.

An integrator takes states (q, p) through steps of one size. All integrators here are symplectic and symmetric: running
n steps, flipping the momenta and running n steps more leads back to the start, to rounding. None keeps anything
between steps, so n steps in one call and the same n steps in many calls give the same bits.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from hamfit.errors import SpecError
from hamfit.types import FloatArray


@runtime_checkable
class SeparableHamiltonian(Protocol):
    """H(q, p) = T(p) + V(q)."""

    def force(self, q: FloatArray) -> FloatArray:
        """-dV/dq, of the shape of q."""
        ...

    def velocity(self, p: FloatArray) -> FloatArray:
        """dT/dp, of the shape of p."""
        ...


@runtime_checkable
class GeneralHamiltonian(Protocol):
    """Any H(q, p)."""

    def rates(self, q: FloatArray, p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(dq/dt, dp/dt) = (dH/dp, -dH/dq), each of the shape of q."""
        ...


Hamiltonian: TypeAlias = SeparableHamiltonian | GeneralHamiltonian


@dataclass(frozen=True, slots=True)
class AbstractIntegrator(ABC):
    """A symplectic, symmetric one-step method."""

    name: str
    """Name in the registry."""
    order: int
    """The error after a fixed time is proportional to dt^order."""

    @abstractmethod
    def advance(
        self, q: FloatArray, p: FloatArray, dt: float, n_steps: int, hamiltonian: Hamiltonian
    ) -> tuple[FloatArray, FloatArray]:
        """The state after `n_steps` steps, as new arrays.

        Args:
            q: positions, any shape.
            p: momenta, the shape of q.
            dt: step, in the time unit of the Hamiltonian; a negative one runs backwards in time.
            n_steps: number of steps, 0 or more.
            hamiltonian: its derivatives.

        Raises:
            SpecError: dt is zero or not finite, n_steps is negative, the Hamiltonian lacks what the method needs, or
                an implicit step does not converge. An explicit method does not look at the numbers: a state that
                blows up comes back with inf or nan in it.

        """


def check_step(dt: float, n_steps: int) -> None:
    """SpecError for steps that cannot be made."""
    if not math.isfinite(dt) or dt == 0.0:
        raise SpecError(f"dt is {dt:g}, which is no step: give a finite number other than 0, negative for backwards")
    if n_steps < 0:
        raise SpecError(f"n_steps is {n_steps}, which cannot be run: give 0 or more, and a negative dt for backwards")
