"""Symmetric compositions of Störmer-Verlet for separable Hamiltonians H = T(p) + V(q).

A step of size dt is s Verlet steps of sizes gamma_1 dt .. gamma_s dt, with gamma_i = gamma_{s+1-i} and sum 1. Where the
fractions also fulfil the order conditions (Hairer, Lubich, Wanner, "Geometric Numerical Integration", 2nd ed., 2006,
section V.3.2; their odd power sums vanish, and more from order 6 on), the result has that order. One Verlet step is
half a kick, a drift, half a kick (or the same with the roles exchanged); neighbouring halves merge. A step of the
kick-drift-kick form ends with a kick by the force at its last position, which is the first force of the next step:
it is kept, so a step costs s forces, and a stored state is always one in which q and p belong to the same time.

Coefficients:
- H. Yoshida, "Construction of higher order symplectic integrators", Physics Letters A 150 (1990) 262-268: the triple
  jump 1, -2^(1/3), 1 over 2 - 2^(1/3).
- W. Kahan and R.-C. Li, "Composition constants for raising the orders of unconventional schemes for ordinary
  differential equations", Mathematics of Computation 66 (1997) 1089-1099, methods s9odr6a and s17odr8a; printed with
  25 digits in Hairer, Lubich, Wanner, section V.3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from hamfit.errors import SpecError
from hamfit.integrators.protocol import AbstractIntegrator, Hamiltonian, SeparableHamiltonian, check_step
from hamfit.types import FloatArray

Forces: TypeAlias = Callable[[FloatArray], FloatArray]
"""-dV/dq as a function of q."""
Displacement: TypeAlias = Callable[[FloatArray, float], FloatArray]
"""dt dT/dp as a function of p and dt."""

_JUMP = 2.0 - 2.0 ** (1.0 / 3.0)
YOSHIDA_4: tuple[float, ...] = (1.0 / _JUMP, -(2.0 ** (1.0 / 3.0)) / _JUMP, 1.0 / _JUMP)
"""Fractions of the step, order 4, 3 stages."""

_HALF_6 = (
    0.39216144400731413927925056,
    0.33259913678935943859974864,
    -0.70624617255763935980996482,
    0.08221359629355080023149045,
)
KAHAN_LI_6: tuple[float, ...] = (*_HALF_6, 0.79854399093482996339895035, *reversed(_HALF_6))
"""Fractions of the step, s9odr6a: order 6, 9 stages."""

_HALF_8 = (
    0.13020248308889008087881763,
    0.56116298177510838456196441,
    -0.38947496264484728640807860,
    0.15884190655515560089621075,
    -0.39590389413323757733623154,
    0.18453964097831570709183254,
    0.25837438768632204729397911,
    0.29501172360931029887096624,
)
KAHAN_LI_8: tuple[float, ...] = (*_HALF_8, -0.60550853383003451169892108, *reversed(_HALF_8))
"""Fractions of the step, s17odr8a: order 8, 17 stages."""


@dataclass(frozen=True, slots=True)
class Composition(AbstractIntegrator):
    """Verlet steps one after another."""

    fractions: tuple[float, ...]
    """gamma: the part of dt that each Verlet step takes, (s,)."""
    first: Literal["kick", "drift"] = "kick"
    """What a step begins and ends with. The two forms have the same order and cost."""

    @property
    def stages(self) -> int:
        """Forces per step, s."""
        return len(self.fractions)

    def kicks(self, dt: float) -> FloatArray:
        """Times by which the force changes p in one step: s + 1 numbers when kicks come first, else s.

        With kicks first the step is p += kicks[0] F, then for k = 0 .. s-1: q += drifts[k] dT/dp, F = force(q),
        p += kicks[k + 1] F. The last F serves the first kick of the next step.
        """
        return self._times(dt, ends=self.first == "kick")

    def drifts(self, dt: float) -> FloatArray:
        """Times by which the velocity changes q in one step: s numbers when kicks come first, else s + 1."""
        return self._times(dt, ends=self.first == "drift")

    def _times(self, dt: float, *, ends: bool) -> FloatArray:
        padded = np.array((0.0, *self.fractions, 0.0))
        return np.asarray((0.5 * (padded[:-1] + padded[1:]) if ends else padded[1:-1]) * dt)

    def advance(
        self, q: FloatArray, p: FloatArray, dt: float, n_steps: int, hamiltonian: Hamiltonian
    ) -> tuple[FloatArray, FloatArray]:
        """The state after `n_steps` steps, as new arrays; see `AbstractIntegrator.advance`."""
        check_step(dt, n_steps)
        if not isinstance(hamiltonian, SeparableHamiltonian):
            raise SpecError(
                f"{self.name} needs a Hamiltonian T(p) + V(q) that has force(q) and velocity(p): use midpoint"
            )
        velocity = hamiltonian.velocity

        def displacement(p: FloatArray, dt: float) -> FloatArray:
            return dt * velocity(p)

        if self.first == "drift":
            return drift_kick_drift(self, q, p, dt, n_steps, hamiltonian.force, displacement)
        return kick_drift_kick(self, q, p, hamiltonian.force(q), dt, n_steps, hamiltonian.force, displacement)[:2]


def drift_of_masses(inverse_mass: FloatArray) -> Displacement:
    """dt p / m, where 1 / m broadcasts against p."""
    # The small factor first: with one mass for all, it is a number and not an array.
    return lambda p, dt: (dt * inverse_mass) * p


def kick_drift_kick(
    method: Composition,
    q: FloatArray,
    p: FloatArray,
    force: FloatArray,
    dt: float,
    n_steps: int,
    forces: Forces,
    displacement: Displacement,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`n_steps` steps that begin and end with a kick; takes and returns the force at q, so none is computed twice."""
    q, p = q.copy(), p.copy()
    kicks, drifts = method.kicks(dt).tolist(), method.drifts(dt).tolist()
    for _ in range(n_steps):
        p += kicks[0] * force
        for drift, kick in zip(drifts, kicks[1:], strict=True):
            q += displacement(p, drift)
            force = forces(q)
            p += kick * force
    return q, p, force


def drift_kick_drift(
    method: Composition,
    q: FloatArray,
    p: FloatArray,
    dt: float,
    n_steps: int,
    forces: Forces,
    displacement: Displacement,
) -> tuple[FloatArray, FloatArray]:
    """`n_steps` steps that begin and end with a drift; between steps the two drifts are one."""
    q, p = q.copy(), p.copy()
    if n_steps == 0:
        return q, p
    kicks: Sequence[float] = method.kicks(dt).tolist()
    first, *others = method.drifts(dt).tolist()
    q += displacement(p, first)
    for step in range(n_steps):
        for stage, (kick, drift) in enumerate(zip(kicks, others, strict=True)):
            p += kick * forces(q)
            joined = stage == len(kicks) - 1 and step < n_steps - 1
            q += displacement(p, drift + first if joined else drift)
    return q, p
