"""Rollouts of a model against reference trajectories: everything there is to say, in one value.

`compare_rollouts` needs two datasets and the model, nothing of how the rollouts were made. `RolloutComparison.to_dict`
gives the numbers as JSON, `hamfit.reports` draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamfit.comparison import summary
from hamfit.comparison.drift import Drift, drift_of
from hamfit.comparison.liquids import LiquidComparison, compare_liquids
from hamfit.comparison.matching import Match, match
from hamfit.comparison.pair_curves import PairCurve, pair_curves
from hamfit.comparison.paired import PairedErrors, paired_errors
from hamfit.comparison.samples import ForceSample, extrapolated_share, force_sample
from hamfit.data import Dataset
from hamfit.errors import DataError, GraphError, SpecError
from hamfit.model import Model
from hamfit.observables.streaming import is_liquid
from hamfit.observables.trend import Trend, combined_trend
from hamfit.systems.truth import Truth, truth_of


@dataclass(frozen=True, slots=True, eq=False)
class RolloutComparison:
    """What a model's rollouts share with the trajectories they should follow, and what they do not."""

    model: Model
    reference: Dataset
    rollouts: Dataset
    matches: tuple[Match, ...]
    """Where each rollout started, and which of its frames have a counterpart."""
    errors: PairedErrors | None
    """Zerr, Herr and Perr for each frame; None where no rollout can be compared frame by frame."""
    drifts: tuple[Drift, ...]
    """Conservation of energy and momentum, for each rollout."""
    liquid: LiquidComparison | None
    """Observables of liquids; None for open systems and data too short."""
    pair_curves: tuple[PairCurve, ...]
    """Learned V(r) for each kind of pair."""
    forces: ForceSample | None
    """Forces at some frames of the reference."""
    extrapolated: float | None
    """Share of sampled edges of the rollouts outside the distances seen in training."""
    truth: Truth | None
    """The true law, where the reference was made by `simulate`."""
    warnings: tuple[str, ...]
    """What a reader must know before trusting the numbers."""

    @property
    def trend(self) -> Trend | None:
        """Trend of the relative energy: of the mean over rollouts from three on, else of the first that has one."""
        known = [drift.trend for drift in self.drifts]
        trends = [trend for trend in known if trend is not None]
        return combined_trend(trends) or (trends[0] if trends else None)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, JSON-able; None where a number is unknown or not finite."""
        return summary.comparison_to_dict(self)


def compare_rollouts(
    model: Model | str | Path,
    reference: Dataset | str | Path,
    rollouts: Dataset | str | Path,
    *,
    r_max: float | None = None,
    n_bins: int = 100,
) -> RolloutComparison:
    """Compare the rollouts of a model with reference trajectories.

    Args:
        model: gives learned energies, pressures and V(r).
        reference: the dataset that the rollouts were started from.
        rollouts: one trajectory for each rollout; `attrs["rollout"]` says where it started (`source`, `trajectory`,
            `frame`, `replica`), without that the reference trajectory of the same name is taken from its first frame.
        r_max: longest distance of g(r) of liquids; by default half the smallest height of the boxes, at most 5 mean
            distances.
        n_bins: bins of g(r).

    Memory does not grow with the number of frames but for a few numbers each. Raises DataError when units or
    dimensions differ or a rollout names a start that the reference lacks, ModelError when the model does not know the
    species.

    """
    model = model if isinstance(model, Model) else Model.open(model)
    reference = reference if isinstance(reference, Dataset) else Dataset.open(reference)
    rollouts = rollouts if isinstance(rollouts, Dataset) else Dataset.open(rollouts)
    _refuse_other_worlds(model, reference, rollouts)
    warnings: list[str] = []
    truth = _truth(reference, warnings)
    matches = tuple(match(reference, trajectory, rollouts.labels) for trajectory in rollouts.trajectories)
    drifts = tuple(drift_of(model, trajectory) for trajectory in rollouts.trajectories)
    failed = {d.name: d.first_non_finite for d in drifts if d.first_non_finite is not None}
    errors = paired_errors(model, matches, truth, failed)
    liquid = _liquid(model, reference, rollouts, matches, failed, r_max, n_bins, warnings)
    comparison = RolloutComparison(
        model=model,
        reference=reference,
        rollouts=rollouts,
        matches=matches,
        errors=errors,
        drifts=drifts,
        liquid=liquid,
        pair_curves=pair_curves(model, truth),
        forces=force_sample(model, reference),
        extrapolated=extrapolated_share(model, rollouts),
        truth=truth,
        warnings=(),
    )
    return summary.with_warnings(comparison, warnings)


def _refuse_other_worlds(model: Model, reference: Dataset, rollouts: Dataset) -> None:
    for data in (reference, rollouts):
        if data.units.name != model.units["name"]:
            raise DataError(
                f"{data.path} is in {data.units.name} units, the model in {model.units['name']}: ingest it alike"
            )
        model.adapt(data.trajectories[0].frame(0))


def _truth(reference: Dataset, warnings: list[str]) -> Truth | None:
    try:
        return truth_of(reference.attrs)
    except SpecError as error:
        warnings.append(f"the true potential of the reference cannot be rebuilt: {error}")
        return None


def _liquid(
    model: Model,
    reference: Dataset,
    rollouts: Dataset,
    matches: Sequence[Match],
    failed: dict[str, int],
    r_max: float | None,
    n_bins: int,
    warnings: list[str],
) -> LiquidComparison | None:
    """Observables of those rollouts that stayed finite beside the trajectories that they started from."""
    started = {found.reference.name for found in matches if found.reference is not None}
    sources = [t for t in reference.trajectories if is_liquid(t) and (not started or t.name in started)]
    sound = [t for t in rollouts.trajectories if is_liquid(t) and t.name not in failed]
    if not sources or not sound:
        return None
    try:
        return compare_liquids(model, sources, sound, r_max=r_max, n_bins=n_bins)
    except (DataError, GraphError) as error:
        warnings.append(f"observables of the liquid are not compared: {error}")
        return None
