"""The vector loop against plain loops: laws are polynomials written down here, pairs are taken one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import pytest
from numpy.polynomial import polynomial

from hamfit.kernels.emitter import LANES
from hamfit.kernels.lanes import (
    LAW_COEFFICIENTS,
    OUT_CORE,
    OUT_ENERGY,
    OUT_VIRIAL,
    OUT_WORDS,
    VIRIAL_AXES,
    observe_lanes_inverse,
    observe_lanes_square,
    push_lanes_inverse,
    push_lanes_square,
)
from hamfit.types import FloatArray, IntArray


@nb.njit
def call(
    inverse: bool,
    observe: bool,
    q: FloatArray,
    force: FloatArray,
    runs: IntArray,
    shifts: FloatArray,
    centre: FloatArray,
    law: FloatArray,
    out: FloatArray,
) -> None:
    arguments = (
        (q.ctypes.data, q.shape[1]),
        (force.ctypes.data, force.shape[1]),
        runs.ctypes.data,
        runs.shape[0],
        shifts.ctypes.data,
        (centre[0], centre[1], centre[2]),
        law.ctypes.data,
        out.ctypes.data,
    )
    if observe:
        if inverse:
            observe_lanes_inverse(*arguments)
        else:
            observe_lanes_square(*arguments)
    elif inverse:
        push_lanes_inverse(*arguments)
    else:
        push_lanes_square(*arguments)


@dataclass(frozen=True)
class PolynomialLaw:
    """E(u) with u = scale v + shift, v = r^2 or 1/r^2; coefficients by rising power."""

    energy: FloatArray
    cutoff: float
    core: float
    scale: float
    shift: float
    inverse: bool

    def row(self) -> FloatArray:
        n = self.energy.size
        slope = polynomial.polyder(self.energy) * (2.0 if self.inverse else -2.0) * self.scale
        head = [self.cutoff**2, self.core**2, self.shift, self.scale, float(n)]
        assert len(head) == LAW_COEFFICIENTS
        return np.concatenate([head, [0.0], slope[::-1], self.energy[::-1]])

    def at(self, r: float) -> tuple[float, float]:
        """E and dE/dr."""
        v = r**-2 if self.inverse else r**2
        steep = -2.0 * r**-3 if self.inverse else 2.0 * r
        u = self.scale * v + self.shift
        return (
            float(polynomial.polyval(u, self.energy)),
            float(polynomial.polyval(u, polynomial.polyder(self.energy)) * self.scale * steep),
        )


def some_law(*, inverse: bool, n: int = 8, core: float = 0.0, seed: int = 1) -> PolynomialLaw:
    rng = np.random.default_rng(seed)
    # u runs from -1 to 1 between r = 0.5 and 2
    near, far = (4.0, 0.25) if inverse else (0.25, 4.0)
    scale = 2.0 / abs(far - near)
    return PolynomialLaw(rng.normal(size=n), 2.0, core, scale, -scale * min(near, far) - 1.0, inverse)


@dataclass
class Sums:
    """What the loops give."""

    window: FloatArray
    centre: FloatArray
    energy: float
    virial: FloatArray
    close: int


def by_loops(
    law: PolynomialLaw, q: FloatArray, runs: IntArray, shifts: FloatArray, centre: FloatArray, window: FloatArray
) -> Sums:
    sums = Sums(window.copy(), np.zeros(3), 0.0, np.zeros((3, 3)), 0)
    for begin, end, target, image in runs.tolist():
        for j in range(begin, end):
            d = centre - shifts[image] - q[:, j]
            r = float(np.sqrt(d @ d))
            if r >= law.cutoff:
                continue
            if r < law.core:
                sums.close += 1
                continue
            energy, slope = law.at(r)
            force = -slope / r * d
            sums.window[:, target + j - begin] -= force
            sums.centre += force
            sums.energy += energy
            sums.virial += np.outer(force, d)
    return sums


def scene(seed: int, lengths: list[int]) -> tuple[FloatArray, FloatArray, IntArray, FloatArray, FloatArray]:
    """Positions, a window full of numbers, runs of the given lengths, translations, and a centre."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    q = rng.uniform(-1.3, 1.3, (3, n + 2 * LANES))
    window = rng.normal(size=(3, 2 * n + 3 * LANES))
    shifts = rng.uniform(-0.6, 0.6, (3, 3))
    runs, begin, target = [], 0, 3
    for number, length in enumerate(lengths):
        runs.append((begin, begin + length, target, number % 3))
        begin, target = begin + length, target + length + 2
    return q, window, np.array(runs, dtype=np.int32), shifts, rng.uniform(-0.3, 0.3, 3)


RUNS = [[k] for k in range(1, 20)] + [[5, 0, 8, 1, 16, 3, 9], [40, 2]]


@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("lengths", RUNS, ids=str)
def test_forces_energy_and_virial_are_those_of_the_pairs(lengths: list[int], inverse: bool, observe: bool) -> None:
    law = some_law(inverse=inverse, core=0.5)
    q, window, runs, shifts, centre = scene(len(lengths) + lengths[0], lengths)
    expected = by_loops(law, q, runs, shifts, centre, window)
    got, out = window.copy(), np.zeros(OUT_WORDS)
    call(inverse, observe, q, got, runs, shifts, centre, law.row(), out)
    tolerance = {"rtol": 1e-12, "atol": 1e-12 * max(1.0, float(np.abs(expected.window - window).max()))}
    np.testing.assert_allclose(got, expected.window, **tolerance)
    np.testing.assert_allclose(out[:3], expected.centre, **tolerance)
    assert (out[OUT_CORE] > 0.0) == (expected.close > 0)
    if observe:
        np.testing.assert_allclose(out[OUT_ENERGY], expected.energy, **tolerance)
        virial = [expected.virial[axes] for axes in VIRIAL_AXES]
        np.testing.assert_allclose(out[OUT_VIRIAL:], virial, **tolerance)
    else:
        assert not out[OUT_ENERGY:].any()


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("lengths", RUNS, ids=str)
def test_lanes_beyond_a_run_change_nobodys_force(lengths: list[int], inverse: bool) -> None:
    law = some_law(inverse=inverse)
    q, window, runs, shifts, centre = scene(70 + lengths[0], lengths)
    inside = np.zeros(window.shape[1], dtype=bool)
    named = np.zeros(q.shape[1], dtype=bool)
    for begin, end, target, _ in runs.tolist():
        inside[target : target + end - begin] = True
        named[begin:end] = True
    got, out = window.copy(), np.zeros(OUT_WORDS)
    call(inverse, True, q, got, runs, shifts, centre, law.row(), out)
    np.testing.assert_array_equal(got[:, ~inside], window[:, ~inside])
    # whatever stands behind a run: the centre itself, somebody near or far out
    for strange in (float(centre[0]), 1.0, -1e12, 1e300):
        other, again, more = q.copy(), window.copy(), np.zeros(OUT_WORDS)
        other[:, ~named] = strange
        call(inverse, True, other, again, runs, shifts, centre, law.row(), more)
        np.testing.assert_array_equal(again, got)
        np.testing.assert_array_equal(more, out)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("n", [4, 8, 12, 32])
def test_forces_are_the_derivative_of_the_energy(n: int, inverse: bool) -> None:
    law = some_law(inverse=inverse, n=n, seed=n)
    row, h = law.row(), 1e-4
    runs, shifts = np.array([[0, 1, 0, 0]], dtype=np.int32), np.zeros((1, 3))

    def along(r: float) -> FloatArray:
        q, window, out = np.zeros((3, 2 * LANES)), np.zeros((3, 2 * LANES)), np.zeros(OUT_WORDS)
        call(inverse, True, q, window, runs, shifts, np.array([r, 0.0, 0.0]), row, out)
        return out

    for r in np.linspace(0.6, 1.9, 14):
        e = {k: along(r + k * h)[OUT_ENERGY] for k in (-2, -1, 1, 2)}
        slope = (e[-2] - 8.0 * e[-1] + 8.0 * e[1] - e[2]) / (12.0 * h)
        size = max(abs(along(x)[0]) for x in np.linspace(0.6, 1.9, 14))
        assert abs(along(r)[0] + slope) < 1e-7 * size


@pytest.mark.parametrize("inverse", [False, True])
def test_a_pair_at_one_place_or_nearer_than_the_core_is_only_reported(inverse: bool) -> None:
    law = some_law(inverse=inverse, core=0.4)
    q = np.zeros((3, 3 * LANES))
    q[0, :3] = 0.0, 0.39, 0.41
    runs, shifts = np.array([[0, 3, 0, 0]], dtype=np.int32), np.zeros((1, 3))
    window, out = np.zeros((3, 3 * LANES)), np.zeros(OUT_WORDS)
    call(inverse, True, q, window, runs, shifts, np.zeros(3), law.row(), out)
    assert out[OUT_CORE] == 1.0
    assert not window[:, :2].any()
    assert window[0, 2] != 0.0
    assert np.isfinite(out).all()


def test_the_sum_over_lanes_has_one_order() -> None:
    """A particle's force is the same to the bit however its neighbours are cut into vectors elsewhere."""
    law = some_law(inverse=False)
    q, window, runs, shifts, centre = scene(5, [24])
    results = []
    for offset in (0, 1, 5):
        moved = np.zeros((3, q.shape[1] + offset))
        moved[:, offset:] = q
        shifted = runs + np.array([offset, offset, 0, 0], dtype=np.int32)
        out = np.zeros(OUT_WORDS)
        call(False, True, moved, window.copy(), shifted, shifts, centre, law.row(), out)
        results.append(out.tobytes())
    assert len(set(results)) == 1
