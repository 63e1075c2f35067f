"""The engine of one-density models on a device: embedded atoms, with or without pair functions."""

from __future__ import annotations

from hamfit.devices import AbstractDevice
from hamfit.frames import Frame
from hamfit.inference.compiled import AbstractCompiled
from hamfit.inference.device_engine import AbstractDeviceEngine
from hamfit.integrators import Composition
from hamfit.kernels.density import Densities
from hamfit.kernels.gpu_stepping import DeviceDensities
from hamfit.types import FloatArray


class DeviceDensityEngine(AbstractDeviceEngine[Densities]):
    """``DensityEngine`` on a device: the same functions over full lists, in two passes."""

    def __init__(
        self,
        device: AbstractDevice,
        compiled: AbstractCompiled[Densities],
        frame: Frame,
        rate: FloatArray,
        method: Composition,
        dt: float,
    ) -> None:
        super().__init__(device, compiled, frame, rate, method, dt)
        with self._working():
            self._densities = DeviceDensities(self._kernel, device.xp.zeros(self._n), device.xp.zeros(self._n))

    def _forces(self, stage: int) -> None:
        self._densities.sum(self._device, self._bodies, self._built, stage)
        self._densities.push(self._device, self._bodies, self._built, stage)

    def _observed(self) -> tuple[FloatArray, float]:
        self._densities.sum(self._device, self._bodies, self._built, 0)
        sums = self._densities.observe(self._device, self._bodies, self._built)
        return sums, float(self._densities.energy.sum())
