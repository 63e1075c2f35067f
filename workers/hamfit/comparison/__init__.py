"""Judging rollouts: errors for each frame, conservation, observables of liquids, all against a reference."""

from __future__ import annotations

from hamfit.comparison.rollouts import compare_rollouts
from hamfit.comparison.summary import RolloutComparison

__all__ = ["RolloutComparison", "compare_rollouts"]
