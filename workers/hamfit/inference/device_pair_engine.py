"""The engine of a pair model with cutoffs on a device."""

from __future__ import annotations

from hamfit.inference.device_engine import AbstractDeviceEngine
from hamfit.kernels.gpu_stepping import pair_forces, pair_observe
from hamfit.kernels.pair_forces import LawRows
from hamfit.types import FloatArray


class DevicePairEngine(AbstractDeviceEngine[LawRows]):
    """``CutoffEngine`` on a device: the same laws over full lists."""

    def _forces(self, stage: int) -> None:
        pair_forces(self._device, self._bodies, self._built, self._kernel, stage)

    def _observed(self) -> tuple[FloatArray, float]:
        return pair_observe(self._device, self._bodies, self._built, self._kernel), 0.0
