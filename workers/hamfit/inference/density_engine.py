"""The engine of one-density models: embedded atoms, with or without pair functions, on any number of threads."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from hamfit.frames import Frame
from hamfit.inference.columns_engine import AbstractColumnsEngine
from hamfit.inference.compiled import AbstractCompiled
from hamfit.integrators import Composition
from hamfit.kernels.density import PAIR_NUMBERS, Densities, Pairs, count_candidates
from hamfit.kernels.emitter import LANES
from hamfit.types import FloatArray


class DensityEngine(AbstractColumnsEngine[Densities]):
    """Particles whose energy is a function of the density around them, p/m velocities, an explicit composition."""

    pair_bytes: ClassVar[int] = 70

    def __init__(
        self,
        compiled: AbstractCompiled[Densities],
        frame: Frame,
        rate: FloatArray,
        method: Composition,
        dt: float,
        threads: int,
    ) -> None:
        super().__init__(compiled, frame, rate, method, dt, threads)
        self._numbers, self._places = np.empty((PAIR_NUMBERS, 0)), np.empty(0, dtype=np.int32)
        self._spans = np.zeros((self._n, len(frame.labels), 2), dtype=np.int64)
        self._steep, self._energy = np.zeros(self._n), np.zeros(self._n)

    def _acting(self) -> tuple[None, tuple[Densities, Pairs]]:
        # every candidate may come within the cutoff before the next sorting, and lanes write a few places more
        candidates, room = count_candidates(self._reach)
        begin = np.concatenate([[0], np.cumsum(candidates + LANES)]).astype(np.int64)
        if self._numbers.shape[1] < begin[-1]:
            # memory is taken when it is first written to, and the places of most candidates never are
            size = int(begin[-1]) + int(begin[-1]) // 8
            self._numbers, self._places = np.empty((PAIR_NUMBERS, size)), np.empty(size, dtype=np.int32)
        pairs = Pairs(self._numbers, self._places, begin, self._spans, max(room, LANES), self._steep, self._energy)
        return None, (self._compiled.kernel, pairs)
