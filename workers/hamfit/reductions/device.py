"""The reductions on a device: panels are absorbed where they were computed, and only triangles come back.

The same states as on the processor, which may be merged with those: Gram matrices by symmetric rank-m updates (cuBLAS),
R factors by QR of the current R stacked on the panel (cuSOLVER). A panel that does not fit in memory leaves an
accumulator as it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.reductions.gram import Gram
from hamfit.reductions.mixed import SINGLE_ROWS, MixedGram
from hamfit.reductions.triangle import AbstractReduction, Triangle
from hamfit.reductions.tsqr import Tsqr

#: Size of a state from which on two R factors are joined on the device (some 720 columns), and from which on states of
#: any kind are merged by workers of a cluster and not by its driver, which may have no device. An
#: estimate: one core joins two R factors of this size in some 15 ms, of 1200 columns in 60 ms; a GPU is not measured.
LARGE_STATE_BYTES = 2 * 2**20


class AbstractDeviceAccumulator(ABC):
    """Takes the panels of one shard, one after the other, on a device."""

    def __init__(self, device: AbstractDevice, size: int) -> None:
        self._device, self._rows = device, 0
        # Fortran order, as BLAS wants it
        self._upper = device.xp.zeros((size, size), order="F")

    def absorb(self, panel: DeviceArray) -> None:
        """Take the rows [Z | u] of one panel, (m, k+1), C order; the panel is the caller's to reuse."""
        if panel.shape[0] > 0:
            self._add(panel)
            self._rows += int(panel.shape[0])

    @abstractmethod
    def _add(self, panel: DeviceArray) -> None:
        """Take at least one row; running out of memory must leave everything as it was."""

    def state(self) -> Triangle:
        """Everything absorbed so far, on the host."""
        return Triangle.pack(self._device.download(self._upper), self._rows)


class DeviceGram(AbstractDeviceAccumulator):
    """Upper triangle of sum of panel^T panel."""

    def _add(self, panel: DeviceArray) -> None:
        if self._device.kind != "cuda":
            self._upper += panel.T @ panel
            return
        # half the work of a product of two matrices; the transpose of a C-ordered panel needs no copy
        from cupy import cublas

        cublas.syrk("N", panel.T, out=self._upper, alpha=1.0, beta=1.0)


class DeviceMixedGram(AbstractDeviceAccumulator):
    """Upper triangle of sum of panel^T panel, products in float32 and sums over groups of rows in float64."""

    def _add(self, panel: DeviceArray) -> None:
        xp, size = self._device.xp, panel.shape[1]
        rows = panel.astype(xp.float32, copy=False)
        whole = rows.shape[0] // SINGLE_ROWS * SINGLE_ROWS
        rest = rows[whole:]
        products = rest.T @ rest
        if whole:
            # one batch of products: many small launches would leave a GPU idle
            groups = rows[:whole].reshape(-1, SINGLE_ROWS, size)
            sums = xp.matmul(groups.transpose(0, 2, 1), groups).sum(axis=0, dtype=xp.float64)
            products = sums + products
        self._upper += products


class DeviceTsqr(AbstractDeviceAccumulator):
    """The current R factor."""

    def _add(self, panel: DeviceArray) -> None:
        xp = self._device.xp
        self._upper = _factor(self._device, xp.concatenate([self._upper, panel]))


def _factor(device: AbstractDevice, rows: DeviceArray) -> DeviceArray:
    """R of rows (m, n), m >= n, (n, n) with non-negative diagonal, as ``tsqr.triangular_factor``."""
    xp = device.xp
    upper = xp.triu(xp.linalg.qr(rows, mode="r"))
    signs = xp.where(xp.diag(upper) < 0.0, -1.0, 1.0)
    return upper * signs[:, None]


_ACCUMULATORS: dict[str, Callable[[AbstractDevice, int], AbstractDeviceAccumulator]] = {
    Gram.name: DeviceGram,
    MixedGram.name: DeviceMixedGram,
    Tsqr.name: DeviceTsqr,
}


def device_accumulator(device: AbstractDevice, name: str, size: int) -> AbstractDeviceAccumulator:
    """A fresh accumulator of the reduction called ``name`` over ``size`` columns [Z | u]."""
    return _ACCUMULATORS[name](device, size)


def joins_on_device(reduction: AbstractReduction) -> bool:
    """Whether the states of this reduction are worth a device: large R factors are, sums of Gram matrices never."""
    return isinstance(reduction, Tsqr) and reduction.state_bytes >= LARGE_STATE_BYTES


def merge_on_device(
    device: AbstractDevice, reduction: AbstractReduction, first: Triangle, second: Triangle
) -> Triangle:
    """The state of both sets of rows together: large R factors are joined on the device, all others on the host.

    Equal to ``reduction.merge`` up to rounding. Raises DeviceMemoryFull where the device has no room for it.
    """
    if not joins_on_device(reduction):
        return reduction.merge(first, second)
    with device.turn, device.guarded():
        stacked = device.xp.concatenate([device.upload(first.unpack()), device.upload(second.unpack())])
        upper = device.download(_factor(device, stacked))
    return Triangle.pack(upper, first.n_rows + second.n_rows)
