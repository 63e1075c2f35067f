"""Zerr, Herr and Perr of every rollout that can be compared with its reference frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hamfit.comparison.energies import Energies, EnergySource, stored_energies, true_energies
from hamfit.comparison.matching import Match
from hamfit.comparison.metrics import geometric_mean, momentum_error, relative_distance
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.observables.state import momenta, velocities
from hamfit.observables.unwrapping import is_wrapped, lattice_shift, unwrapped
from hamfit.systems.truth import Truth
from hamfit.types import FloatArray

METRICS = ("zerr", "herr", "perr")


@dataclass(frozen=True, slots=True, eq=False)
class PairedErrors:
    """Errors of R rollouts at T common times since their starts; nan where a rollout or quantity is not there."""

    names: tuple[str, ...]
    """Names of the rollouts, R."""
    time: FloatArray
    """Time since the start, (T,); entry 0 is the common start."""
    zerr: FloatArray
    """(R, T)."""
    herr: FloatArray
    """(R, T)."""
    perr: FloatArray
    """(R, T), square of the data's velocity unit."""
    energy_source: EnergySource
    """Whose H `herr` compares."""
    energy_aligned: bool
    """Whether a constant of the learned energy had to be taken from the first frame."""

    def curve(self, metric: str) -> FloatArray:
        """Geometric mean over rollouts for each time, (T,); zeros are left out."""
        return geometric_mean(getattr(self, metric), axis=0)

    def overall(self, metric: str) -> float:
        """Geometric mean over all rollouts and all times but the start; nan when nothing is known."""
        return float(geometric_mean(getattr(self, metric)[:, 1:]))

    def zeros(self, metric: str) -> int:
        """Exact zeros after the start, which the geometric mean leaves out."""
        return int(np.count_nonzero(getattr(self, metric)[:, 1:] == 0.0))


def paired_errors(
    model: Model, matches: Sequence[Match], truth: Truth | None, failed: dict[str, int]
) -> PairedErrors | None:
    """Compare all matched rollouts; None when there are none.

    `failed` gives, by name, the first frame with a value that is not finite. From there on a rollout counts with
    Zerr = Herr = 1, the largest there is, also where it has no frames any more: leaving it out would praise a model
    for what it lost.
    """
    matches = [found for found in matches if found.why is None]
    if not matches:
        return None
    time, places = _common_times([found.time for found in matches])
    out = {metric: np.full((len(matches), len(time)), np.nan) for metric in METRICS}
    source: EnergySource = "stored" if truth is None else "true"
    aligned = False
    for row, (found, place) in enumerate(zip(matches, places, strict=True)):
        energies: Energies | None = None
        for column, (frame, q, rolled, q_hat) in zip(place, _pairs(found), strict=True):
            if energies is None:
                energies = stored_energies(model, frame, rolled) if truth is None else true_energies(truth, frame)
                aligned = aligned or energies.aligned
            out["zerr"][row, column] = relative_distance(q, q_hat)
            if momenta(frame) is not None and momenta(rolled) is not None:
                h = energies.of_reference(frame)
                if not np.isnan(h):
                    out["herr"][row, column] = relative_distance(h, energies.of_rollout(rolled))
            v, v_hat = velocities(frame), velocities(rolled)
            if v is not None and v_hat is not None:
                out["perr"][row, column] = momentum_error(v, v_hat)
        if found.rollout.name in failed:
            _count_as_lost(out, row, time, found, failed[found.rollout.name])
    names = tuple(found.rollout.name for found in matches)
    return PairedErrors(names, time, **out, energy_source=source, energy_aligned=aligned)


def _count_as_lost(out: dict[str, FloatArray], row: int, time: FloatArray, found: Match, first: int) -> None:
    lost_from = np.inf
    if first < found.rollout.n_frames:
        lost_from = found.rollout.time[first] - found.rollout.time[0]
    elif len(found.time):
        lost_from = np.nextafter(found.time[-1], np.inf)
    # only where the reference still goes on is there anything to be wrong about
    assert found.reference is not None
    last = found.reference.time[-1] - found.reference.time[found.start]
    lost = (time >= lost_from) & (time <= last * (1 + 1e-9))
    out["zerr"][row, lost] = 1.0
    if np.isfinite(out["herr"][row]).any():
        out["herr"][row, lost] = 1.0
    out["perr"][row, lost] = np.nan


def _pairs(found: Match) -> Iterator[tuple[Frame, FloatArray, Frame, FloatArray]]:
    """Frames of the reference and the rollout at equal times, each with its unwrapped positions.

    Positions of periodic data are unwrapped on both sides. The two sides may count lattice vectors differently, so the
    reference is moved by those that bring its start nearest to the rollout's.
    """
    assert found.reference is not None
    first, last = int(found.frames[0, 1]), int(found.frames[-1, 1])
    first_hat, last_hat = int(found.frames[0, 0]), int(found.frames[-1, 0])
    truth = unwrapped(found.reference.stream(first, last + 1), is_wrapped(found.reference))
    rolled = unwrapped(found.rollout.stream(first_hat, last_hat + 1), is_wrapped(found.rollout))
    at, at_hat = first - 1, first_hat - 1
    shift: FloatArray | None = None
    for index_hat, index in found.frames.tolist():
        while at < index:
            frame, q = next(truth)
            at += 1
        while at_hat < index_hat:
            frame_hat, q_hat = next(rolled)
            at_hat += 1
        if shift is None:
            shift = lattice_shift(q_hat, frame)
        yield frame, q + shift, frame_hat, q_hat


def _common_times(times: Sequence[FloatArray]) -> tuple[FloatArray, list[list[int]]]:
    """The union of the times, (T,), and where those of each rollout stand in it; rounding apart they are equal."""
    everything = np.unique(np.concatenate(times))
    gaps = [float(np.diff(t).min()) for t in times if len(t) > 1]
    tolerance = 1e-3 * min(gaps)
    fresh = np.concatenate([[True], np.diff(everything) > tolerance])
    common = everything[fresh]
    return common, [np.clip(np.searchsorted(common, t + tolerance) - 1, 0, None).tolist() for t in times]
