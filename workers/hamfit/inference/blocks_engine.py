"""The engine of any other model: forces and velocities from its blocks, through the kernels of the fit.

Many-body, field and mixed models, kinetic energies other than |p|^2 / 2m, and other integrators than kick-drift-kick
compositions run here. A force costs far more than the rest of a step, so steps are Python's. Neighbours come from
lists with a skin (``inference.neighbours``), which take less than half the time of a search. A search at every force
would be 2 percent of a step of silicon or copper with l_max 3 (2592 and 2048 atoms), and 10 percent of one of copper
with pairs and l_max 1, whose two blocks would search for themselves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.graphs.lattice import Lattice
from hamfit.inference.engine import AbstractEngine, BlewUp, Observation, bounds, check_state, is_finite
from hamfit.inference.neighbours import SkinGraphs
from hamfit.integrators import AbstractIntegrator, Composition, kick_drift_kick
from hamfit.integrators.protocol import check_step
from hamfit.model import Model
from hamfit.types import FloatArray

#: Steps between two looks at whether the state is still finite.
_STRETCH = 20


class _LostError(Exception):
    """A force is asked for at positions that have none."""


class BlocksEngine(AbstractEngine):
    """Any model, any integrator."""

    is_compiled: ClassVar[bool] = False

    def __init__(self, model: Model, frame: Frame, method: AbstractIntegrator, dt: float) -> None:
        check_step(dt, 0)
        self._model, self._frame, self._method, self._dt = model, frame, method, dt
        self._graphs = SkinGraphs()
        self._far = bounds(Lattice.of(frame), *_lengths(model))
        self._forces = 0
        self.description = f"blocks: {', '.join(block.kind for block in model.blocks)}"

    def force(self, q: FloatArray) -> FloatArray:
        """-dV/dq, (N, d)."""
        if not is_finite(q, q, self._far):
            # said before a graph says so in its own words, or looks for images without end
            raise _LostError
        force = self._model.forces(replace(self._frame, q=q), graphs=self._graphs)
        self._forces += 1
        return force

    def velocity(self, p: FloatArray) -> FloatArray:
        """dT/dp, (N, d)."""
        return self._model.velocities(replace(self._frame, p=p))

    def begin(self, q: FloatArray, p: FloatArray) -> Observation:
        """See ``AbstractEngine.begin``."""
        check_state(q, p, (self._frame.n_particles, self._frame.dim), self._far)
        self._q, self._p = q.copy(), p.copy()
        # what comes depends on this state alone, and on none before it
        self._graphs.forget()
        frame = replace(self._frame, q=q, p=p)
        potential = self._model.potential(frame, virial=self._model.has_virial, graphs=self._graphs)
        self._force = potential.forces
        # every pair is an edge of both its ends
        return Observation(
            potential.energy,
            self._model.kinetic_energy(frame),
            potential.forces,
            potential.virial,
            potential.outside // 2,
            potential.edges // 2,
        )

    def advance(self, n_steps: int) -> None:
        """See ``AbstractEngine.advance``."""
        check_step(self._dt, n_steps)
        for start in range(0, n_steps, _STRETCH):
            some = min(_STRETCH, n_steps - start)
            self._forces = 0
            try:
                self._step(some)
            except _LostError:
                # an explicit method asks for one force a stage, so the forces count the steps of this stretch
                steps = self._forces // self._method.stages if isinstance(self._method, Composition) else 0
                raise BlewUp(start + steps) from None
            if not is_finite(self._q, self._p, self._far):
                raise BlewUp(start + some)

    def _step(self, n_steps: int) -> None:
        with np.errstate(all="ignore"):
            if isinstance(self._method, Composition) and self._method.first == "kick":
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


def _lengths(model: Model) -> list[float]:
    """Cutoffs of the blocks and the longest distances they were trained on."""
    cutoffs = [block.graph.max_cutoff for block in model.blocks if isinstance(block.graph, CutoffGraph)]
    forces = {block.kind for block in model.blocks if block.part == "force"}
    seen = [extent[np.isfinite(extent)] for kind, extent in model.extents.items() if kind in forces]
    return cutoffs + [float(extent.max(initial=0.0)) for extent in seen]
