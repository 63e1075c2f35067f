"""The step size that a model's stiffest motion allows.

Near a state q the system moves as springs do: M qddot = -K dq, with K = -dF/dq. Its fastest rate is
omega = sqrt(|lambda|), lambda being the eigenvalue of M^-1/2 K M^-1/2 of largest size. An explicit method of order 2 is
stable up to dt = 2 / omega and wants a good deal less to be accurate; `STEP_FRACTIONS` says how much less for each
order. K is never formed: its product with a vector is a difference of forces, and Lanczos' method needs some forty of
them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from scipy.spatial import cKDTree

from hamfit.errors import ModelError, SpecError
from hamfit.integrators import VERLET, drift_of_masses, kick_drift_kick
from hamfit.types import FloatArray

Forces: TypeAlias = Callable[[FloatArray], FloatArray]
"""-dV/dq (N, d) as a function of q (N, d)."""

STEP_FRACTIONS: Mapping[int, float] = MappingProxyType({2: 0.2, 4: 0.25, 6: 0.7, 8: 1.2})
"""omega dt by the order of the method; measured as docs/explanation/integrators.md tells."""

TOLERANCE = 1e-2
"""Relative error of the eigenvalue; of the frequency it is half of that."""

_DISPLACEMENT = 1e-3
"""Largest displacement in a difference of forces, in nearest-neighbour distances.

A force that jumps where it is cut (by f, at the cutoff) puts f / 2h into the differences of the pairs that are within h
of it, so h must not be small; the error of the difference, h^2 V'''' / 6 V'', is 4e-5 on the wall r^-12.
"""

_EXPLORED = 2.0
"""Nearest-neighbour distances that the fastest particle may go in an exploration."""

_STRIDE = 0.02
"""Nearest-neighbour distances that it may go in one step: a wall is then met by degrees."""

_EXPLORING_FRACTION = 0.1
"""omega dt of an exploration, omega being the largest so far."""

_BLOCK = 5
"""Steps of an exploration between two looks at the curvature."""

_DENSE = 32
"""Up to so many coordinates the whole matrix is cheaper than Lanczos' method, which needs room for its 20 vectors."""


def stiffest_frequency(forces: Forces, q: FloatArray, inverse_mass: FloatArray, *, seed: int) -> float:
    """The fastest rate of the motion around a state, in radians per unit of time.

    Where the stiffest direction is unstable (lambda < 0: a saddle, two attracting bodies) it is the rate at which
    neighbouring states part, which limits the step just as an oscillation does.

    Args:
        forces: -dV/dq.
        q: positions, (N, d).
        inverse_mass: 1 / m of each particle, (N,).
        seed: seed of Lanczos' first vector; equal seeds give equal bits.

    Returns:
        sqrt(|lambda|), to half a percent; 0 where the forces do not depend on the positions (free particles).

    Raises:
        ModelError: the forces at q or around it are not finite.

    """
    root = np.sqrt(inverse_mass)[:, None]
    step = _DISPLACEMENT * _spacing(q)
    size = q.size
    force = _finite(forces(q))
    # What is left of differences of equal forces: rounding, here taken a hundred times too large.
    noise = 100 * np.finfo(np.float64).eps * float(np.abs(force).max(initial=0.0)) / step * float(root.max()) ** 2

    def product(vector: FloatArray) -> FloatArray:
        direction = root * vector.reshape(q.shape)
        length = float(np.abs(direction).max())
        if length == 0.0:
            return np.zeros(size)
        scale = step / length
        ahead, behind = forces(q + scale * direction), forces(q - scale * direction)
        return np.asarray(root * (_finite(behind) - _finite(ahead)) / (2.0 * scale)).ravel()

    if size <= _DENSE:
        columns = np.stack([product(unit) for unit in np.eye(size)])
        eigenvalue = np.abs(np.linalg.eigvalsh(0.5 * (columns + columns.T))).max()
    else:
        start = np.random.default_rng(seed).standard_normal(size)
        start /= np.linalg.norm(start)
        if np.linalg.norm(product(start)) <= noise:
            return 0.0
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        try:
            found = eigsh(operator, k=1, which="LM", v0=start, tol=TOLERANCE, return_eigenvectors=False)
        except ArpackNoConvergence as error:
            raise ModelError(
                "the stiffest frequency cannot be found from differences of forces, which are too rough: give dt"
            ) from error
        eigenvalue = abs(float(found[0]))
    return math.sqrt(eigenvalue) if eigenvalue > noise else 0.0


def stiffest_ahead(forces: Forces, q: FloatArray, p: FloatArray, inverse_mass: FloatArray, *, seed: int) -> float:
    """The largest `stiffest_frequency` on the first stretch of the way from a state.

    A crystal with the momenta of a liquid is soft until its particles meet: the curvature at the start says little
    about the walls they will climb. So a short exploration follows the state with small Verlet steps until its fastest
    particle has gone two nearest-neighbour distances at most, and looks at the curvature on the way. Costs about a
    thousand forces.

    Args:
        forces: -dV/dq.
        q: positions, (N, d).
        p: momenta, (N, d); the velocity is taken as p / m.
        inverse_mass: 1 / m of each particle, (N,).
        seed: as for `stiffest_frequency`.

    Raises:
        ModelError: the forces at q are not finite. Where they stop to be finite later, the exploration ends there.

    """
    stiffest = stiffest_frequency(forces, q, inverse_mass, seed=seed)
    inverse = inverse_mass[:, None]
    spacing = _spacing(q)
    force = forces(q)
    for _ in range(round(_EXPLORED / (_BLOCK * _STRIDE))):
        fastest = float(np.linalg.norm(inverse * p, axis=1).max(initial=0.0))
        rate = max(stiffest / _EXPLORING_FRACTION, fastest / (_STRIDE * spacing))
        if rate == 0.0:
            break
        with np.errstate(over="ignore", invalid="ignore"):
            q, p, force = kick_drift_kick(VERLET, q, p, force, 1.0 / rate, _BLOCK, forces, drift_of_masses(inverse))
        if not (np.isfinite(q).all() and np.isfinite(force).all()):
            break
        stiffest = max(stiffest, stiffest_frequency(forces, q, inverse_mass, seed=seed))
    return stiffest


def propose_dt(frequency: float, order: int) -> float:
    """The step for a method of that order: STEP_FRACTIONS[order] / frequency.

    Args:
        frequency: the largest `stiffest_ahead` of the initial states.
        order: 2, 4, 6 or 8.

    Raises:
        SpecError: nothing oscillates, so that no step follows.

    """
    if not (math.isfinite(frequency) and frequency > 0.0):
        raise SpecError("the forces do not vary around the initial states, so no step size follows: give dt")
    return STEP_FRACTIONS[order] / frequency


def _spacing(q: FloatArray) -> float:
    """Median distance to the nearest neighbour; 1 where there is none."""
    if len(q) < 2:
        return 1.0
    # Unwrapped positions may be boxes apart: never nearer than they are, and the median forgives the far ones.
    distance = np.median(cKDTree(q).query(q, k=2)[0][:, 1])
    return float(distance) if distance > 0.0 else 1.0


def _finite(force: FloatArray) -> FloatArray:
    if not np.isfinite(force).all():
        raise ModelError("forces around the initial state are not finite: its particles are too close, or too far off")
    return force
