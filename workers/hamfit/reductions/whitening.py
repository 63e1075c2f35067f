"""Whitening: the basis in which the least-squares problem is well conditioned, found from a sample of rows.

A sample of rows Z_s, several per column, gives R by QR; its columns are scaled to unit norm by D and
R D^-1 = U S V^T. The k columns with singular value above ``cutoff`` times the largest are kept:
P = sqrt(m) D^-1 V_k S_k^-1. The columns of Z P then have a Gram matrix close to the identity (condition about 10)
on all rows, if the sample was representative, so that plain Cholesky solves for z and theta = P z. This is the
sketch-to-precondition idea of Blendenpik (Avron, Maymounkov, Toledo, SIAM J. Sci. Comput. 32, 1217 (2010)) with row
sampling for the sketch and truncation for the rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hamfit.errors import FitError
from hamfit.reductions.triangle import Triangle
from hamfit.types import FloatArray

#: Columns smaller than this share of the largest are sums of rounding errors.
_ROUNDING = 1e-14


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """The basis change theta = projection @ z and what the sample told on the way."""

    projection: FloatArray
    """P, (n, k)."""
    spectrum: FloatArray
    """Singular values of the kept columns relative to the largest, descending, (k,)."""
    preliminary: FloatArray
    """Least-squares solution of the sample in the new basis, (k,)."""
    condition: float
    """Condition number of the column-scaled sample before truncation (infinite when rank deficient)."""

    @property
    def rank(self) -> int:
        """Number of columns kept, k."""
        return int(self.projection.shape[1])


def whiten(sample: Triangle, cutoff: float | None = None) -> Whitening:
    """Find the whitened basis from the R factor of a sample of rows [Z_s | u_s].

    ``cutoff`` is relative to the largest singular value; the default, sqrt(n) * eps, is the rounding of a sum of n
    terms: it keeps all that double precision can tell from nothing. Raises FitError when the sample is empty or
    all zero.
    """
    upper = sample.unpack()
    columns, target = upper[:, :-1], upper[:, -1]
    norms = np.sqrt(np.einsum("ij,ij->j", columns, columns))
    if sample.n_rows == 0 or not np.any(norms > 0.0):
        raise FitError("the sampled rows are all zero: no feature depends on the data, so the cutoff may be too short")
    # a feature that never varies must not be scaled up from nothing: a channel without edges gives exact zeros, forces
    # that cancel (a distance itself, between the two neighbours in a ring) give rounding errors
    alive = norms > _ROUNDING * norms.max()
    scale = np.where(alive, norms, 1.0)
    left, singular, right = np.linalg.svd(np.where(alive, columns / scale, 0.0), full_matrices=False)
    relative = singular / singular[0]
    if cutoff is None:
        cutoff = np.sqrt(columns.shape[1]) * np.finfo(np.float64).eps
    rank = int(np.count_nonzero(relative > cutoff))
    size = np.sqrt(sample.n_rows)
    projection = np.where(alive[:, None], right[:rank].T / singular[:rank] / scale[:, None] * size, 0.0)
    preliminary = (left[:, :rank].T @ target) / size
    smallest = relative[-1]
    return Whitening(
        projection=np.ascontiguousarray(projection),
        spectrum=relative[:rank].copy(),
        preliminary=preliminary,
        condition=float(1.0 / smallest) if smallest > 0.0 else float("inf"),
    )
