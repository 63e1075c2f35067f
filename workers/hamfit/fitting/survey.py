"""A first look at the data: a few frames that stand for all, and the edges of some of their particles.

Everything that must be known before features can be sampled comes from here: ranges of distances and momenta, sizes
of the targets, example environments. The frames are spread evenly over all trajectories, their number is bounded by
particles, so that a survey takes a second at most whatever the size of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hamfit.data import Dataset
from hamfit.errors import DataError, FitError, GraphError, located
from hamfit.features.pooled import EdgeSource
from hamfit.frames import Frame
from hamfit.graphs import Edges
from hamfit.types import FloatArray, IntArray

#: Particles looked at: enough rows for the choice among candidate features.
SURVEY_CENTRES = 1200
FEWEST_FRAMES, _MOST_FRAMES = 4, 200
#: Particles evaluated for the constant of the energy; beyond, only frames of a new composition.
_ENERGY_PARTICLES = 5000


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

    def few_energy_frames(self) -> tuple[Frame, ...]:
        """Frames of known potential energy, as many as are quickly evaluated, at least one of each composition."""
        out: list[Frame] = []
        compositions: set[bytes] = set()
        particles = 0
        for frame in self.energy_frames():
            composition = np.bincount(frame.species, minlength=len(frame.labels)).tobytes()
            if particles < _ENERGY_PARTICLES or composition not in compositions:
                out.append(frame)
                compositions.add(composition)
                particles += frame.n_particles
        return tuple(out)

    def energy_frames(self) -> tuple[Frame, ...]:
        """The frames whose potential energy is known."""
        return tuple(frame for frame in self.frames if frame.potential_energy is not None)


def survey(datasets: Sequence[Dataset], labels: tuple[str, ...], bond_labels: tuple[str, ...]) -> Survey:
    """Read frames spread evenly over all trajectories of all datasets."""
    places = [
        (dataset, trajectory, index)
        for dataset in datasets
        for trajectory in dataset.trajectories
        for index in range(trajectory.n_frames)
    ]
    mean_particles = max(1, sum(t.n_particles for _, t, _ in places) // max(1, len(places)))
    count = min(len(places), _MOST_FRAMES, max(FEWEST_FRAMES, -(-SURVEY_CENTRES // mean_particles)))
    chosen = np.unique(np.linspace(0, max(len(places) - 1, 0), count).round().astype(np.int64))
    known = [k for k, (_, trajectory, _) in enumerate(places) if trajectory.has_energies]
    if known and not np.isin(chosen, known).any():
        # a single known energy fixes the constant, wherever it is
        chosen = np.sort(np.append(chosen, known[0]))
    looked_at = [places[k] for k in chosen]
    return Survey(
        frames=tuple(t.frame(index).relabel(labels, bond_labels) for _, t, index in looked_at),
        places=tuple((str(dataset.path), t.name, index) for dataset, t, index in looked_at),
    )


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
        """Shortest and longest length of the edges of every channel, (n_channels, 2); FitError for an empty one."""
        out = np.empty((n_channels, 2))
        for c in range(n_channels):
            lengths = self.edges.distance[self.edges.channel == c]
            if lengths.size == 0:
                out[c] = (np.nan, np.nan)
                continue
            out[c] = (lengths.min(), lengths.max())
        return out


def sample_edges(
    found: Survey,
    prepare: Callable[[Frame], EdgeSource],
    targets: Sequence[FloatArray],
    rng: np.random.Generator,
) -> SurveySample:
    """Draw particles from every frame and collect their edges.

    Every second frame is held out for judging; with a single frame, every second particle.
    """
    per_frame = max(1, -(-SURVEY_CENTRES // len(found.frames)))
    pieces: list[Edges] = []
    rows: list[FloatArray] = []
    apart: list[bool] = []
    for index, (frame, target) in enumerate(zip(found.frames, targets, strict=True)):
        n = target.shape[0]
        centres = np.sort(rng.permutation(n)[:per_frame]).astype(np.int64)
        with located(*found.places[index]):
            pieces.append(prepare(frame).edges(centres))
        rows.append(target[centres])
        single = len(found.frames) == 1
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
