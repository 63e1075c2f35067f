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
        self._beyond = np.zeros(whitening.rank)
        self._square = 0.0
        self._rows = 0

    def _place(self, array: FloatArray | IntArray) -> DeviceArray:
        return array if self._device is None else self._device.upload(array)

    def _fetch(self, array: DeviceArray) -> FloatArray:
        return np.asarray(array) if self._device is None else self._device.download(array)

    def absorb(
        self, local: DeviceArray, targets: DeviceArray, corrections: Sequence[tuple[IntArray | int, FloatArray]]
    ) -> None:
        """Take a panel: local columns (m, n_local), targets (m,), and what edges outside tables add to some rows.

        A correction is one row or several (n,) and the whitened columns that belong to them, (k,) or (n, k), on the
        host; a row may be named more than once. Running out of the device's memory leaves the sums as they were.
        """
        residual = targets - local @ self._prediction
        beyond = np.zeros_like(self._beyond)
        if corrections:
            rows = np.concatenate([np.atleast_1d(rows) for rows, _ in corrections])
            own, place = np.unique(rows, return_inverse=True)
            sums = np.zeros((own.size, self._beyond.size))
            np.add.at(sums, place, np.vstack([additions for _, additions in corrections]))
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
        upper[: self._beyond.size, -1] += self._beyond
        upper[-1, -1] = self._square
        return Triangle.pack(upper, self._rows)
