"""Radial features and their tables on a device."""

from __future__ import annotations

import numpy as np

from hamfit.devices import AbstractDevice
from hamfit.features.radial import RadialFeatures
from hamfit.features.tables import MAP_CODE, RadialTable
from hamfit.kernels.gpu import DeviceRadial, DeviceTable


def upload_table(device: AbstractDevice, table: RadialTable) -> DeviceTable:
    """What the kernels want of a table, once for all panels."""
    return DeviceTable(
        maps=device.upload(table.maps),
        low=device.upload(table.low),
        scale=device.upload(table.scale),
        pieces=device.upload(table.pieces),
        first_column=device.upload(table.first_column),
    )


def upload_radial(device: AbstractDevice, radial: RadialFeatures) -> DeviceRadial:
    """What the kernels want of radial features, once for all panels."""
    smooth = np.array([taper == "smooth" for taper in radial.tapers]) & np.isfinite(radial.cutoffs)
    return DeviceRadial(
        maps=device.upload(np.array([MAP_CODE[name] for name in radial.input_maps], dtype=np.int64)),
        low=device.upload(radial.low),
        high=device.upload(radial.high),
        cutoffs=device.upload(radial.cutoffs),
        smooth=device.upload(smooth.astype(np.int64)),
        weights=device.upload(radial.weights),
        biases=device.upload(radial.biases),
        per_channel=radial.per_channel,
    )
