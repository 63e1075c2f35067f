"""The engine of one-density models on a device: embedded atoms, with or without pair functions."""

from __future__ import annotations

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.frames import Frame
from hamfit.graphs.channels import pair_channels
from hamfit.inference.density import CompiledDensity
from hamfit.inference.device_engine import AbstractDeviceEngine
from hamfit.integrators import Composition
from hamfit.kernels.gpu_stepping import (
    DeviceDensities,
    count_pairs,
    density_forces,
    density_observe,
    density_sums,
)
from hamfit.types import FloatArray


class DeviceDensityEngine(AbstractDeviceEngine):
    """``DensityEngine`` on a device: the same functions over full lists, in two passes."""

    def __init__(
        self,
        device: AbstractDevice,
        compiled: CompiledDensity,
        frame: Frame,
        rate: FloatArray,
        method: Composition,
        dt: float,
    ) -> None:
        super().__init__(device, compiled.graph, frame, rate, method, dt)
        self._constant = float(compiled.constants[frame.species].sum())
        with self._working():
            self._densities = DeviceDensities.of(device, compiled.kernel)
            self._channels = device.upload(pair_channels(len(frame.labels)))
            self._counted = [
                (device.upload(block.cutoffs * block.cutoffs), device.upload(np.array(block.extents)))
                for block in compiled.counted
            ]
            self._energy, self._steep = device.xp.zeros(self._n), device.xp.zeros(self._n)
        forms = sorted({law.form for law in compiled.laws})
        self.description = f"one density within cutoffs, on {device.name}: {'; '.join(forms)}"

    def _sums(self, stage: int) -> None:
        density_sums(self._device, self._bodies, self._built, self._densities, stage, self._energy, self._steep)

    def _forces(self, stage: int) -> None:
        self._sums(stage)
        density_forces(self._device, self._bodies, self._built, self._densities, stage, self._steep)

    def _observed(self) -> tuple[FloatArray, float, tuple[int, int, int]]:
        self._sums(0)
        sums = density_observe(self._device, self._bodies, self._built, self._densities, self._steep)
        counts = [
            count_pairs(self._device, self._bodies, self._built, self._channels, *block) for block in self._counted
        ]
        outside, near, coincident = (sum(block[k] for block in counts) for k in range(3))
        return sums, float(self._energy.sum()) + self._constant, (outside, near, coincident)
