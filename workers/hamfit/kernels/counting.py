"""How many pairs there are, and how many of them training did not see."""

from __future__ import annotations

import numpy as np

from hamfit.kernels.bodies import Bodies, Reach
from hamfit.kernels.lanes import RUN_BEGIN, RUN_END, RUN_SHIFT
from hamfit.kernels.measure import between, coincide
from hamfit.kernels.uncounted import uncounted
from hamfit.types import FloatArray, IntArray


@uncounted
def count_outside(
    bodies: Bodies, reach: Reach, channels: IntArray, cutoff2: FloatArray, extents: FloatArray, count: IntArray
) -> None:
    """Pairs within their cutoffs (C,) are added to count (3,): those outside extents (C, 2), all, those at one place.

    channels (S, S): of each pair of species. A channel without a range has all its pairs outside.
    """
    q = bodies.q
    for i in range(bodies.species.size):
        for b in range(reach.ends.shape[1] - 1):
            c = channels[bodies.species[i], b]
            limit2, low, high = cutoff2[c], extents[c, 0], extents[c, 1]
            for k in range(reach.ends[i, b], reach.ends[i, b + 1]):
                t0, t1, t2 = reach.shifts[reach.runs[i, k, RUN_SHIFT]]
                for j in range(reach.runs[i, k, RUN_BEGIN], reach.runs[i, k, RUN_END]):
                    _, _, _, r2 = between(q[0, i], q[1, i], q[2, i], q[0, j], q[1, j], q[2, j], t0, t1, t2)
                    if r2 < limit2:
                        count[0] += not (low <= np.sqrt(r2) <= high)
                        count[1] += 1
                        count[2] += coincide(r2, limit2)
