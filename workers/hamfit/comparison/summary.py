"""A comparison as one value, in words and numbers: its warnings, and the JSON that programs read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic_core import to_json

from hamfit.comparison.drift import Drift
from hamfit.comparison.liquids import LiquidComparison, ObservablePair
from hamfit.comparison.matching import Match
from hamfit.comparison.metrics import geometric_mean
from hamfit.comparison.pair_curves import PairCurve
from hamfit.comparison.paired import METRICS, PairedErrors
from hamfit.comparison.samples import ForceSample
from hamfit.data import Dataset
from hamfit.model import Model
from hamfit.observables.blocking import BlockedCurve
from hamfit.observables.trend import Trend, combined_trend
from hamfit.systems.truth import Truth

OBSERVABLES = {
    "rdf": "radial distribution function",
    "msd": "mean-square displacement",
    "vacf": "velocity autocorrelation",
    "temperature": "temperature",
    "pressure": "pressure",
}
"""The names of observables in words."""


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
        errors, liquid, forces = self.errors, self.liquid, self.forces
        out: dict[str, Any] = {
            "units": dict(self.model.units),
            "model": {
                "labels": list(self.model.labels),
                "dim": self.model.dim,
                "blocks": [{"kind": b.kind, "part": b.part, "columns": b.n_columns} for b in self.model.blocks],
                "constants": self.model.constants,
                "data": self.model.provenance.get("data", []),
            },
            "reference": _dataset_to_dict(self.reference),
            "rollouts": _dataset_to_dict(self.rollouts) | {"each": _rollouts_to_list(self)},
            "errors": None,
            "drift": {
                "energy_fluctuation": _worst(drift.fluctuation for drift in self.drifts),
                "energy_largest": _worst(drift.largest for drift in self.drifts),
                "energy_trend": _trend(self.trend),
                "momentum": _worst(drift.momentum for drift in self.drifts),
                "non_finite": sum(drift.first_non_finite is not None for drift in self.drifts),
            },
            "liquid": None,
            "pair_curves": [
                {
                    "channel": curve.channel,
                    "range": [curve.r[0], curve.r[-1]],
                    "largest_difference": curve.largest_difference,
                    "aligned": curve.aligned,
                }
                for curve in self.pair_curves
            ],
            "forces": None if forces is None else {"relative_error": forces.relative_error, "frames": forces.n_frames},
            "extrapolated_share": self.extrapolated,
            "true_law": None if self.truth is None else self.truth.name,
            "warnings": list(self.warnings),
        }
        if errors is not None:
            out["errors"] = {
                "rollouts": len(errors.names),
                "frames": len(errors.time),
                "energy_source": errors.energy_source,
                "energy_aligned": errors.energy_aligned,
                **{metric: errors.overall(metric) for metric in METRICS},
                "zeros": {metric: errors.zeros(metric) for metric in METRICS},
                "time": errors.time,
                "curves": {metric: errors.curve(metric) for metric in METRICS},
            }
        if liquid is not None:
            out["liquid"] = {
                "block_frames": {"reference": liquid.block_frames[0], "rollouts": liquid.block_frames[1]},
                "frames": {"reference": liquid.n_frames[0], "rollouts": liquid.n_frames[1]},
                "still_following": liquid.is_following,
                "observables": [_observable_to_dict(pair) for pair in liquid.observables],
            }
        # numbers that JSON cannot hold become null, arrays lists
        plain: dict[str, Any] = json.loads(to_json(out, inf_nan_mode="null", fallback=lambda array: array.tolist()))
        return plain


def warnings_of(comparison: RolloutComparison) -> list[str]:
    """What the numbers of a comparison warn of, one sentence each."""
    out = []
    failed = [d for d in comparison.drifts if d.first_non_finite is not None]
    if failed:
        first = min(failed, key=lambda drift: drift.first_non_finite or 0)
        out.append(
            f"{len(failed)} of {len(comparison.drifts)} rollouts reached values that are not finite,"
            f" {first.name} first, at frame {first.first_non_finite}; from there on they count with Zerr = Herr = 1"
        )
    reasons = Counter(found.why for found in comparison.matches if found.why is not None)
    out += [
        f"{number} of {len(comparison.matches)} rollouts cannot be compared frame by frame: {why}"
        for why, number in reasons.items()
    ]
    if comparison.extrapolated:
        out.append(
            f"{100 * comparison.extrapolated:.2g} % of the distances in the rollouts lie outside those seen in"
            " training, where the model is a guess"
        )
    errors, trend = comparison.errors, comparison.trend
    if errors is not None and errors.energy_source == "stored" and np.isfinite(errors.herr).any():
        aligned = ", the constant of the latter being set at the first frame" if errors.energy_aligned else ""
        out.append(
            "the true potential is unknown, so Herr compares the energies stored with the reference and those of the"
            f" learned model{aligned}"
        )
    if trend is not None and trend.is_significant:
        out.append(f"the energy has a trend, {abs(trend.in_errors):.1f} standard errors from none")
    if comparison.liquid is not None:
        out += comparison.liquid.missing
        if comparison.liquid.is_following:
            out.append(
                "the rollouts still follow the reference step by step, so they are no sample of their own: judge"
                " liquids by longer rollouts or by starts of their own"
            )
        short = [f"{OBSERVABLES[o.kind]} of {o.label}" for o in comparison.liquid.observables if o.blocks_too_short]
        if short:
            out.append(
                f"neighbouring blocks are correlated in {', '.join(short)}, so these errors are too small: take longer"
                " trajectories"
            )
    return out


def _dataset_to_dict(dataset: Dataset) -> dict[str, Any]:
    """What a dataset is."""
    numbers = [trajectory.n_particles for trajectory in dataset.trajectories]
    return {
        "path": str(dataset.path),
        "digest": dataset.digest,
        "trajectories": len(dataset.trajectories),
        "frames": dataset.n_frames,
        "particles": [min(numbers), max(numbers)],
    }


def _rollouts_to_list(comparison: RolloutComparison) -> list[dict[str, Any]]:
    """One entry for each rollout."""
    errors = comparison.errors
    rows = {} if errors is None else {name: k for k, name in enumerate(errors.names)}
    return [
        {
            "name": found.rollout.name,
            "trajectory": None if found.reference is None else found.reference.name,
            "frame": found.start,
            "replica": found.replica,
            "frames": drift.n_frames,
            "compared": len(found.frames),
            "why_not": found.why,
            **{metric: _mean_of(errors, metric, rows.get(found.rollout.name)) for metric in METRICS},
            "energy_fluctuation": drift.fluctuation,
            "energy_largest": drift.largest,
            "energy_trend": _trend(drift.trend),
            "momentum": drift.momentum,
            "first_non_finite": drift.first_non_finite,
        }
        for found, drift in zip(comparison.matches, comparison.drifts, strict=True)
    ]


def _mean_of(errors: PairedErrors | None, metric: str, row: int | None) -> float | None:
    """Geometric mean of one rollout's errors after the start."""
    return None if errors is None or row is None else float(geometric_mean(getattr(errors, metric)[row, 1:]))


def _observable_to_dict(pair: ObservablePair) -> dict[str, Any]:
    """One observable of a liquid with the curves of both sides."""
    difference = pair.difference
    return {
        "kind": pair.kind,
        "label": pair.label,
        "chi2_per_bin": None if difference is None else difference.chi2_per_bin,
        "p_value": None if difference is None else difference.p_value,
        "bins": None if difference is None else difference.bins,
        "blocks_too_short": pair.blocks_too_short,
        "x": pair.reference.x,
        "reference": _curve(pair.reference),
        "rollouts": _curve(pair.rollouts),
    }


def _curve(curve: BlockedCurve) -> dict[str, Any]:
    return {
        "mean": curve.mean,
        "standard_error": curve.standard_error,
        "blocks": curve.n_blocks,
        "growth": curve.growth,
    }


def _trend(trend: Trend | None) -> dict[str, Any] | None:
    if trend is None:
        return None
    return {
        "slope": trend.slope,
        "standard_error": trend.standard_error,
        "in_standard_errors": trend.in_errors,
        "p_value": trend.p_value,
        "blocks": trend.n_blocks,
    }


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
