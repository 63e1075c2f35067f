"""Standard errors of averages over correlated frames, and how far two sampled curves differ.

Frames of a trajectory are correlated, so the error of their mean does not follow from their number. They are cut into
blocks of consecutive frames; averages over blocks longer than the correlation are independent, and their scatter gives
the error (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989)). Whether the blocks are long enough shows in
`growth`: doubling their length must not make the error larger.

Bins of one curve are correlated with each other as well, and with a few blocks their covariance matrix cannot be
inverted. So a difference of two curves is not turned into a textbook chi^2. Its size, the mean over bins of
((a - b) / combined error)^2, is compared with the same number after whole blocks have been dealt to the two sides
anew. Blocks stay whole, so every correlation between bins stays too. This is a permutation test with a studentised
statistic, exact where blocks are exchangeable and asymptotically valid where only the means agree (Chung and Romano,
Ann. Statist. 41, 484 (2013)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, isqrt

import numpy as np

from hamfit.types import FloatArray, IntArray

FEWEST_BLOCKS = 4
MOST_BLOCKS = 20
"""With 20 blocks the error of an error is 16 %; more blocks are shorter, and a short block is a correlated one."""
MOST_DEALS = 2000
"""Ways to deal the blocks that are tried; all of them where there are no more."""


def block_length(frame_counts: Sequence[int]) -> int:
    """Frames of one block, for trajectories of these lengths; 0 when there are no frames.

    The number of blocks aimed at is the square root of the number of frames, between 4 and 20; many trajectories are
    one block each, because independent starts are the best blocks there are.
    """
    counts = sorted(count for count in frame_counts if count > 0)
    if not counts:
        return 0
    total = sum(counts)
    wanted = min(max(isqrt(total), FEWEST_BLOCKS), MOST_BLOCKS)
    typical = counts[len(counts) // 2]
    length = max(1, min(total // wanted, typical))
    # a whole number of blocks in a trajectory of typical length, so that few frames are left over
    return typical // max(1, typical // length)


@dataclass(frozen=True, slots=True, eq=False)
class BlockedCurve:
    """A function sampled in blocks: its average in each block of equally many frames."""

    x: FloatArray
    """Where it is sampled, (n,)."""
    blocks: FloatArray
    """Average over each block, (B, n), trajectory after trajectory."""

    @property
    def n_blocks(self) -> int:
        """Number of blocks B."""
        return int(self.blocks.shape[0])

    @property
    def mean(self) -> FloatArray:
        """Average over all blocks, (n,)."""
        return np.asarray(self.blocks.mean(axis=0))

    @property
    def standard_error(self) -> FloatArray:
        """Standard error of the mean, (n,); nan with fewer than two blocks."""
        if self.n_blocks < 2:
            return np.full(self.x.shape, np.nan)
        return np.asarray(self.blocks.std(axis=0, ddof=1) / np.sqrt(self.n_blocks))

    @property
    def growth(self) -> float | None:
        """Factor by which the error grows when neighbouring blocks are joined: rms over the bins.

        About 1 when blocks are longer than the correlation; None with fewer than eight blocks, too few to tell.
        """
        if self.n_blocks < 8:
            return None
        even = self.n_blocks // 2 * 2
        joined = BlockedCurve(self.x, 0.5 * (self.blocks[0:even:2] + self.blocks[1:even:2]))
        short = BlockedCurve(self.x, self.blocks[:even])
        varying = short.standard_error > 0.0
        if not varying.any():
            return None
        return float(np.sqrt(np.mean((joined.standard_error[varying] / short.standard_error[varying]) ** 2)))

    def take(self, index: IntArray) -> BlockedCurve:
        """The curve at some of its places only."""
        return BlockedCurve(self.x[index], self.blocks[:, index])


@dataclass(frozen=True, slots=True, eq=False)
class CurveDifference:
    """How far two sampled curves are apart, in units of their combined standard error."""

    z: FloatArray
    """(a - b) / sqrt(error_a^2 + error_b^2) of each bin, (n,); nan in bins that never vary."""
    chi2_per_bin: float
    """Mean of z^2 over the bins that vary; about 1, a little more with few blocks, for two samples of one curve."""
    bins: int
    """Bins that vary."""
    p_value: float
    """Share of all ways to deal the blocks that make `chi2_per_bin` at least as large: small means different."""
    deals: int
    """Ways that were tried, the real one included."""


def compare_curves(a: BlockedCurve, b: BlockedCurve) -> CurveDifference | None:
    """How far two curves on the same grid differ; None with fewer than two blocks on a side.

    Raises ValueError when the grids differ. Deterministic: where not all deals are tried, the same ones are drawn.
    """
    if a.x.shape != b.x.shape or not np.allclose(a.x, b.x, rtol=1e-6, atol=0.0):
        raise ValueError("the two curves are sampled at different places")
    if min(a.n_blocks, b.n_blocks) < 2:
        return None
    rows = np.vstack([a.blocks, b.blocks])
    centre = rows.mean(axis=0)
    size = np.abs(rows).max(axis=0, initial=0.0)
    # what differs by rounding only does not vary
    varies = np.ptp(rows, axis=0) > 1e-12 * size
    if not varies.any():
        return CurveDifference(np.full(a.x.shape, np.nan), 0.0, 0, 1.0, 1)
    rows = (rows - centre)[:, varies]
    deals = _deals(a.n_blocks, b.n_blocks)
    statistics, z_kept = _studentised(rows, deals, (1e-13 * size[varies]) ** 2)
    z = np.full(a.x.shape, np.nan)
    z[varies] = z_kept
    real = statistics[0]
    p_value = float(np.mean(statistics >= real * (1.0 - 1e-9)))
    return CurveDifference(z, float(real), int(varies.sum()), p_value, len(deals))


def _deals(n_a: int, n_b: int) -> np.ndarray:
    """Which blocks go to the first side, (deals, n_a + n_b), the real deal first."""
    n = n_a + n_b
    real = np.arange(n) < n_a
    if comb(n, n_a) <= MOST_DEALS:
        chosen = np.zeros((comb(n, n_a), n), dtype=bool)
        for row, members in enumerate(combinations(range(n), n_a)):
            chosen[row, list(members)] = True
        return chosen
    rng = np.random.default_rng(0)
    drawn = [real, *(rng.permuted(real) for _ in range(MOST_DEALS - 1))]
    return np.array(drawn)


def _studentised(rows: FloatArray, deals: np.ndarray, floor: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean over bins of z^2 for every deal, and z of the first deal."""
    squares = rows**2
    moments = []
    for side in (deals, ~deals):
        count = side.sum(axis=1)[:, None]
        mean = side @ rows / count
        # the rows are centred, so that little is lost in this difference
        variance = np.maximum(side @ squares / count - mean**2, 0.0) / (count - 1)
        moments.append((mean, variance))
    (mean_a, var_a), (mean_b, var_b) = moments
    # a bin that does not vary within either side but differs between them is infinitely significant: keep it finite
    combined = np.maximum(var_a + var_b, floor)
    z = (mean_a - mean_b) / np.sqrt(combined)
    return np.mean(z**2, axis=1), z[0]
