"""Rollouts: running a fitted model from many initial states, into a dataset.

selection, starts       which states to start from
stepsize, trying        how long a step may be, and from which states it holds
options, plan, sizes    how to run, and all that follows from it
workspace               what a running rollout keeps, and for whom
running, tally, endings one rollout from start or checkpoint to end, and the device that moves its particles
executors, driver       threads or workers, all of it in order
report                  what is said of them at the end
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamfit.rollouts.driver import RolloutResult, plan_rollout, rollout

__all__ = ["RolloutResult", "plan_rollout", "rollout"]


def __getattr__(name: str) -> Any:
    # the options are wanted by the command line long before anything is run
    if name in __all__:
        return getattr(import_module("hamfit.rollouts.driver"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
