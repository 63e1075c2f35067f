"""Reference integrators: order 8 for smooth forces, order 2 where forces jump.

Both are symplectic and time-reversible, and both are compositions of `hamfit.integrators` for H = p^2 / 2m + V(q).
The order-8 method is Kahan and Li's s17odr8a in drift-kick-drift form. Lennard-Jones forces cut hard at r_c are
discontinuous, so no method keeps an order above 2 there, and plain velocity Verlet is used.
"""

from __future__ import annotations

from collections.abc import Callable

from hamfit.integrators import KAHAN_LI_8, VERLET, Composition, drift_kick_drift, kick_drift_kick
from hamfit.types import FloatArray

Forces = Callable[[FloatArray], FloatArray]

_ORDER_8 = Composition("kahanli8", 8, KAHAN_LI_8, first="drift")

KAHAN_LI_NAME = "Kahan-Li s17odr8a (symplectic, order 8)"
VERLET_NAME = "velocity Verlet (symplectic, order 2)"


def advance(
    q: FloatArray, p: FloatArray, inverse_mass: FloatArray, forces: Forces, dt: float, n_steps: int
) -> tuple[FloatArray, FloatArray]:
    """`n_steps` steps of order 8 for H = p^2 / 2m + V(q); returns new arrays.

    Args:
        q: positions, any shape.
        p: momenta, the shape of q.
        inverse_mass: 1 / m, broadcasts against p.
        forces: -dV/dq as a function of q.
        dt: step.
        n_steps: number of steps.

    """
    return drift_kick_drift(_ORDER_8, q, p, dt, n_steps, forces, _Drift(inverse_mass))


def verlet(
    q: FloatArray,
    p: FloatArray,
    force: FloatArray,
    inverse_mass: FloatArray,
    forces: Forces,
    dt: float,
    n_steps: int,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """`n_steps` steps of velocity Verlet; takes and returns the force at q, so none is computed twice."""
    return kick_drift_kick(VERLET, q, p, force, dt, n_steps, forces, _Drift(inverse_mass))


class _Drift:
    """dt p / m."""

    def __init__(self, inverse_mass: FloatArray) -> None:
        self._inverse_mass = inverse_mass

    def __call__(self, p: FloatArray, dt: float) -> FloatArray:
        # The small factor first: with one mass for all, it is a number and not an array.
        return (dt * self._inverse_mass) * p
