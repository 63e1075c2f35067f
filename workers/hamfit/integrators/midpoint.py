"""The implicit midpoint rule, for Hamiltonians that are not of the form T(p) + V(q).

With z = (q, p): z' = z + dt f((z + z') / 2). Symplectic, symmetric, order 2, and it keeps linear and quadratic
invariants such as the total momentum (Hairer, Lubich, Wanner, "Geometric Numerical Integration", 2nd ed., 2006,
theorems IV.2.1 and VI.4.2). All of that holds only as far as the equation is solved, so it is solved to rounding: the
fixed-point iteration for the midpoint ends when its increments are zero or have stopped to decrease, the stopping rule
of section VIII.6.1 there. A tolerance above rounding would leave an error of one sign per step, and the energy would
drift. One departure from that rule: positions and momenta feed each other, so that far from convergence the larger of
their increments may stay the same for an iteration or two; only at rounding is one look enough. The iteration converges
while dt times the fastest angular frequency is below 2, Verlet's own limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from hamfit.errors import SpecError
from hamfit.integrators.protocol import AbstractIntegrator, GeneralHamiltonian, Hamiltonian, check_step
from hamfit.types import FloatArray

Rates: TypeAlias = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""(dq/dt, dp/dt) as a function of q and p."""

_ROUNDING = 4 * np.finfo(np.float64).eps
"""Increments, relative to the state, below which the first that does not decrease ends the iteration."""

_NEARLY_ROUNDING = 1e-10
"""Increments below which `_PATIENCE` that do not decrease end it, because rates that cancel (as those of a learned
force do) are themselves rounded more coarsely. Arbitrary, but far below any error of the method."""

_PATIENCE = 4


class NotConverged(SpecError):
    """An implicit step has no solution that the iteration finds."""


@dataclass(frozen=True, slots=True)
class Midpoint(AbstractIntegrator):
    """The implicit midpoint rule, iterated to rounding."""

    name: str = "midpoint"
    order: int = 2
    max_iterations: int = 200
    """Iterations after which a step is given up: enough for dt at three quarters of the limit; 7 to 25 are the rule."""

    def advance(
        self, q: FloatArray, p: FloatArray, dt: float, n_steps: int, hamiltonian: Hamiltonian
    ) -> tuple[FloatArray, FloatArray]:
        """The state after `n_steps` steps, as new arrays; see `AbstractIntegrator.advance`.

        Raises NotConverged when a step is too long for the iteration.
        """
        check_step(dt, n_steps)
        rates = rates_of(hamiltonian)
        q, p = q.copy(), p.copy()
        # Iterates of a step that is too long may overflow before they are given up, with a reason.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for _ in range(n_steps):
                q, p = self._step(q, p, dt, rates)
        return q, p

    def _step(self, q: FloatArray, p: FloatArray, dt: float, rates: Rates) -> tuple[FloatArray, FloatArray]:
        # The guess is the state itself, not an extrapolation of the last step: bits must not depend on the past.
        middle_q, middle_p = q, p
        smallest, stalled = np.inf, 0
        for _ in range(self.max_iterations):
            qdot, pdot = rates(middle_q, middle_p)
            shift_q, shift_p = 0.5 * dt * qdot, 0.5 * dt * pdot
            new_q, new_p = q + shift_q, p + shift_p
            increment = max(_relative(new_q - middle_q, q, shift_q), _relative(new_p - middle_p, p, shift_p))
            middle_q, middle_p = new_q, new_p
            if not np.isfinite(increment):
                break
            stalled = stalled + 1 if increment >= smallest else 0
            smallest = min(smallest, increment)
            patience = 1 if increment < _ROUNDING else _PATIENCE
            if increment == 0.0 or (stalled >= patience and increment < _NEARLY_ROUNDING):
                return q + dt * qdot, p + dt * pdot
        raise NotConverged(f"an implicit midpoint step does not converge with dt {dt:g}: take a smaller dt")


def rates_of(hamiltonian: Hamiltonian) -> Rates:
    """The rates of any Hamiltonian, from force and velocity where it is separable."""
    if isinstance(hamiltonian, GeneralHamiltonian):
        return hamiltonian.rates
    force, velocity = hamiltonian.force, hamiltonian.velocity
    return lambda q, p: (velocity(p), force(q))


def _relative(increment: FloatArray, start: FloatArray, shift: FloatArray) -> float:
    """Largest change beside the largest number from which it was computed."""
    largest = float(np.abs(increment).max(initial=0.0))
    if not largest > 0.0:  # zero, or nan, which the caller sees
        return largest
    return largest / max(float(np.abs(start).max()), float(np.abs(shift).max()))
