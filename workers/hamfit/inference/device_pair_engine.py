"""The engine of a pair model with cutoffs on a device."""

from __future__ import annotations

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.inference.cutoff import law_rows
from hamfit.inference.device_engine import AbstractDeviceEngine
from hamfit.inference.laws import Law
from hamfit.integrators import Composition
from hamfit.kernels.gpu_stepping import DeviceLaws, count_pairs, pair_forces, pair_observe
from hamfit.kernels.pair_tables import Tables
from hamfit.types import FloatArray


class DevicePairEngine(AbstractDeviceEngine):
    """``CutoffEngine`` on a device: the same laws over full lists."""

    def __init__(
        self,
        device: AbstractDevice,
        graph: CutoffGraph,
        laws: tuple[Law, ...],
        tables: Tables,
        extents: FloatArray,
        frame: Frame,
        rate: FloatArray,
        constant: float,
        method: Composition,
        dt: float,
    ) -> None:
        super().__init__(device, graph, frame, rate, method, dt)
        self._constant = constant
        with self._working():
            self._laws = DeviceLaws.of(device, law_rows(laws, tables, graph))
            self._extents = device.upload(np.array(extents, dtype=np.float64))
        forms = sorted({law.form for law in laws})
        self.description = f"pairs within cutoffs, on {device.name}: {'; '.join(forms)}"

    def _forces(self, stage: int) -> None:
        pair_forces(self._device, self._bodies, self._built, self._laws, stage)

    def _observed(self) -> tuple[FloatArray, float, tuple[int, int, int]]:
        sums = pair_observe(self._device, self._bodies, self._built, self._laws)
        laws = self._laws
        counted = count_pairs(self._device, self._bodies, self._built, laws.channels, laws.cutoff2, self._extents)
        return sums, self._constant, counted
