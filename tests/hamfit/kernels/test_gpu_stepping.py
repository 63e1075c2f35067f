"""Kernels of the time step on a device: kicks, drifts, halts and counts, against NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.kernels.gpu_stepping import (
    NEVER,
    DeviceBodies,
    count_pairs,
    is_lost,
    kick_and_drift,
    last_kick,
)
from hamfit.types import FloatArray

#: More than a block, and no multiple of one.
N = 211


def bodies(device: AbstractDevice, n: int = N, seed: int = 0) -> tuple[DeviceBodies, dict[str, FloatArray]]:
    """Particles on the device, and the same on the host."""
    rng = np.random.default_rng(seed)
    host = {name: rng.normal(size=(3, n)) for name in ("momentum", "force")}
    host["atoms"] = np.hstack([rng.normal(size=(n, 3)), rng.integers(0, 2, (n, 1)).astype(float)])
    host["start"] = np.ascontiguousarray(host["atoms"][:, :3].T)
    host["rate"] = rng.uniform(0.5, 1.5, n)
    up = {name: device.upload(array) for name, array in host.items()}
    return DeviceBodies(**up, halt=device.xp.full(1, NEVER, dtype=np.int32)), host


@settings(max_examples=20, deadline=None)
@given(kick=st.floats(-2.0, 2.0), drift=st.floats(-2.0, 2.0), n=st.integers(1, 300), share=st.floats(0.1, 1.5))
def test_a_stage_kicks_drifts_and_halts_where_one_went_too_far(
    device: AbstractDevice, kick: float, drift: float, n: int, share: float
) -> None:
    moving, host = bodies(device, n)
    p = host["momentum"] + kick * host["force"]
    step = drift * host["rate"] * p
    farthest = float((step**2).sum(axis=0).max())
    kick_and_drift(device, moving, kick, drift, share * farthest, 3)
    np.testing.assert_allclose(device.download(moving.momentum), p, rtol=1e-14, atol=1e-14)
    atoms = device.download(moving.atoms)
    np.testing.assert_allclose(atoms[:, :3].T, host["start"] + step, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(atoms[:, 3], host["atoms"][:, 3])
    if farthest > 1e-12 and abs(share - 1.0) > 1e-3:
        assert int(moving.halt[0]) == (3 if share < 1.0 else NEVER)


def test_a_halted_batch_stands_still_after_the_drift_that_halted(device: AbstractDevice) -> None:
    moving, host = bodies(device)
    kick_and_drift(device, moving, 0.1, 0.2, 1e-9, 5)
    assert int(moving.halt[0]) == 5
    after = device.download(moving.atoms)
    # the stage itself is made by all, a later one by none
    assert (after[:, :3] != host["atoms"][:, :3]).all()
    kick_and_drift(device, moving, 0.1, 0.2, 1e9, 6)
    assert device.download(moving.atoms).tobytes() == after.tobytes()
    kick_and_drift(device, moving, 0.1, 0.2, 1e9, 5)
    assert (device.download(moving.atoms)[:, :3] != after[:, :3]).all()


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_halt_and_are_lost(device: AbstractDevice, strange: float) -> None:
    moving, _ = bodies(device)
    assert not is_lost(device, moving, 1e3)
    moving.momentum[2, N - 1] = strange
    assert is_lost(device, moving, np.inf)
    kick_and_drift(device, moving, 0.0, 1e-3, 1e300, 0)
    assert int(moving.halt[0]) == 0


def test_a_particle_beyond_bounds_is_lost(device: AbstractDevice) -> None:
    moving, host = bodies(device)
    farthest = float(np.abs(host["start"]).max())
    assert not is_lost(device, moving, farthest)
    assert is_lost(device, moving, 0.999 * farthest)


def test_the_last_kick_moves_nobody(device: AbstractDevice) -> None:
    moving, host = bodies(device)
    last_kick(device, moving, -0.3)
    expected = host["momentum"] - 0.3 * host["force"]
    np.testing.assert_allclose(device.download(moving.momentum), expected, rtol=1e-14, atol=1e-14)
    assert device.download(moving.atoms).tobytes() == host["atoms"].tobytes()


@dataclass(frozen=True)
class Lists:
    """All others as neighbours, with translations of their own."""

    listed: DeviceArray
    codes: DeviceArray
    counts: DeviceArray
    translations: DeviceArray


def everybody(device: AbstractDevice, n: int, rng: np.random.Generator) -> tuple[Lists, dict[str, Any]]:
    listed = np.array([[j for j in range(n) if j != i] for i in range(n)], dtype=np.int32).reshape(n, n - 1).T
    # j sees i where i sees j, from the other side
    code = np.triu(rng.integers(0, 3, (n, n)), 1)
    code = code + np.where(np.tri(n, k=-1), 2 - code.T, 0)
    codes = np.take_along_axis(code, listed.T, axis=1).T.astype(np.int32)
    half = np.array([1.0, -0.5, 0.25])
    translations = np.array([-half, 0.0 * half, half])
    counts = np.full(n, n - 1, dtype=np.int32)
    lists = Lists(*(device.upload(a) for a in (listed, codes, counts, translations)))
    return lists, {"code": code, "translations": translations}


def test_pairs_are_counted_to_the_very_end_of_their_range(device: AbstractDevice) -> None:
    n = 37
    rng = np.random.default_rng(2)
    moving, host = bodies(device, n)
    moving.atoms[5, :3] = moving.atoms[4, :3]
    lists, how = everybody(device, n, rng)
    # 4 and 5 are at one place, without a translation between them
    place = 4
    lists.codes[place, 4], lists.codes[place, 5] = 1, 1
    how["code"][4, 5] = how["code"][5, 4] = 1
    x, species = host["atoms"][:, :3].copy(), host["atoms"][:, 3].astype(int)
    x[5] = x[4]
    channels = np.array([[0, 1], [1, 2]])
    cutoff2 = np.array([2.1, 1.7, 1.3])
    r2 = np.full((n, n), np.inf)
    for i in range(n):
        for j in range(n):
            d = (x[i] - x[j]) - how["translations"][how["code"][i, j]]
            if i != j:
                r2[i, j] = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    channel = channels[species[:, None], species[None]]
    within = r2 < cutoff2[channel]
    # ranges that end exactly at a pair, or have nothing
    lengths = [np.sort(np.sqrt(r2[within & (channel == c)])) for c in range(3)]
    extents = np.array([[lengths[0][4], lengths[0][-5]], [lengths[1][2], lengths[1][-1]], [np.nan, np.nan]])
    r = np.sqrt(r2)
    inside = (extents[channel, 0] <= r) & (r <= extents[channel, 1])
    found = count_pairs(device, moving, lists, device.upload(channels), device.upload(cutoff2), device.upload(extents))
    assert found == (np.sum(within & ~inside) // 2, np.sum(within) // 2, 1)
