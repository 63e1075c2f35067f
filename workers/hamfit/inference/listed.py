"""The engine of bonds and of all pairs: compiled steps over a fixed list, on one thread."""

from __future__ import annotations

import numpy as np

from hamfit.errors import DataError
from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph, AllPairsGraph
from hamfit.graphs.channels import pair_channels
from hamfit.graphs.lattice import Lattice
from hamfit.inference.engine import AbstractEngine, BlewUp, Observation, is_finite
from hamfit.inference.laws import Law
from hamfit.integrators import Composition
from hamfit.kernels.lanes import OUT_ENERGY, OUT_VIRIAL, OUT_WORDS, VIRIAL_AXES
from hamfit.kernels.listed import Listed, advance_listed, listed_forces
from hamfit.kernels.pair_tables import Tables
from hamfit.types import FloatArray

#: Steps between two looks at whether the state is still finite.
_STRETCH = 1000


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
        # the graph's own checks: species, bonds, types, periodic directions
        graph.prepare(frame)
        everybody = isinstance(graph, AllPairsGraph)
        lattice = Lattice.of(frame)
        bonds = np.zeros((0, 2), dtype=np.int64) if everybody or frame.bonds is None else frame.bonds
        types = frame.bond_types if frame.bond_types is not None else np.zeros(len(bonds), dtype=np.int64)
        self._listed = Listed(
            np.ascontiguousarray(bonds, dtype=np.int64),
            np.ascontiguousarray(types, dtype=np.int64),
            np.ascontiguousarray(frame.species, dtype=np.int64),
            pair_channels(len(frame.labels)) if everybody else np.zeros((0, 0), dtype=np.int64),
            lattice.vectors,
            lattice.inverse,
            lattice.heights,
            lattice.periodic,
            np.ascontiguousarray(extents),
            tables,
        )
        self._rate, self._constant, self._dim = rate, constant, frame.dim
        self._kicks, self._drifts = method.kicks(dt), method.drifts(dt)
        what = "all pairs" if everybody else "bonds"
        self.description = f"{what}: {'; '.join(sorted({law.form for law in laws}))}"

    def begin(self, q: FloatArray, p: FloatArray) -> Observation:
        """See ``AbstractEngine.begin``."""
        if not is_finite(q, p):
            raise DataError("a state to begin from has numbers that are not finite: give another one")
        self._q, self._p = (np.zeros((len(q), 3)) for _ in range(2))
        self._q[:, : self._dim], self._p[:, : self._dim] = q, p
        self._force = np.zeros_like(self._q)
        out = np.zeros(OUT_WORDS + 2)
        listed_forces(self._q, self._listed, self._force, out)
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
        for start in range(0, n_steps, _STRETCH):
            some = min(_STRETCH, n_steps - start)
            advance_listed(
                self._q, self._p, self._rate, self._listed, self._force, self._kicks, self._drifts, some
            )
            if not is_finite(self._q, self._p):
                raise BlewUp(start + some)

    def state(self) -> tuple[FloatArray, FloatArray]:
        """See ``AbstractEngine.state``."""
        return self._q[:, : self._dim].copy(), self._p[:, : self._dim].copy()
