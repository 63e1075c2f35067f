"""The engine of one-density models: embedded atoms, with or without pair functions, on any number of threads."""

from __future__ import annotations

import numpy as np

from hamfit.frames import Frame
from hamfit.graphs.channels import pair_channels
from hamfit.inference.columns_engine import AbstractColumnsEngine
from hamfit.inference.density import CompiledDensity
from hamfit.integrators import Composition
from hamfit.kernels.counting import count_outside
from hamfit.kernels.density import PAIR_NUMBERS, Pairs, count_candidates
from hamfit.kernels.density_stepping import advance_densities, observe_densities
from hamfit.kernels.emitter import LANES
from hamfit.kernels.stepping import LawRows
from hamfit.types import FloatArray, IntArray


class DensityEngine(AbstractColumnsEngine):
    """Particles whose energy is a function of the density around them, p/m velocities, an explicit composition."""

    def __init__(
        self,
        compiled: CompiledDensity,
        frame: Frame,
        rate: FloatArray,
        method: Composition,
        dt: float,
        threads: int,
    ) -> None:
        super().__init__(compiled.graph, frame, rate, method, dt, threads)
        self._kernel = compiled.kernel
        self._constant = float(compiled.constants[frame.species].sum())
        n_species = len(frame.labels)
        self._counted = [
            (
                LawRows(
                    pair_channels(n_species),
                    np.zeros((block.cutoffs.size, 1)),
                    np.zeros(block.cutoffs.size, dtype=np.int64),
                    block.cutoffs * block.cutoffs,
                    compiled.kernel.functions,
                ),
                np.array(block.extents),
            )
            for block in compiled.counted
        ]
        self._numbers, self._places = np.empty((PAIR_NUMBERS, 0)), np.empty(0, dtype=np.int32)
        self._spans = np.zeros((self._n, n_species, 2), dtype=np.int64)
        self._steep, self._energy = np.zeros(self._n), np.zeros(self._n)
        self.description = f"one density within cutoffs: {'; '.join(sorted({law.form for law in compiled.laws}))}"

    def _sort(self) -> None:
        super()._sort()
        # every candidate may come within the cutoff before the next sorting, and lanes write a few places more
        candidates, room = count_candidates(self._reach)
        begin = np.concatenate([[0], np.cumsum(candidates + LANES)]).astype(np.int64)
        if self._numbers.shape[1] < begin[-1]:
            # memory is taken when it is first written to, and the places of most candidates never are
            size = int(begin[-1]) + int(begin[-1]) // 8
            self._numbers, self._places = np.empty((PAIR_NUMBERS, size)), np.empty(size, dtype=np.int32)
        self._pairs = Pairs(
            self._numbers, self._places, begin, self._spans, max(room, LANES), self._steep, self._energy
        )

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
                self._kernel,
                self._pairs,
                self._kicks,
                self._drifts,
                stage,
                n_stages,
                drifted,
                self._limit2,
            )
        )

    def _observed(self, chunks: FloatArray, count: IntArray) -> float:
        observe_densities(self._bodies, self._reach, self._kernel, self._pairs, chunks)
        count[:] = 0
        of_block = np.zeros_like(count)
        for laws, extents in self._counted:
            count_outside(self._bodies, self._reach, laws, extents, of_block)
            count += of_block
        return float(self._energy.sum()) + self._constant
