"""What a liquid is known by: g(r), mean-square displacement, velocity autocorrelation, temperature, pressure.

One pass over the frames. All are averaged over the same blocks of consecutive frames, so that each comes with the
scatter from which its standard error follows. Pairs of times lie within one block, so that blocks share no frame;
the longest lag is therefore shorter than a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hamfit.data import Trajectory
from hamfit.errors import DataError, ModelError
from hamfit.graphs.channels import pair_labels
from hamfit.model import Model
from hamfit.observables.blocking import BlockedCurve, block_length
from hamfit.observables.lagged import LaggedAverage
from hamfit.observables.pressure import pressure, temperature
from hamfit.observables.rdf import default_r_max, pair_distribution
from hamfit.observables.state import momenta, velocities
from hamfit.observables.unwrapping import is_wrapped, unwrapped
from hamfit.types import FloatArray

MOST_LAGS = 100
WINDOW_BYTES = 2**27
"""Memory for the window of earlier frames; large systems get fewer lags."""
SAME_TIME = 1e-6
"""Relative difference up to which two intervals between frames are equal."""
STATIC_FRAMES = 200
"""Frames of g(r) and pressure, evenly spread: neighbouring frames tell little new and cost as much."""


@dataclass(frozen=True, slots=True, eq=False)
class LiquidObservables:
    """Sampled curves of one set of trajectories, each a `BlockedCurve`."""

    curves: Mapping[tuple[str, str], BlockedCurve]
    """By kind (`rdf`, `msd`, `vacf`, `temperature`, `pressure`) and by pair of species, species, or `all`.

    g(r) over the middles of its bins, msd and vacf over the lag in the data's time unit; temperature and pressure
    have one bin.
    """
    block_frames: int
    """Frames of one block."""
    n_frames: int
    """Frames in all blocks."""
    missing: Mapping[str, str]
    """Kinds that could not be measured, and why."""


@dataclass(frozen=True, slots=True)
class _Block:
    trajectory: Trajectory
    wrapped: bool
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Grids:
    labels: tuple[str, ...]
    r_max: float
    n_bins: int
    n_lags: int
    static: frozenset[int]


def measure_liquid(
    trajectories: Sequence[Trajectory],
    *,
    model: Model | None = None,
    labels: tuple[str, ...] | None = None,
    r_max: float | None = None,
    n_bins: int = 100,
) -> LiquidObservables:
    """Measure the curves of a liquid over all frames of some trajectories of one dataset.

    Args:
        trajectories: periodic in all directions, of the same species.
        model: gives the pressure; without it there is none.
        labels: order of the species, which decides the order of pairs; by default that of the dataset.
        r_max: longest distance of g(r); by default `default_r_max` of the first frames.
        n_bins: bins of g(r).

    A last frame that comes sooner than the equal intervals before it, as rollouts store it where their steps are no
    multiple of those between frames, is left out. Memory is a window of frames, however long the trajectories. Raises
    DataError when a trajectory is not periodic or has too few frames for two blocks, GraphError for coincident
    particles.

    """
    for trajectory in trajectories:
        if not all(trajectory.periodic):
            raise DataError(f"{trajectory.name} is open in some direction: liquids need boxes periodic in all")
    evens = [_evenly_spaced(trajectory) for trajectory in trajectories]
    length = block_length(evens)
    blocks = [
        _Block(trajectory, wrapped, start, start + length)
        for trajectory, even, wrapped in ((t, n, is_wrapped(t)) for t, n in zip(trajectories, evens, strict=True))
        for start in range(0, even - length + 1, length)
    ]
    if len(blocks) < 2:
        raise DataError("there are too few frames to tell an error from their scatter: give at least four")
    if r_max is None:
        r_max = default_r_max(trajectory.frame(0) for trajectory in trajectories)
    missing: dict[str, str] = {}
    lag_time, why = _lag_time(trajectories, evens)
    if why:
        missing |= {"msd": why, "vacf": why}
    # zero included: fewer than a block has frames, and as many as the memory allows
    largest = max(trajectory.n_particles * trajectory.dim for trajectory in trajectories)
    n_lags = max(1, min(length, MOST_LAGS, WINDOW_BYTES // (2 * 8 * max(largest, 1))))
    static = np.linspace(0, length - 1, min(length, max(1, STATIC_FRAMES // len(blocks)))).round().astype(np.int64)
    first = trajectories[0].frame(0)
    grids = _Grids(first.labels if labels is None else labels, r_max, n_bins, n_lags, frozenset(static.tolist()))
    rows = [_measure_block(block, model, grids, missing) for block in blocks]
    return LiquidObservables(
        curves=dict(_curves(rows, grids, missing, lag_time)),
        block_frames=length,
        n_frames=length * len(blocks),
        missing=missing,
    )


def _measure_block(block: _Block, model: Model | None, grids: _Grids, missing: dict[str, str]) -> dict[str, FloatArray]:
    """Averages over one block; a kind that turns out not to be measurable moves to `missing`."""
    frames = unwrapped(block.trajectory.stream(block.start, block.stop), block.wrapped)
    rdf: list[FloatArray] = []
    pressures: list[float] = []
    temperatures: list[float] = []
    displacement = velocity = None
    for index, (stored, q) in enumerate(frames):
        frame = stored.relabel(grids.labels, stored.bond_labels)
        if displacement is None or velocity is None:
            displacement, velocity = (
                LaggedAverage(grids.n_lags, frame.species, len(grids.labels), displacement=kind)
                for kind in (True, False)
            )
        moving = velocities(frame)
        if index in grids.static:
            rdf.append(pair_distribution(frame, grids.r_max, grids.n_bins))
            if model is not None and "pressure" not in missing and momenta(frame) is not None:
                try:
                    pressures.append(pressure(model, frame))
                except ModelError as error:
                    missing["pressure"] = str(error)
        if "msd" not in missing:
            displacement.add(q)
        if moving is None:
            missing.setdefault("vacf", "the frames have no velocities")
        elif "vacf" not in missing:
            velocity.add(moving)
        if momenta(frame) is not None:
            temperatures.append(temperature(frame))
    assert displacement is not None
    assert velocity is not None
    out = {"rdf": np.mean(rdf, axis=0), "msd": displacement.averages.T, "vacf": velocity.averages.T}
    if temperatures:
        out["temperature"] = np.full((1, 1), np.mean(temperatures))
    if pressures:
        out["pressure"] = np.full((1, 1), np.mean(pressures))
    return out


def _curves(
    rows: list[dict[str, FloatArray]], grids: _Grids, missing: Mapping[str, str], lag_time: float
) -> Iterator[tuple[tuple[str, str], BlockedCurve]]:
    """Pairs of (kind, label) and curve, those without particles left out."""
    lags: FloatArray = lag_time * np.arange(grids.n_lags, dtype=np.float64)
    middles: FloatArray = (np.arange(grids.n_bins, dtype=np.float64) + 0.5) * (grids.r_max / grids.n_bins)
    kinds: dict[str, tuple[Sequence[str], FloatArray]] = {
        "rdf": (pair_labels(grids.labels), middles),
        "msd": (grids.labels, lags),
        "vacf": (grids.labels, lags),
        "temperature": (("all",), np.zeros(1)),
        "pressure": (("all",), np.zeros(1)),
    }
    for kind, (names, grid) in kinds.items():
        if kind in missing or any(kind not in row for row in rows):
            continue
        for k, label in enumerate(names):
            values: FloatArray = np.array([row[kind][k] for row in rows])
            if np.isfinite(values).all():
                yield (kind, label), BlockedCurve(grid, values)


def _evenly_spaced(trajectory: Trajectory) -> int:
    """Frames without a last one that comes sooner than the equal intervals before it."""
    if not trajectory.has_time or trajectory.n_frames < 3:
        return trajectory.n_frames
    steps = np.diff(trajectory.time)
    first = float(steps[0])
    is_odd = np.ptp(steps[:-1]) <= SAME_TIME * first and steps[-1] < (1.0 - SAME_TIME) * first
    return trajectory.n_frames - int(is_odd)


def _lag_time(trajectories: Sequence[Trajectory], evens: Sequence[int]) -> tuple[float, str]:
    """Time between frames, and why there is none."""
    if not all(trajectory.has_time for trajectory in trajectories):
        return np.nan, "the times of the frames are unknown"
    steps = [np.diff(trajectory.time[:n]) for trajectory, n in zip(trajectories, evens, strict=True) if n > 1]
    if not steps:
        return np.nan, "there is one frame only"
    every = np.concatenate(steps)
    if np.ptp(every) > SAME_TIME * every.mean():
        return np.nan, "the frames are not equally spaced in time"
    return float(every.mean()), ""
