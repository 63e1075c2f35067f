"""The engine of one-density models: embedded atoms, with or without pair functions, on any number of threads."""

from __future__ import annotations

import numpy as np

from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.graphs.channels import pair_channels
from hamfit.inference.columns_engine import AbstractColumnsEngine
from hamfit.inference.density import CompiledDensity
from hamfit.integrators import Composition
from hamfit.kernels.density import Environment, advance_densities, observe_densities
from hamfit.kernels.stepping import LawRows, count_outside
from hamfit.types import FloatArray, IntArray


class DensityEngine(AbstractColumnsEngine):
    """Particles whose energy is a function of the density around them, p/m velocities, an explicit composition."""

    def __init__(
        self,
        compiled: CompiledDensity,
        graph: CutoffGraph,
        frame: Frame,
        rate: FloatArray,
        method: Composition,
        dt: float,
        threads: int,
    ) -> None:
        # the graph's own checks: particles, box, species, a cutoff that is not absurd
        graph.prepare(frame)
        super().__init__(compiled.cutoffs, frame, rate, method, dt, threads)
        self._compiled, self._constant = compiled, float(compiled.constants[frame.species].sum())
        nowhere = np.zeros((compiled.counted.size, 0))
        self._counted = LawRows(
            pair_channels(len(graph.labels)),
            nowhere,
            np.zeros(compiled.counted.size, dtype=np.int64),
            compiled.counted**2,
            compiled.kernel.functions,
        )
        width = -(-self._n // 8) * 8 + 8
        self._environment = Environment(np.zeros(width), np.zeros(width))
        self.description = f"one density within cutoffs: {'; '.join(law.form for law in compiled.laws)}"

    def _steps(
        self, thread: int, counter: IntArray, moved: FloatArray, stage: int, n_stages: int, drifted: bool
    ) -> int:
        return int(
            advance_densities(
                thread,
                self._threads,
                counter,
                moved,
                self._bodies,
                self._reach,
                self._compiled.kernel,
                self._environment,
                self._kicks,
                self._drifts,
                stage,
                n_stages,
                drifted,
                self._limit2,
            )
        )

    def _observed(self, chunks: FloatArray, count: IntArray) -> float:
        observe_densities(self._bodies, self._reach, self._compiled.kernel, self._environment, chunks)
        count_outside(self._bodies, self._reach, self._counted, self._compiled.extents, count)
        return float(self._environment.energy[: self._n].sum()) + self._constant
