"""The pass that refines a solution, on a device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.device_stream import DevicePartStream
from hamfit.fitting.residuals import ResidualSums
from hamfit.reductions import AbstractReduction, Triangle
from hamfit.types import FloatArray, IntArray


class DeviceResidualStream(DevicePartStream):
    """Residuals of one part, in panels on a device."""

    def __init__(self, part: PartBasis, reduction: AbstractReduction, device: AbstractDevice) -> None:
        super().__init__(part, reduction, device)
        # in sums without squares long rows do no harm
        self._rare = None
        with self._working("the residuals' sums"):
            self._sums = ResidualSums(part, device)

    def _reduce(
        self, local: DeviceArray, wanted: DeviceArray, corrections: Sequence[tuple[IntArray, FloatArray]]
    ) -> None:
        rows = np.concatenate([np.zeros(0, dtype=np.int64), *(rows for rows, _ in corrections)])
        additions = np.concatenate([np.zeros((0, self._sums.rank)), *(additions for _, additions in corrections)])
        self._sums.absorb(local, wanted, rows, additions)

    def _main_state(self) -> Triangle:
        with self._working("the sums over the rows"):
            return self._sums.state()
