"""The engine of bonds and of all pairs: compiled steps over a fixed list, on one thread."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph, AllPairsGraph
from hamfit.graphs.channels import pair_channels
from hamfit.graphs.lattice import Lattice
from hamfit.inference.engine import AbstractEngine, BlewUp, Observation, bounds, check_state, is_finite
from hamfit.inference.laws import Law
from hamfit.integrators import Composition
from hamfit.integrators.protocol import check_step
from hamfit.kernels.lanes import OUT_ENERGY, OUT_VIRIAL, OUT_WORDS, VIRIAL_AXES
from hamfit.kernels.listed import Listed, advance_listed, listed_forces
from hamfit.kernels.pair_tables import Tables
from hamfit.types import FloatArray


class ListedEngine(AbstractEngine):
    """Particles joined by bonds or each to all others, p/m velocities, an explicit composition."""

    def __init__(
        self,
        graph: AbstractGraph,
        laws: tuple[Law, ...],
        tables: Tables,
        extents: FloatArray,
        frame: Frame,
        rate: FloatArray,
        constant: float,
        method: Composition,
        dt: float,
    ) -> None:
        check_step(dt, 0)
        self._graph, self._frame = graph, frame
        everybody = isinstance(graph, AllPairsGraph)
        lattice = Lattice.of(frame)
        bonds = np.zeros((0, 2), dtype=np.int64) if everybody or frame.bonds is None else frame.bonds
        types = frame.bond_types if frame.bond_types is not None else np.zeros(len(bonds), dtype=np.int64)
        # copies, because arrays that are read-only would be compiled for once more
        self._listed = Listed(
            np.array(bonds, dtype=np.int64).reshape(-1, 2),
            np.array(types, dtype=np.int64),
            np.array(frame.species, dtype=np.int64),
            pair_channels(len(frame.labels)) if everybody else np.zeros((0, 0), dtype=np.int64),
            lattice.vectors,
            lattice.inverse,
            lattice.heights,
            lattice.periodic,
            np.array(extents),
            tables,
        )
        self._rate, self._constant, self._dim = np.array(rate), constant, frame.dim
        self._dt, self._far = dt, bounds(lattice, float(tables.farthest.max()))
        self._kicks, self._drifts = method.kicks(dt), method.drifts(dt)
        what = "all pairs" if everybody else "bonds"
        self.description = f"{what}: {'; '.join(sorted({law.form for law in laws}))}"

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
        n = len(q)
        if int(out[OUT_WORDS + 1]) < (n * (n - 1) // 2 if self._listed.channels.size else len(self._listed.bonds)):
            # two particles are at one place: the graph says which
            for i in range(n):
                prepared.edges(np.array([i]))
        virial = np.zeros((3, 3))
        for word, (a, b) in enumerate(VIRIAL_AXES, OUT_VIRIAL):
            virial[a, b] = virial[b, a] = out[word]
        d = self._dim
        return Observation(
            float(out[OUT_ENERGY]) + self._constant,
            0.5 * float(np.sum(self._rate[:, None] * self._p**2)),
            self._force[:, :d].copy(),
            virial[:d, :d],
            int(out[OUT_WORDS]),
            int(out[OUT_WORDS + 1]),
        )

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
