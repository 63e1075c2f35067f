"""What a rollout conserves: its learned energy and its momentum along all its frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hamfit.comparison.energies import learned_parts
from hamfit.data import Trajectory
from hamfit.model import Model
from hamfit.observables.state import momenta
from hamfit.observables.trend import Trend, linear_trend
from hamfit.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """How well one rollout conserves energy and momentum.

    Energies are relative to max(|E(0) - C|, K(0)): C, the constants of the model summed over the particles, changes no
    force and so no drift; the kinetic energy keeps the measure meaningful where the total happens to be near zero; and
    later frames have no part in it, or a rollout that explodes would be judged by its own explosion. Where it is zero,
    for free particles at rest, max_t K(t) takes its place.
    """

    name: str
    """Name of the rollout."""
    n_frames: int
    """Frames it has."""
    time: FloatArray
    """Time since the start, (T,); the frame numbers where times are unknown."""
    energy: FloatArray
    """(E(t) - E(0)) / scale, (T,); nan where momenta are unknown."""
    first_non_finite: int | None
    """First frame with a value that is not finite, or where the rollout says that it stopped for one."""
    momentum: float | None
    """max_t |P(t) - P(0)| / max_t sum_i |p_i(t)|, P the total momentum; None without momenta."""

    @property
    def fluctuation(self) -> float | None:
        """Standard deviation of the relative energy."""
        known = self.energy[np.isfinite(self.energy)]
        return float(known.std()) if known.size > 1 else None

    @property
    def largest(self) -> float | None:
        """max_t |E(t) - E(0)| / scale."""
        known = self.energy[np.isfinite(self.energy)]
        return float(np.abs(known).max()) if known.size else None

    @property
    def trend(self) -> Trend | None:
        """Linear trend of the relative energy per unit time, over the frames before the first that is not finite."""
        stop = self.first_non_finite
        return linear_trend(self.time[:stop], self.energy[:stop])


def drift_of(model: Model, rollout: Trajectory) -> Drift:
    """Read all frames of a rollout and tell what it conserves. Memory is a few numbers for each frame."""
    energies, kinetics = np.full(rollout.n_frames, np.nan), np.zeros(rollout.n_frames)
    constant = model.constant(model.adapt(rollout.frame(0)))
    totals, sizes = np.full((rollout.n_frames, rollout.dim), np.nan), np.zeros(rollout.n_frames)
    broken: int | None = None
    for t, frame in enumerate(rollout.stream()):
        p = momenta(frame)
        finite = bool(np.isfinite(frame.q).all() and (p is None or np.isfinite(p).all()))
        if finite and p is not None:
            with np.errstate(over="ignore"):
                potential, kinetics[t] = learned_parts(model, frame)
                energies[t] = potential + kinetics[t]
                totals[t] = p.sum(axis=0)
                sizes[t] = float(np.linalg.norm(p, axis=1).sum())
            finite = bool(np.isfinite(energies[t]))
        if not finite and broken is None:
            broken = t
    origin = rollout.attrs.get("rollout")
    if broken is None and isinstance(origin, Mapping) and origin.get("first_non_finite") is not None:
        # a dataset holds finite numbers only, so a rollout that ran away ends before that frame and says so
        broken = rollout.n_frames
    time = rollout.time - rollout.time[0] if rollout.has_time else np.arange(rollout.n_frames, dtype=np.float64)
    return Drift(
        name=rollout.name,
        n_frames=rollout.n_frames,
        time=time,
        energy=_relative(energies, kinetics, constant),
        first_non_finite=broken,
        momentum=_momentum_drift(totals, sizes),
    )


def _relative(energies: FloatArray, kinetics: FloatArray, constant: float) -> FloatArray:
    if not np.isfinite(energies[0]):
        return np.full(energies.shape, np.nan)
    scale = max(abs(float(energies[0]) - constant), float(kinetics[0]))
    if scale == 0.0:
        scale = float(kinetics[np.isfinite(kinetics)].max(initial=0.0))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((energies - energies[0]) / (scale if scale > 0.0 else 1.0))


def _momentum_drift(totals: FloatArray, sizes: FloatArray) -> float | None:
    with np.errstate(over="ignore", invalid="ignore"):
        moved = np.sqrt(np.sum((totals - totals[0]) ** 2, axis=1))
    known = np.isfinite(moved) & np.isfinite(sizes)
    if not known.any():
        return None
    largest = float(sizes[known].max())
    return float(moved[known].max()) / largest if largest > 0.0 else 0.0
