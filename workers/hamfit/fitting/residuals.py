"""The pass that refines a solution: residuals in float64, and what they project onto, without the lifted columns.

With r = u - Z z the residuals of a first solution z, all that the step to the next one needs beside the Gram matrix of
the first pass is Z^T r. Since Z = L lift, with the local columns L of a panel, that is lift^T (L^T r): two products
with vectors instead of one with the matrix, and every one of them in float64.
"""

from __future__ import annotations

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.fitting.basis import PartBasis
from hamfit.fitting.host_stream import HostPartStream
from hamfit.reductions import AbstractReduction, Triangle
from hamfit.types import FloatArray, IntArray


class ResidualSums:
    """Z^T r and r^T r, summed over panels on the processor or on a device."""

    def __init__(self, part: PartBasis, device: AbstractDevice | None = None) -> None:
        lift, whitening = part.lift(), part.whitening
        assert lift is not None
        assert whitening is not None
        self._lift, self._preliminary = lift[:, :-1], whitening.preliminary
        self._device = device
        self._prediction = self._place(np.ascontiguousarray(lift[:, -1]))
        self._moment = self._place(np.zeros(lift.shape[0]))
        self.rank = whitening.rank
        """Whitened columns."""
        self._beyond = np.zeros(self.rank)
        self._square = 0.0
        self._rows = 0

    def _place(self, array: FloatArray | IntArray) -> DeviceArray:
        return array if self._device is None else self._device.upload(array)

    def _fetch(self, array: DeviceArray) -> FloatArray:
        return np.asarray(array) if self._device is None else self._device.download(array)

    def absorb(self, local: DeviceArray, targets: DeviceArray, rows: IntArray, additions: FloatArray) -> None:
        """Take a panel: local columns (m, n_local), targets (m,), and what edges outside tables add to some rows.

        ``additions`` (n, k) are whitened columns that belong to ``rows`` (n,), on the host; a row may be named more
        than once. Running out of the device's memory leaves the sums as they were.
        """
        residual = targets - local @ self._prediction
        beyond = np.zeros(self.rank)
        if rows.size:
            own, place = np.unique(rows, return_inverse=True)
            sums = np.zeros((own.size, self.rank))
            np.add.at(sums, place, additions)
            where = self._place(own)
            residual[where] -= self._place(sums @ self._preliminary)
            beyond = self._fetch(residual[where]) @ sums
        moment = local.T @ residual
        self._square += float(residual @ residual)
        self._moment += moment
        self._beyond += beyond
        self._rows += int(targets.size)

    def state(self) -> Triangle:
        """The last column of the Gram matrix of [Z | r]; the others are zero."""
        size = self._lift.shape[1] + 1
        upper = np.zeros((size, size))
        upper[:-1, -1] = self._lift.T @ self._fetch(self._moment)
        upper[: self.rank, -1] += self._beyond
        upper[-1, -1] = self._square
        return Triangle.pack(upper, self._rows)


class HostResidualStream(HostPartStream):
    """Residuals of one part, panel by panel on the processor."""

    def __init__(self, part: PartBasis, reduction: AbstractReduction) -> None:
        super().__init__(part, reduction)
        # in sums without squares long rows do no harm
        self._rare = None
        self._sums = ResidualSums(part)

    def _reduce(self, local: FloatArray, targets: FloatArray) -> None:
        rows = np.array([row for row, _ in self._corrections], dtype=np.int64)
        additions = np.array([addition for _, addition in self._corrections]).reshape(rows.size, self._sums.rank)
        self._sums.absorb(local, targets, rows, additions)

    def _main_state(self) -> Triangle:
        self._flush()
        return self._sums.state()
