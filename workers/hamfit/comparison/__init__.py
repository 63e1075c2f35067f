"""Judging rollouts: errors for each frame, conservation, observables of liquids, all against a reference."""

from __future__ import annotations

from hamfit.comparison.drift import Drift, drift_of
from hamfit.comparison.liquids import LiquidComparison, ObservablePair, compare_liquids
from hamfit.comparison.matching import Match, match
from hamfit.comparison.metrics import geometric_mean, momentum_error, relative_distance
from hamfit.comparison.pair_curves import PairCurve, pair_curves
from hamfit.comparison.paired import PairedErrors, paired_errors
from hamfit.comparison.rollouts import compare_rollouts
from hamfit.comparison.summary import RolloutComparison

__all__ = [
    "Drift",
    "LiquidComparison",
    "Match",
    "ObservablePair",
    "PairCurve",
    "PairedErrors",
    "RolloutComparison",
    "compare_liquids",
    "compare_rollouts",
    "drift_of",
    "geometric_mean",
    "match",
    "momentum_error",
    "pair_curves",
    "paired_errors",
    "relative_distance",
]
