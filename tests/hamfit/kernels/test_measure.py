"""Kernels that must agree on a pair form its square to the same bits, and part pairs at that square alike."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features

from hamfit.devices import choose_device
from hamfit.kernels.emitter import LANES
from hamfit.kernels.lanes import (
    LAW_COEFFICIENTS,
    OUT_CORE,
    OUT_WORDS,
    push_lanes_inverse,
    push_lanes_square,
)
from hamfit.kernels.measure import between, square_of
from hamfit.kernels.pair_tables import Tables, push_table
from hamfit.kernels.piece_lanes import measure_lanes
from hamfit.types import FloatArray, IntArray


@nb.njit
def measured(x: FloatArray, y: FloatArray, t: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    d, squares, again = np.empty(x.shape), np.empty(x.shape[0]), np.empty(x.shape[0])
    for k in range(x.shape[0]):
        d[k, 0], d[k, 1], d[k, 2], squares[k] = between(
            x[k, 0], x[k, 1], x[k, 2], y[k, 0], y[k, 1], y[k, 2], t[k, 0], t[k, 1], t[k, 2]
        )
        again[k] = square_of(d[k, 0], d[k, 1], d[k, 2])
    return d, squares, again


@nb.njit
def lanes(
    inverse: bool,
    q: FloatArray,
    force: FloatArray,
    runs: IntArray,
    shifts: FloatArray,
    x: FloatArray,
    law: FloatArray,
    out: FloatArray,
) -> None:
    rows = (q.ctypes.data, q.shape[1]), (force.ctypes.data, force.shape[1])
    addresses = *rows, runs.ctypes.data, 1, shifts.ctypes.data, (x[0], x[1], x[2]), law.ctypes.data, out.ctypes.data
    if inverse:
        push_lanes_inverse(*addresses)
    else:
        push_lanes_square(*addresses)


@nb.njit
def candidates(
    q: FloatArray, runs: IntArray, shifts: FloatArray, x: FloatArray, found: FloatArray, places: IntArray
) -> int:
    addresses = (q.ctypes.data, q.shape[1]), runs.ctypes.data, 1, shifts.ctypes.data
    to = (found.ctypes.data, found.shape[1]), places.ctypes.data
    return measure_lanes(*addresses, (x[0], x[1], x[2]), *to)


def by_numpy(x: FloatArray, y: FloatArray, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Vectors (M, 3) and squares (M,), rounded one operation at a time."""
    d = (x - y) - t
    return d, (d[:, 0] * d[:, 0] + d[:, 1] * d[:, 1]) + d[:, 2] * d[:, 2]


def draw(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    return rng.uniform(0.0, 7.3, (n, 3)), rng.uniform(0.0, 7.3, (n, 3)), 7.3 * rng.integers(-1, 2, (n, 3))


def test_vectors_and_squares_are_those_of_numpy_to_the_last_bit() -> None:
    x, y, t = draw(np.random.default_rng(1), 20_000)
    d, squares = by_numpy(x, y, t)
    got = measured(x, y, t)
    np.testing.assert_array_equal(got[0], d)
    np.testing.assert_array_equal(got[1], squares)
    np.testing.assert_array_equal(got[2], squares)
    # seen from the other end it is the same pair
    np.testing.assert_array_equal(measured(y, x, -t)[0], -d)


def test_candidates_of_densities_have_the_same_squares() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        x, y, t = draw(rng, LANES)
        x, t = np.broadcast_to(x[:1], x.shape), np.broadcast_to(t[:1], t.shape)
        runs = np.array([[0, LANES, 0, 0]], dtype=np.int32)
        found, places = np.empty((4, LANES)), np.empty(1, dtype=np.int32)
        assert candidates(np.ascontiguousarray(y.T), runs, t[:1].copy(), x[0].copy(), found, places) == LANES
        d, squares = by_numpy(x, y, t)
        np.testing.assert_array_equal(found[0], squares)
        np.testing.assert_array_equal(found[1:], d.T)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_pair_at_the_core_is_taken_by_the_lanes_or_by_the_tables_and_never_by_both(inverse: bool) -> None:
    """The same number, or the next below or above it, as the square of the core and of the cutoff."""
    rng = np.random.default_rng(3)
    tables = Tables(
        segments=np.array([0, 1]),
        ends=np.array([20.0]),
        maps=np.array([0]),
        low=np.zeros(1),
        scale=np.array([0.05]),
        pieces=np.array([1]),
        first=np.zeros(1, dtype=np.int64),
        coefficients=np.ones((1, 8)),
        nearest=np.zeros(1),
        farthest=np.array([20.0]),
    )
    law = np.zeros(LAW_COEFFICIENTS + 8)
    # a constant slope: what is taken is pushed
    law[2:] = 0.0, 1.0, 4.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0
    runs = np.array([[0, 1, 0, 0]], dtype=np.int32)
    for _ in range(3000):
        x, y, t = draw(rng, 1)
        square = float(by_numpy(x, y, t)[1][0])
        q = np.zeros((3, 2 * LANES))
        q[:, 0] = y[0]
        for limit in (np.nextafter(square, 0.0), square, np.nextafter(square, np.inf)):
            for core2, cutoff2 in ((limit, 1e3), (0.0, limit)):
                law[:2] = cutoff2, core2
                window, out = np.zeros((3, 2 * LANES)), np.zeros(OUT_WORDS)
                lanes(inverse, q, window, runs, t, x[0], law, out)
                by_lanes = bool(window.any())
                assert bool(out[OUT_CORE]) == (square < core2)
                window[:] = 0.0
                push_table(q, window, runs, 0, 1, t, *x[0].tolist(), tables, 0, limit, False, out)
                by_table = bool(window.any())
                assert by_table == (square < limit)
                assert by_lanes == (not by_table if core2 else by_table)


@pytest.mark.skipif(
    not {"fma", "neon"} & {name for name, has in get_host_cpu_features().items() if has},
    reason="this processor has no fused multiply-add",
)
def test_the_emulated_device_fuses_what_is_not_rounded_by_name() -> None:
    """Else a comparison of two squares that nvcc rounds differently would pass here."""
    device, rng = choose_device("emulated"), np.random.default_rng(4)
    assert device is not None
    momentum, force = rng.normal(size=(2, 3, 50))
    before = momentum.copy()
    device.launch_each("last_kick", 50, momentum, force, 0.3)
    np.testing.assert_allclose(momentum, before + 0.3 * force, rtol=1e-14, atol=1e-14)
    assert (momentum != before + 0.3 * force).any()
