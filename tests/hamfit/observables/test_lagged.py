from __future__ import annotations

import numpy as np
import pytest

from hamfit.observables.lagged import LaggedAverage, add_lag
from hamfit.types import FloatArray, IntArray

SPECIES = np.array([0, 1, 0, 0, 1], dtype=np.int64)


def plain(series: FloatArray, species: IntArray, n_lags: int, *, displacement: bool) -> FloatArray:
    """Averages over origins and particles by loops, (lags, species)."""
    out = np.full((n_lags, 3), np.nan)
    for lag in range(min(n_lags, len(series))):
        for kind in range(3):
            terms = []
            for start in range(len(series) - lag):
                for i in np.flatnonzero(species == kind):
                    a, b = series[start, i], series[start + lag, i]
                    terms.append(float((b - a) @ (b - a)) if displacement else float(a @ b))
            if terms:
                out[lag, kind] = np.mean(terms)
    return out


@pytest.mark.parametrize("displacement", [True, False], ids=["displacement", "velocity"])
@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("n_lags", [1, 4, 11])
def test_averages_are_those_of_plain_loops(displacement: bool, dim: int, n_lags: int) -> None:
    series = np.random.default_rng(dim).normal(size=(7, 5, dim))
    average = LaggedAverage(n_lags, SPECIES, 3, displacement=displacement)
    for values in series:
        average.add(values)
    expected = plain(series, SPECIES, n_lags, displacement=displacement)
    assert np.allclose(average.averages, expected, rtol=1e-13, atol=0, equal_nan=True)


def test_free_flight_moves_by_v_squared_t_squared() -> None:
    rng = np.random.default_rng(1)
    q, v = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    moved, kept = (LaggedAverage(6, SPECIES, 2, displacement=kind) for kind in (True, False))
    for t in range(20):
        moved.add(q + 0.5 * t * v)
        kept.add(v)
    for kind in (0, 1):
        square = np.mean(np.sum(v[kind == SPECIES] ** 2, axis=1))
        assert moved.averages[:, kind] == pytest.approx(square * (0.5 * np.arange(6)) ** 2, rel=1e-12)
        assert kept.averages[:, kind] == pytest.approx(np.full(6, square), rel=1e-12)


def test_kernels_equal_their_numpy_twins() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    for displacement, twin in ((True, (a - b) ** 2), (False, a * b)):
        out = np.array([1.0, 2.0])
        add_lag(a, b, SPECIES, displacement, out)
        expected = np.array([1.0, 2.0]) + np.bincount(SPECIES, weights=twin.sum(axis=1))
        assert np.allclose(out, expected, rtol=1e-14)
