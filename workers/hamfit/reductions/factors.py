"""Triangular factors: R of rows, of two stacked triangles and of a Gram matrix, and how columns are scaled for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.lapack import dgeqrf, dgeqrf_lwork, dtpqrt

from hamfit.devices import AbstractDevice, DeviceArray
from hamfit.errors import FitError
from hamfit.reductions.triangle import Triangle
from hamfit.types import FloatArray

EPS = float(np.finfo(np.float64).eps)
#: Columns that LAPACK's blocked QR of two triangles works on at a time.
_BLOCK = 32


def triangular_factor(rows: FloatArray) -> FloatArray:
    """R of the QR decomposition of rows (m, n), as an upper triangle (n, n) with non-negative diagonal."""
    size = rows.shape[1]
    if rows.shape[0] == 0:
        # LAPACK refuses empty matrices, but no rows are the identity of the monoid
        return np.zeros((size, size))
    # with SciPy's default workspace LAPACK falls back to the unblocked algorithm, six times slower
    workspace = int(dgeqrf_lwork(*rows.shape)[0])
    factor, _, _, info = dgeqrf(np.asfortranarray(rows), lwork=workspace)
    if info != 0:
        raise FitError(f"LAPACK's QR refused argument {-info}: the rows hold values that are not finite")
    upper = np.zeros((size, size))
    kept = min(size, rows.shape[0])
    upper[:kept] = np.triu(factor[:kept])
    return np.asarray(_unique(upper))


def device_factor(device: AbstractDevice, rows: DeviceArray) -> DeviceArray:
    """R of rows (m, n) on a device, m >= n, (n, n) with non-negative diagonal."""
    return _unique(device.xp.triu(device.xp.linalg.qr(rows, mode="r")), device.xp)


def join_factors(first: FloatArray, second: FloatArray) -> FloatArray:
    """R of two stacked upper triangles (n, n); their zeros are not touched, a sixth of the work of a full QR."""
    size = first.shape[0]
    upper, _, _, info = dtpqrt(size, min(_BLOCK, size), np.asfortranarray(first), np.asfortranarray(second))
    if info != 0:
        raise FitError(f"LAPACK's QR refused argument {-info}: the states hold values that are not finite")
    return np.asarray(_unique(np.triu(upper)))


def _unique(upper: DeviceArray, xp: Any = np) -> DeviceArray:
    """The sign of each row of R is arbitrary: fixing it makes R unique."""
    return upper * xp.where(xp.diag(upper) < 0.0, -1.0, 1.0)[:, None]


def factor_of_gram(gram: Triangle) -> Triangle:
    """The R factor that belongs to a Gram matrix; directions below its rounding come out as zero.

    Columns are scaled to unit norm first, so that a column of small residuals keeps its digits.
    """
    scaled, norms = unit_diagonal(symmetric(gram.unpack()))
    values, vectors = eigh(scaled, check_finite=False)
    kept = values > values[-1] * values.size * EPS
    root = np.sqrt(np.where(kept, values, 0.0))[:, None] * vectors.T
    return Triangle.pack(triangular_factor(root * norms), gram.n_rows)


def invertible(upper: FloatArray) -> FloatArray:
    """The triangle with what rounding made of its dead directions lifted to rounding itself."""
    diagonal = np.diag(upper)
    floor = EPS * upper.shape[0] * float(np.max(np.abs(diagonal), initial=0.0)) or 1.0
    return np.asarray(upper + np.diag(np.where(diagonal < floor, floor - diagonal, 0.0)))


def symmetric(upper: FloatArray) -> FloatArray:
    """The symmetric matrix with this upper triangle."""
    return np.asarray(upper + np.triu(upper, 1).T)


def unit_diagonal(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A Gram matrix with its columns scaled to unit norm, and the norms; empty columns stay, with norm one."""
    norms = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    norms = np.where(norms > 0.0, norms, 1.0)
    return matrix / np.outer(norms, norms), norms
