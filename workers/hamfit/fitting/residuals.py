"""The pass that refines a solution: residuals in float64, and what they project onto, without the lifted columns.

With r = u - Z z the residuals of a first solution z, all that the step to the next one needs beside the Gram matrix of
the first pass is Z^T r. Since Z = L lift, with the local columns L of a panel, that is lift^T (L^T r): two products
with vectors instead of one with the matrix, and every one of them in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.fitting.basis import PartBasis
from hamfit.reductions import Triangle
from hamfit.types import FloatArray, IntArray


def placed(array: np.ndarray, device: AbstractDevice | None) -> DeviceArray:
    """The array where rows are computed."""
    return array if device is None else device.upload(array)


def fetched(array: DeviceArray, device: AbstractDevice | None) -> FloatArray:
    """The array on the host."""
    return np.asarray(array) if device is None else device.download(array)


class ResidualSums:
    """Z^T r and r^T r, summed over panels on the processor or on a device."""

    def __init__(self, part: PartBasis, device: AbstractDevice | None = None) -> None:
        lift, whitening = part.lift(), part.whitening
        assert lift is not None
        assert whitening is not None
        self._lift, self._preliminary = lift[:, :-1], whitening.preliminary
        self._device = device
        self._prediction = placed(np.ascontiguousarray(lift[:, -1]), device)
        self._moment = placed(np.zeros(lift.shape[0]), device)
        self._beyond = np.zeros(whitening.rank)
        self._square = 0.0
        self._rows = 0

    def absorb(
        self, local: DeviceArray, targets: DeviceArray, corrections: Sequence[tuple[IntArray, FloatArray]]
    ) -> None:
        """Take a panel: local columns (m, n_local), targets (m,), and what edges outside tables add to some rows.

        A correction is some rows (n,) and the whitened columns that belong to them, (n, k), on the host; a row may be
        named more than once. Running out of the device's memory leaves the sums as they were.
        """
        residual = targets - local @ self._prediction
        beyond = np.zeros_like(self._beyond)
        if corrections:
            rows = np.concatenate([rows for rows, _ in corrections])
            own, place = np.unique(rows, return_inverse=True)
            sums = np.zeros((own.size, self._beyond.size))
            np.add.at(sums, place, np.vstack([additions for _, additions in corrections]))
            where = placed(own, self._device)
            residual[where] -= placed(sums @ self._preliminary, self._device)
            beyond = fetched(residual[where], self._device) @ sums
        moment = local.T @ residual
        self._square += float(residual @ residual)
        self._moment += moment
        self._beyond += beyond
        self._rows += int(targets.size)

    def state(self) -> Triangle:
        """The last column of the Gram matrix of [Z | r]; the others are zero."""
        size = self._lift.shape[1] + 1
        upper = np.zeros((size, size))
        upper[:-1, -1] = self._lift.T @ fetched(self._moment, self._device)
        upper[: self._beyond.size, -1] += self._beyond
        upper[-1, -1] = self._square
        return Triangle.pack(upper, self._rows)
