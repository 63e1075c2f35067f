"""The engine of any other model: forces and velocities from its blocks, through the kernels of the fit.

Many-body, field and mixed models, kinetic energies other than |p|^2 / 2m, and implicit integrators run here. A force costs far
more than the rest of a step, so steps are Python's. Neighbours are found at every force: sorting and searching are a
few percent of what a many-body force costs (docs/results/rollouts.md), less than a skin's extra neighbours would be.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hamfit.errors import DataError, GraphError
from hamfit.frames import Frame
from hamfit.inference.engine import AbstractEngine, BlewUp, Observation, is_finite
from hamfit.integrators import AbstractIntegrator, Composition, kick_drift_kick
from hamfit.model import Model
from hamfit.types import FloatArray

#: Steps between two looks at whether the state is still finite.
_STRETCH = 20


class BlocksEngine(AbstractEngine):
    """Any model, any integrator."""

    def __init__(self, model: Model, frame: Frame, method: AbstractIntegrator, dt: float) -> None:
        self._model, self._frame, self._method, self._dt = model, frame, method, dt
        self._has_virial = all(block.kind != "field" for block in model.blocks)
        self.description = f"blocks: {', '.join(block.kind for block in model.blocks)}"

    def force(self, q: FloatArray) -> FloatArray:
        """-dV/dq, (N, d)."""
        return self._model.forces(replace(self._frame, q=q))

    def velocity(self, p: FloatArray) -> FloatArray:
        """dT/dp, (N, d)."""
        return self._model.velocities(replace(self._frame, p=p))

    def begin(self, q: FloatArray, p: FloatArray) -> Observation:
        """See ``AbstractEngine.begin``."""
        if not is_finite(q, p):
            raise DataError("a state to begin from has numbers that are not finite: give another one")
        self._q, self._p = q.copy(), p.copy()
        frame = replace(self._frame, q=q, p=p)
        potential = self._model.potential(frame, virial=self._has_virial)
        self._force = potential.forces
        outside, pairs = self._model.extrapolated(frame)
        # every pair is an edge of both its ends
        return Observation(
            potential.energy,
            self._model.kinetic_energy(frame),
            potential.forces,
            potential.virial,
            outside // 2,
            pairs // 2,
        )

    def advance(self, n_steps: int) -> None:
        """See ``AbstractEngine.advance``."""
        for start in range(0, n_steps, _STRETCH):
            some = min(_STRETCH, n_steps - start)
            try:
                self._step(some)
            except GraphError as error:
                if is_finite(self._q, self._p):
                    raise BlewUp(start + some) from error
                raise
            if not is_finite(self._q, self._p):
                raise BlewUp(start + some)

    def _step(self, n_steps: int) -> None:
        with np.errstate(all="ignore"):
            if isinstance(self._method, Composition):
                self._q, self._p, self._force = kick_drift_kick(
                    self._method, self._q, self._p, self._force, self._dt, n_steps, self.force, self._displacement
                )
            else:
                self._q, self._p = self._method.advance(self._q, self._p, self._dt, n_steps, self)

    def _displacement(self, p: FloatArray, dt: float) -> FloatArray:
        return dt * self.velocity(p)

    def state(self) -> tuple[FloatArray, FloatArray]:
        """See ``AbstractEngine.state``."""
        return self._q.copy(), self._p.copy()
