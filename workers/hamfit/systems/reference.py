"""Reference integrators: order 8 for smooth forces, order 2 where forces jump.

Both are symplectic and time-reversible. The order-8 method is a symmetric composition of 17 Störmer-Verlet
steps, psi_{g1 h} o ... o psi_{g17 h}, with the coefficients of

    W. Kahan and R.-C. Li, "Composition constants for raising the orders of unconventional schemes for
    ordinary differential equations", Mathematics of Computation 66 (1997) 1089-1099, method s17odr8a;
    printed with 25 digits in E. Hairer, C. Lubich, G. Wanner, "Geometric Numerical Integration" (2nd ed.,
    2006), section V.3.2.

The 17 numbers sum to 1 and their odd powers 3, 5 and 7 sum to 0, which the tests check. Lennard-Jones
forces cut hard at r_c are discontinuous, so no method keeps an order above 2 there, and plain velocity
Verlet is used.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hamfit.types import FloatArray

Forces = Callable[[FloatArray], FloatArray]

_HALF = (
    0.13020248308889008087881763,
    0.56116298177510838456196441,
    -0.38947496264484728640807860,
    0.15884190655515560089621075,
    -0.39590389413323757733623154,
    0.18453964097831570709183254,
    0.25837438768632204729397911,
    0.29501172360931029887096624,
)
KAHAN_LI_8: tuple[float, ...] = (*_HALF, -0.60550853383003451169892108, *reversed(_HALF))
"""Fractions of the step taken by each of the 17 stages."""

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
    q, p = q.copy(), p.copy()
    if n_steps == 0:
        return q, p
    drifts, kicks = _stages(dt)
    q += (drifts[0] * inverse_mass) * p
    for step in range(n_steps):
        for stage, kick in enumerate(kicks):
            p += kick * forces(q)
            # The last drift of one step and the first of the next are one drift, except at the very end.
            last = stage == len(kicks) - 1
            drift = drifts[stage + 1] + (drifts[0] if last and step < n_steps - 1 else 0.0)
            q += (drift * inverse_mass) * p
    return q, p


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
    q, p = q.copy(), p.copy()
    for _ in range(n_steps):
        p += 0.5 * dt * force
        q += (dt * inverse_mass) * p
        force = forces(q)
        p += 0.5 * dt * force
    return q, p, force


def _stages(dt: float) -> tuple[list[float], list[float]]:
    """Lengths of the 18 drifts and 17 kicks of one step; neighbouring half drifts are merged."""
    gamma = np.array(KAHAN_LI_8)
    padded = np.concatenate([[0.0], gamma, [0.0]])
    drifts = 0.5 * (padded[:-1] + padded[1:]) * dt
    return drifts.tolist(), (gamma * dt).tolist()
