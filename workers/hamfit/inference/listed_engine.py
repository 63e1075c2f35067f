"""The engine of bonds and of all pairs: compiled steps over a fixed list, on one thread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hamfit.frames import Frame
from hamfit.graphs.lattice import Lattice
from hamfit.inference.compiled import AbstractCompiled
from hamfit.inference.engine import (
    AbstractEngine,
    BlewUp,
    Observation,
    bounds,
    check_state,
    is_finite,
    name_coincident,
)
from hamfit.integrators import Composition
from hamfit.integrators.protocol import check_step
from hamfit.kernels.lanes import OUT_ENERGY, OUT_WORDS
from hamfit.kernels.listed import Listed, advance_listed, listed_forces
from hamfit.kernels.pair_forces import LawRows
from hamfit.types import FloatArray


class ListedEngine(AbstractEngine):
    """Particles joined by bonds or each to all others, p/m velocities, an explicit composition."""

    def __init__(
        self, compiled: AbstractCompiled[LawRows], frame: Frame, rate: FloatArray, method: Composition, dt: float
    ) -> None:
        check_step(dt, 0)
        self._compiled, self._graph, self._frame = compiled, compiled.graph, frame
        kernel, (counted,), lattice = compiled.kernel, compiled.counted, Lattice.of(frame)
        everybody = kernel.channels.size > 0
        bonds = np.zeros((0, 2), dtype=np.int64) if everybody or frame.bonds is None else frame.bonds
        types = frame.bond_types if frame.bond_types is not None else np.zeros(len(bonds), dtype=np.int64)
        # copies, because arrays that are read-only would be compiled for once more
        self._listed = Listed(
            np.array(bonds, dtype=np.int64).reshape(-1, 2),
            np.array(types, dtype=np.int64),
            np.array(frame.species, dtype=np.int64),
            kernel.channels,
            lattice.vectors,
            lattice.inverse,
            lattice.heights,
            lattice.periodic,
            np.array(counted.extents),
            kernel.tables,
        )
        self._rate, self._dim = np.array(rate), frame.dim
        self._dt, self._far = dt, bounds(lattice, float(kernel.tables.farthest.max()))
        self._kicks, self._drifts = method.kicks(dt), method.drifts(dt)
        self.description = f"{'all pairs' if everybody else 'bonds'}: {compiled.forms}"

    def begin(self, q: FloatArray, p: FloatArray) -> Observation:
        """See ``AbstractEngine.begin``."""
        check_state(q, p, self._frame.q.shape, self._far)
        # the graph's own checks: species, bonds, types, periodic directions
        prepared = self._graph.prepare(replace(self._frame, q=q))
        self._q, self._p = (np.zeros((len(q), 3)) for _ in range(2))
        self._q[:, : self._dim], self._p[:, : self._dim] = q, p
        self._force = np.zeros_like(self._q)
        out = np.zeros(OUT_WORDS + 2)
        listed_forces(self._q, self._listed, self._force, out)
        n, outside, pairs = len(q), int(out[OUT_WORDS]), int(out[OUT_WORDS + 1])
        if pairs < (n * (n - 1) // 2 if self._listed.channels.size else len(self._listed.bonds)):
            name_coincident(prepared, n)
        kinetic, forces = 0.5 * float(np.sum(self._rate[:, None] * self._p**2)), self._force[:, : self._dim].copy()
        more = self._compiled.constant(self._frame)
        return Observation.summed(out[OUT_ENERGY:OUT_WORDS], more, kinetic, forces, outside, pairs)

    def advance(self, n_steps: int) -> None:
        """See ``AbstractEngine.advance``."""
        check_step(self._dt, n_steps)
        made = advance_listed(
            self._q, self._p, self._rate, self._listed, self._force, self._kicks, self._drifts, n_steps, self._far
        )
        if made < n_steps or not is_finite(self._q, self._p, self._far):
            raise BlewUp(made)

    def state(self) -> tuple[FloatArray, FloatArray]:
        """See ``AbstractEngine.state``."""
        return self._q[:, : self._dim].copy(), self._p[:, : self._dim].copy()
