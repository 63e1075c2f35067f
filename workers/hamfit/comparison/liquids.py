"""Liquids: each observable of the rollouts beside that of the reference, with errors and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hamfit.comparison.matching import same_times
from hamfit.data import Trajectory
from hamfit.model import Model
from hamfit.observables.blocking import BlockedCurve, CurveDifference, compare_curves
from hamfit.observables.liquid import measure_liquid
from hamfit.observables.rdf import default_r_max

FOLLOWING = 0.1
"""chi^2 per bin below which rollouts are not another sample, but still follow the reference step by step."""


@dataclass(frozen=True, slots=True, eq=False)
class ObservablePair:
    """One observable of both sides on one grid."""

    kind: str
    """`rdf`, `msd`, `vacf`, `temperature` or `pressure`."""
    label: str
    """Pair of species, species, or `all`."""
    reference: BlockedCurve
    rollouts: BlockedCurve
    difference: CurveDifference | None
    """None with fewer than two blocks on a side."""

    @property
    def blocks_too_short(self) -> bool:
        """Whether longer blocks would give larger errors, so that the errors given are too small."""
        # Joining two blocks of correlation c makes the error grow by sqrt(1 + c); from B blocks c is known to
        # 1 / sqrt(B).
        return any(
            curve.growth is not None and curve.growth > np.sqrt(1.0 + 3.0 / np.sqrt(curve.n_blocks))
            for curve in (self.reference, self.rollouts)
        )


@dataclass(frozen=True, slots=True, eq=False)
class LiquidComparison:
    """All observables that both sides have."""

    observables: tuple[ObservablePair, ...]
    block_frames: tuple[int, int]
    """Frames of one block of the reference and of the rollouts."""
    n_frames: tuple[int, int]
    """Frames used of the reference and of the rollouts."""
    missing: tuple[str, ...]
    """What could not be compared, and why."""

    @property
    def is_following(self) -> bool:
        """Whether the rollouts are so near the reference that they are no sample of their own."""
        known = [pair.difference for pair in self.observables if pair.difference is not None]
        return bool(known) and max(difference.chi2_per_bin for difference in known) < FOLLOWING


def compare_liquids(
    model: Model,
    reference: Sequence[Trajectory],
    rollouts: Sequence[Trajectory],
    *,
    r_max: float | None = None,
    n_bins: int = 100,
) -> LiquidComparison:
    """Measure both sides in the same way and compare.

    Raises DataError and GraphError as `measure_liquid`.
    """
    if r_max is None:
        # one grid for both
        r_max = default_r_max(t.frame(0) for t in (*reference, *rollouts) if all(t.periodic))
    one, two = (
        measure_liquid(side, model=model, labels=model.labels, r_max=r_max, n_bins=n_bins)
        for side in (reference, rollouts)
    )
    pairs, missing = [], []
    for key, curve in one.curves.items():
        other = two.curves.get(key)
        if other is None:
            continue
        a, b = curve, other
        if a.x.size > 1 or b.x.size > 1:
            # lags of different frame spacings
            shared, _ = same_times(a.x, b.x)
            if len(shared) < 2:
                # all share the lag zero, at which there is nothing to compare
                missing.append(f"{key[0]} of {key[1]}: the two sides share no lag")
                continue
            a, b = a.take(shared[:, 0]), b.take(shared[:, 1])
        pairs.append(ObservablePair(key[0], key[1], a, b, compare_curves(a, b)))
    for who, side in (("reference", one), ("rollouts", two)):
        missing += [f"{kind} of the {who}: {why}" for kind, why in side.missing.items()]
    return LiquidComparison(
        tuple(pairs), (one.block_frames, two.block_frames), (one.n_frames, two.n_frames), tuple(missing)
    )
