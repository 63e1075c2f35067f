"""How far particles see each other, when nobody said: the cutoff chosen by held-out error.

Candidates are multiples of the distance of nearest neighbours, so that the choice has no unit. Each is judged by a
small fit of the blocks asked for: few features, the particles of the survey, every second frame held out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hamfit.errors import GraphError
from hamfit.features.block import AbstractBlock, targets_of
from hamfit.features.survey import Survey
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph, FrameGraphs
from hamfit.types import FloatArray

#: Candidates, in distances of nearest neighbours.
MULTIPLES: tuple[float, ...] = (1.8, 2.1, 2.4, 2.7)
#: Features of a candidate, and particles it is judged on.
TRIAL_FEATURES, _CENTRES = 150, 900
_RIDGE = 1e-9

Make = Callable[[CutoffGraph], Sequence[AbstractBlock]]
"""Samples the blocks of a candidate."""


@dataclass(frozen=True, slots=True)
class Reach:
    """A cutoff and the relative error it made on held-out frames."""

    cutoff: float
    error: float


def choose_reach(found: Survey, labels: tuple[str, ...], make: Make) -> tuple[CutoffGraph, list[Reach]]:
    """The graph with the best cutoff for all pairs of species, and what was judged.

    Raises GraphError when no particle has a neighbour at any distance.
    """
    nearest = nearest_distance(found.frames, labels)
    judged = []
    for multiple in MULTIPLES:
        # three digits: a cutoff that people can read and type
        cutoff = float(f"{multiple * nearest:.3g}")
        judged.append(Reach(cutoff, _judge(found.frames, make(uniform_graph(labels, cutoff)))))
    best = min(judged, key=lambda reach: reach.error)
    return uniform_graph(labels, best.cutoff), judged


def uniform_graph(labels: tuple[str, ...], cutoff: float) -> CutoffGraph:
    """One cutoff for all pairs of species."""
    return CutoffGraph(labels, np.full((len(labels), len(labels)), cutoff))


def nearest_distance(frames: Sequence[Frame], labels: tuple[str, ...]) -> float:
    """Median over particles of the distance to the nearest other one; GraphError where nobody has a neighbour."""
    out: list[FloatArray] = []
    for frame in frames:
        centres = np.arange(min(frame.n_particles, 200), dtype=np.int64)
        radius, diameter = _spacing(frame), float(np.linalg.norm(np.ptp(frame.q, axis=0)))
        while frame.n_particles > 1 or any(frame.periodic):
            edges = uniform_graph(labels, radius).prepare(frame).edges(centres)
            counts = np.diff(edges.offsets)
            # nine in ten are enough: an atom that flew away must not set the scale
            if np.mean(counts > 0) >= 0.9:
                met = edges.offsets[:-1][counts > 0]
                out.append(np.minimum.reduceat(edges.distance, met))
                break
            if not any(frame.periodic) and radius > 2.0 * diameter:
                break
            radius *= 1.4
    if not out:
        raise GraphError("no particle has a neighbour at any distance: give frames of more particles, or --cutoff")
    return float(np.median(np.concatenate(out)))


def _spacing(frame: Frame) -> float:
    """Edge of the cube (square, segment) that belongs to one particle; flat directions do not count."""
    if frame.box is not None and all(frame.periodic):
        sides = np.linalg.norm(frame.box, axis=1)
        volume = abs(float(np.linalg.det(frame.box)))
        return float((volume / frame.n_particles) ** (1.0 / sides.size))
    sides = np.ptp(frame.q, axis=0)
    sides = sides[sides > 1e-3 * sides.max()]
    if sides.size == 0:
        return 1.0
    return float((np.prod(sides) / frame.n_particles) ** (1.0 / sides.size))


def _judge(frames: Sequence[Frame], blocks: Sequence[AbstractBlock]) -> float:
    per_frame = -(-_CENTRES // len(frames))
    fitted: list[tuple[FloatArray, FloatArray]] = []
    held_out: list[tuple[FloatArray, FloatArray]] = []
    graphs = FrameGraphs()
    for index, frame in enumerate(frames):
        sources = [block.prepare(frame, graphs) for block in blocks]
        centres = np.linspace(0, frame.n_particles - 1, min(per_frame, frame.n_particles)).astype(np.int64)
        # with a single frame its particles take turns
        halves = [(centres[::2], fitted), (centres[1::2], held_out)]
        if len(frames) > 1:
            halves = [(centres, held_out if index % 2 else fitted)]
        for some, side in halves:
            rows = np.hstack([block.rows(s, some) for block, s in zip(blocks, sources, strict=True)])
            side.append((rows, targets_of(frame, blocks[0].part)[some].reshape(-1)))
    rows, targets = (np.concatenate(part) for part in zip(*fitted, strict=True))
    norms = np.sqrt(np.mean(rows**2, axis=0))
    norms = np.where(norms > 0.0, norms, 1.0)
    scaled = rows / norms
    gram = scaled.T @ scaled + _RIDGE * rows.shape[0] * np.eye(rows.shape[1])
    theta = np.linalg.solve(gram, scaled.T @ targets) / norms
    rows, targets = (np.concatenate(part) for part in zip(*held_out, strict=True))
    size = float(np.linalg.norm(targets))
    return float(np.linalg.norm(rows @ theta - targets)) / (size if size > 0.0 else 1.0)
