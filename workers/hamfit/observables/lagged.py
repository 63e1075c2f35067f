"""Averages over pairs of times: mean-square displacement and velocity autocorrelation.

Every frame is a time origin: <|q(t + s) - q(t)|^2> and <v(t) . v(t + s)> are averages over all t and over the particles
of a species. A window of the last frames is kept, one for each lag, so memory does not depend on the length of the
trajectory.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hamfit.types import FloatArray, IntArray


@njit(cache=True, nogil=True)
def add_lag(a: FloatArray, b: FloatArray, species: IntArray, displacement: bool, out: FloatArray) -> None:
    """Add sum |a_i - b_i|^2, or else sum a_i . b_i, over the particles (N, d) of each species to `out`, (S,)."""
    for i in range(a.shape[0]):
        total = 0.0
        for axis in range(a.shape[1]):
            total += (a[i, axis] - b[i, axis]) ** 2 if displacement else a[i, axis] * b[i, axis]
        out[species[i]] += total


class LaggedAverage:
    """Average over time origins and particles for lags 0 .. n_lags - 1 of frames given in order, equally spaced."""

    def __init__(self, n_lags: int, species: IntArray, n_species: int, *, displacement: bool) -> None:
        self._n_lags = n_lags
        self._species = species
        self._numbers = np.bincount(species, minlength=n_species)
        self._displacement = displacement
        self._window: list[FloatArray] = []
        self._sums = np.zeros((n_lags, n_species))
        self._counts = np.zeros(n_lags, dtype=np.int64)

    def add(self, values: FloatArray) -> None:
        """The positions or velocities (N, d) of the next frame, which must not be changed afterwards."""
        self._window.insert(0, np.ascontiguousarray(values))
        del self._window[self._n_lags :]
        for lag, earlier in enumerate(self._window):
            add_lag(self._window[0], earlier, self._species, self._displacement, self._sums[lag])
            self._counts[lag] += 1

    @property
    def averages(self) -> FloatArray:
        """(lags, S); nan for lags without an origin and species without particles."""
        weights = self._counts[:, None] * self._numbers[None, :]
        return np.asarray(np.divide(self._sums, weights, out=np.full(self._sums.shape, np.nan), where=weights > 0))
