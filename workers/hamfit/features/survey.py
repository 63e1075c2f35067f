"""What a block may sample itself from: a first look at the data, and the edges of some of its particles.

Everything that must be known before features can be sampled comes from here: ranges of distances and momenta, sizes
of the targets, example environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hamfit.errors import DataError, FitError, GraphError, SpecError, located
from hamfit.features.block import AbstractBlock, Part, targets_of
from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph, CutoffGraph, Edges
from hamfit.options import FitSpec
from hamfit.types import FloatArray, IntArray

#: Particles looked at: enough rows for the choice among candidate features.
SURVEY_CENTRES = 1200


@dataclass(frozen=True, slots=True)
class Survey:
    """A few frames spread over all data."""

    frames: tuple[Frame, ...]
    """The frames, in the species and bond labels of the whole data."""
    places: tuple[tuple[str, str, int], ...]
    """Where each lies: dataset, trajectory, index."""

    def __post_init__(self) -> None:
        if not self.frames:
            raise DataError("the datasets hold no frames: give trajectories with at least one")


@dataclass(frozen=True, slots=True, eq=False)
class SurveySample:
    """Edges of sampled particles of the survey's frames, with their targets, for one family of rows."""

    edges: Edges
    """Edges of all sampled centres."""
    targets: FloatArray
    """Target of every row, (C * d,)."""
    held_out: IntArray
    """Rows of the frames kept apart for judging, ascending."""
    fitted: IntArray
    """All other rows, ascending."""
    dim: int
    """Number of space dimensions d."""

    def extent(self, n_channels: int) -> FloatArray:
        """Shortest and longest length of the edges of every channel, (n_channels, 2); nan for an empty one."""
        out = np.full((n_channels, 2), np.nan)
        for c in range(n_channels):
            lengths = self.edges.distance[self.edges.channel == c]
            if lengths.size:
                out[c] = (lengths.min(), lengths.max())
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Sampling:
    """What a block is sampled from."""

    survey: Survey
    """The first look."""
    part: Part
    """Which rows the block contributes to."""
    labels: tuple[str, ...]
    """Species of all data."""
    graph: AbstractGraph | None
    """Who is joined to whom, for blocks that need a graph."""
    options: FitSpec
    """What the user asked for."""
    beside: tuple[type[AbstractBlock], ...] = ()
    """The families of all blocks of this part."""

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames looked at."""
        return self.survey.frames

    @property
    def known_graph(self) -> AbstractGraph:
        """The graph; SpecError where there is none."""
        if self.graph is None:
            raise SpecError("the blocks asked for need to know which particles are joined: give --cutoff")
        return self.graph

    @property
    def cutoff_graph(self) -> CutoffGraph:
        """The graph, where it is one of cutoffs; SpecError where it is not."""
        if not isinstance(self.graph, CutoffGraph):
            raise SpecError("the blocks asked for need to know how far particles see each other: give --cutoff")
        return self.graph

    def rng(self, stream: int) -> np.random.Generator:
        """A generator of its own for each ``stream``: 3 to 6 are those of hamfit's own blocks."""
        return np.random.default_rng([self.options.seed, stream])

    def within(self, graph: AbstractGraph, **changes: object) -> Sampling:
        """The same, with another graph and other options: for trials."""
        return replace(self, graph=graph, options=self.options.with_changes(**changes))

    def targets(self) -> list[FloatArray]:
        """Targets of every frame, (N, d) each; DataError where a frame lacks them."""
        return [targets_of(frame, self.part) for frame in self.frames]

    def edges(self, graph: AbstractGraph, rng: np.random.Generator) -> SurveySample:
        """Draw particles from every frame and collect their edges.

        Every second frame is held out for judging; with a single frame, every second particle.
        """
        per_frame = max(1, -(-SURVEY_CENTRES // len(self.frames)))
        pieces: list[Edges] = []
        rows: list[FloatArray] = []
        apart: list[bool] = []
        for index, (frame, target) in enumerate(zip(self.frames, self.targets(), strict=True)):
            n = target.shape[0]
            centres = np.sort(rng.permutation(n)[:per_frame]).astype(np.int64)
            with located(*self.survey.places[index]):
                pieces.append(graph.prepare(frame).edges(centres))
            rows.append(target[centres])
            single = len(self.frames) == 1
            apart += [(k % 2 == 1) if single else (index % 2 == 1) for k in range(centres.size)]
        stacked = np.concatenate(rows)
        if not any(piece.distance.size for piece in pieces):
            raise GraphError("no two particles are nearer than the cutoff: give a longer --cutoff")
        mask = np.repeat(np.array(apart), stacked.shape[1])
        if not np.all(np.isfinite(stacked)):
            raise FitError("the targets hold values that are not finite: clean the data before fitting")
        return SurveySample(
            edges=join_edges(pieces),
            targets=np.ascontiguousarray(stacked.reshape(-1)),
            held_out=np.flatnonzero(mask),
            fitted=np.flatnonzero(~mask),
            dim=int(stacked.shape[1]),
        )


def join_edges(pieces: Sequence[Edges]) -> Edges:
    """Edges of several sets of centres as one; neighbour indices keep the numbering of their own frames."""
    counts = np.concatenate([np.diff(piece.offsets) for piece in pieces])
    return Edges(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        neighbour=np.concatenate([piece.neighbour for piece in pieces]),
        vector=np.concatenate([piece.vector for piece in pieces]),
        distance=np.concatenate([piece.distance for piece in pieces]),
        channel=np.concatenate([piece.channel for piece in pieces]),
    )
