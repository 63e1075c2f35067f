"""Choosing input map, taper and sampler of radial features by held-out error on the survey's sample.

Accuracy hangs on the input map by orders of magnitude: a quartic law wants r^2, Lennard-Jones 1/r. Candidates are
fitted on half of the sampled frames with few features and judged on the other half; all channels share the first
choice, then each channel may take another map of its own. Ties within a factor of two go to the earlier candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hamfit.errors import FeatureError
from hamfit.features.radial import INPUT_MAPS, InputMap, RadialFeatures, Taper, map_inverse, map_value
from hamfit.features.sampling import sample_elm, sample_swim
from hamfit.features.survey import SurveySample
from hamfit.kernels.cpu import radial_rows
from hamfit.options import FitSpec
from hamfit.types import FloatArray

#: Features of a candidate while choosing.
TRIAL_FEATURES = 64
_CLEARLY_BETTER = 0.5
#: A relative error that is nothing but rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class RadialChoice:
    """What is to be chosen, or has been."""

    input_maps: tuple[InputMap, ...]
    """Input map of every channel."""
    taper: Taper
    """How features reach zero at the cutoff."""
    sampler: str
    """elm, swim or swim-gradient; ``links`` for the direct links alone."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A choice and the relative error it made on the held-out rows of the sample."""

    choice: RadialChoice
    error: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "input_maps": list(self.choice.input_maps),
            "taper": self.choice.taper,
            "sampler": self.choice.sampler,
            "error": self.error,
        }


def choose_radial(
    sample: SurveySample,
    cutoffs: FloatArray,
    options: FitSpec,
    input_map: InputMap | None,
    taper: Taper | None,
    sampler: str | None,
) -> tuple[RadialFeatures, list[Judged]]:
    """Features for the channels with the given cutoffs (C,), inf for none, and the candidates that were judged.

    Map, taper and sampler are those of all channels; None means choose.
    """
    trial = _Trial(sample, cutoffs, options.direct_links, options.seed)
    channels = cutoffs.size
    maps = INPUT_MAPS if input_map is None else (input_map,)
    has_cutoff = bool(np.any(np.isfinite(cutoffs)))
    tapers: tuple[Taper, ...] = ("smooth", "shift") if has_cutoff else ("shift",)
    if taper is not None:
        tapers = (taper,)
    first = sampler if sampler in ("elm", "swim") else "elm"
    if options.direct_links:
        # a law that the links alone hold to rounding (|p|^2 / 2m, -1 / r, springs) needs nothing else, and extrapolates
        exact = trial.exact([RadialChoice((m,) * channels, t, "links") for t in tapers for m in maps])
        if exact is not None:
            return trial.make(exact.choice, 0), trial.judged
    best = trial.best([RadialChoice((m,) * channels, t, first) for t in tapers for m in maps])
    if input_map is None:
        for c in range(channels if channels > 1 else 0):
            others = [m for m in INPUT_MAPS if m != best.choice.input_maps[c]]
            mixed = [(*best.choice.input_maps[:c], m, *best.choice.input_maps[c + 1 :]) for m in others]
            best = trial.best([best.choice, *(replace(best.choice, input_maps=m) for m in mixed)])
    samplers = ("elm", "swim", "swim-gradient") if sampler is None else (sampler,)
    if samplers != (first,):
        best = trial.best([replace(best.choice, sampler=s) for s in samplers])
    return trial.make(best.choice, options.features), trial.judged


class _Trial:
    """Builds and judges candidates on one sample; every candidate draws from the same seed."""

    def __init__(self, sample: SurveySample, cutoffs: FloatArray, links: bool, seed: int) -> None:
        self.sample, self.cutoffs, self.links, self.seed = sample, cutoffs, links, seed
        self.extent = sample.extent(cutoffs.size)
        self.judged: list[Judged] = []
        self._coarse: dict[RadialChoice, tuple[RadialFeatures, FloatArray]] = {}

    def best(self, choices: Sequence[RadialChoice]) -> Judged:
        if len(choices) == 1 and not self.judged:
            return Judged(choices[0], float("nan"))
        leader: Judged | None = None
        for choice in choices:
            judged = next((j for j in self.judged if j.choice == choice), None)
            if judged is None:
                judged = Judged(choice, self._judge(self.make(choice, TRIAL_FEATURES)))
                self.judged.append(judged)
            if leader is None or judged.error < _CLEARLY_BETTER * leader.error:
                leader = judged
        assert leader is not None
        return leader

    def exact(self, choices: Sequence[RadialChoice]) -> Judged | None:
        """The first choice that fits the held-out rows to rounding with its links alone, if there is one."""
        for choice in choices:
            judged = Judged(choice, self._judge(self.make(choice, 0)))
            if judged.error < _ROUNDING:
                self.judged.append(judged)
                return judged
        return None

    def make(self, choice: RadialChoice, n_features: int) -> RadialFeatures:
        """Sample the features of a choice."""
        rng = np.random.default_rng([self.seed, 1])
        channels = self.cutoffs.size
        ends = [np.sort(map_value(m, self.extent[c])) for c, m in enumerate(choice.input_maps)]
        low, high = np.array([e[0] for e in ends]), np.array([e[1] for e in ends])
        # a channel that the sample never met, or met at one length only, still needs a range
        empty = ~(high > low)
        low[empty] = np.where(np.isfinite(low[empty]), low[empty] - 0.5, 0.0)
        high[empty] = low[empty] + 1.0
        weights = np.empty((channels, n_features))
        biases = np.empty((channels, n_features))
        for c in range(channels):
            drawn = self._draw(choice, c, (low[c], high[c]), n_features, rng)
            weights[c], biases[c] = drawn[0][:, 0], drawn[1]
        return RadialFeatures(
            choice.input_maps, low, high, weights, biases, self.cutoffs, (choice.taper,) * channels, self.links
        )

    def _draw(
        self, choice: RadialChoice, c: int, ends: tuple[float, float], n: int, rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        lengths = self.sample.edges.distance[self.sample.edges.channel == c]
        # a pair of species that never met has no data points to draw from, and no rows either
        if choice.sampler in ("elm", "links") or lengths.size < 2:
            return sample_elm(n, 1, rng)
        x = (map_value(choice.input_maps[c], lengths) - ends[0]) / (ends[1] - ends[0])
        target = None
        if choice.sampler == "swim-gradient":
            features, theta = self._coarse_fit(choice)

            def target(points: FloatArray) -> FloatArray:
                # the coarse fit is a function of r; its inputs here are scaled mapped distances
                r = map_inverse(choice.input_maps[c], ends[0] + points[:, 0] * (ends[1] - ends[0]))
                return np.asarray(features.slopes_over_r(c, r) @ theta[features.columns(c)] * r)

        elif choice.sampler != "swim":
            raise FeatureError(f"sampler {choice.sampler} is unknown: use elm, swim or swim-gradient")
        try:
            return sample_swim(x[:, None], n, rng, target)
        except FeatureError as error:
            raise FeatureError(f"channel {c} cannot be sampled: {error}") from error

    def _coarse_fit(self, choice: RadialChoice) -> tuple[RadialFeatures, FloatArray]:
        coarse = replace(choice, sampler="elm")
        if coarse not in self._coarse:
            features = self.make(coarse, TRIAL_FEATURES)
            rows = self._rows(features)
            self._coarse[coarse] = features, _least_squares(rows, self.sample.targets)
        return self._coarse[coarse]

    def _rows(self, features: RadialFeatures) -> FloatArray:
        edges, dim = self.sample.edges, self.sample.dim
        slopes = features.mixed_slopes(edges.channel, edges.distance)
        out = np.zeros(((edges.offsets.size - 1) * dim, features.n_columns))
        radial_rows(edges.offsets, edges.vector, edges.channel, slopes, features.per_channel, dim, 0, out)
        return out

    def _judge(self, features: RadialFeatures) -> float:
        rows, targets = self._rows(features), self.sample.targets
        fitted, held_out = self.sample.fitted, self.sample.held_out
        theta = _least_squares(rows[fitted], targets[fitted])
        size = float(np.linalg.norm(targets[held_out]))
        error = float(np.linalg.norm(rows[held_out] @ theta - targets[held_out]))
        return error / size if size > 0.0 else error


def _least_squares(rows: FloatArray, targets: FloatArray) -> FloatArray:
    norms = np.linalg.norm(rows, axis=0)
    norms = np.where(norms > 0.0, norms, 1.0)
    cutoff = rows.shape[1] * np.finfo(np.float64).eps
    return np.asarray(np.linalg.lstsq(rows / norms, targets, rcond=cutoff)[0] / norms)
