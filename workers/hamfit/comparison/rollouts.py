"""Rollouts of a model against reference trajectories: everything there is to say, in one value.

`compare_rollouts` needs two datasets and the model, nothing of how the rollouts were made. `RolloutComparison.to_dict`
gives the numbers as JSON, `hamfit.reports` draws them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hamfit.comparison.drift import drift_of
from hamfit.comparison.liquids import LiquidComparison, compare_liquids
from hamfit.comparison.matching import match
from hamfit.comparison.pair_curves import pair_curves
from hamfit.comparison.paired import paired_errors
from hamfit.comparison.samples import extrapolated_share, force_sample
from hamfit.comparison.summary import RolloutComparison, warnings_of
from hamfit.data import Dataset
from hamfit.data.units import check_units_of_model
from hamfit.errors import DataError, GraphError, SpecError
from hamfit.model import Model
from hamfit.systems.truth import Truth, truth_of


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
    for data in (reference, rollouts):
        check_units_of_model(data.path, data.units, model.units)
        model.adapt(data.trajectories[0].frame(0))
    warnings: list[str] = []
    truth: Truth | None = None
    try:
        truth = truth_of(reference.attrs)
    except SpecError as error:
        warnings.append(f"the true potential of the reference cannot be rebuilt: {error}")
    matches = tuple(match(reference, trajectory, rollouts.labels) for trajectory in rollouts.trajectories)
    drifts = tuple(drift_of(model, trajectory) for trajectory in rollouts.trajectories)
    failed = {d.name: d.first_non_finite for d in drifts if d.first_non_finite is not None}
    errors = paired_errors(model, matches, truth, failed)
    # observables of those rollouts that stayed finite beside the trajectories that they started from
    started = {found.reference.name for found in matches if found.reference is not None}
    sources = [t for t in reference.trajectories if all(t.periodic) and (not started or t.name in started)]
    sound = [t for t in rollouts.trajectories if all(t.periodic) and t.name not in failed]
    liquid: LiquidComparison | None = None
    if sources and sound:
        try:
            liquid = compare_liquids(model, sources, sound, r_max=r_max, n_bins=n_bins)
        except (DataError, GraphError) as error:
            warnings.append(f"observables of the liquid are not compared: {error}")
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
    return replace(comparison, warnings=(*warnings, *warnings_of(comparison)))
