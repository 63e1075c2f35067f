"""Slow, obviously right graphs, and the frames on which they are compared with the fast ones."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from hamfit.frames import Frame
from hamfit.graphs import Edges
from hamfit.types import FloatArray, IntArray

LABELS = ("A", "B", "C")


@dataclass(frozen=True, slots=True)
class Case:
    """A random frame: how many particles, in what box."""

    name: str
    n: int
    dim: int
    periodic: tuple[bool, ...]
    skew: float
    n_species: int
    edge: float
    """Typical edge of the box, in units of the greatest cutoff."""
    windows: float = 0.0
    """How many boxes away from the origin unwrapped positions may lie."""
    seed: int = field(default=7)

    def frame(self) -> Frame:
        rng = np.random.default_rng(self.seed)
        box = np.diag(self.edge * rng.uniform(0.8, 1.2, self.dim))
        box += self.skew * self.edge * rng.uniform(-1, 1, box.shape) * (1 - np.eye(self.dim))
        fractions = rng.uniform(0, 1, (self.n, self.dim))
        boxes = np.round(rng.uniform(-self.windows, self.windows, fractions.shape)) * np.array(self.periodic)
        labels = LABELS[: self.n_species]
        species = rng.integers(0, self.n_species, self.n)
        return Frame((fractions + boxes) @ box, species, labels, np.ones(self.n), box, self.periodic)

    def cutoffs(self) -> FloatArray:
        """The greatest is 1; with three species one pair does not interact."""
        table = np.array([[1.0, 0.7, 0.45], [0.7, 0.83, 0.0], [0.45, 0.0, 0.91]])
        return table[: self.n_species, : self.n_species].copy()


CASES = [
    Case("liquid", 200, 3, (True,) * 3, 0.0, 1, 4.3),
    Case("binary liquid, unwrapped", 120, 3, (True,) * 3, 0.0, 2, 3.3, windows=2),
    Case("triclinic", 120, 3, (True,) * 3, 0.3, 3, 3.3, windows=1),
    Case("strongly skewed", 60, 3, (True,) * 3, 0.85, 1, 2.2),
    Case("cutoff beyond half the box", 30, 3, (True,) * 3, 0.1, 2, 1.3),
    Case("cutoff beyond the box", 9, 3, (True,) * 3, 0.2, 3, 0.6, windows=1),
    Case("one particle and its images", 1, 3, (True,) * 3, 0.25, 1, 0.55),
    Case("open", 200, 3, (False,) * 3, 0.0, 2, 3.0),
    Case("slab", 150, 3, (True, True, False), 0.3, 2, 2.4),
    Case("slab open along the first axis", 150, 3, (False, True, True), 0.3, 1, 2.4),
    Case("wire", 100, 3, (False, True, False), 0.4, 1, 1.1),
    Case("plane", 200, 2, (True, True), 0.3, 2, 5.0, windows=2),
    Case("open plane", 100, 2, (False, False), 0.0, 1, 4.0),
    Case("strip", 60, 2, (False, True), 0.2, 1, 0.7),
    Case("ring", 40, 1, (True,), 0.0, 2, 9.0),
    Case("small ring", 5, 1, (True,), 0.0, 1, 0.4),
    Case("line", 40, 1, (False,), 0.0, 1, 9.0),
    Case("pair in an open box", 2, 3, (False,) * 3, 0.0, 1, 0.3),
]


@st.composite
def random_cases(draw: st.DrawFn) -> Case:
    dim = draw(st.integers(1, 3))
    return Case(
        "drawn",
        n=draw(st.integers(1, 24)),
        dim=dim,
        periodic=tuple(draw(st.lists(st.booleans(), min_size=dim, max_size=dim))),
        skew=draw(st.sampled_from([0.0, 0.2, 0.6])),
        n_species=draw(st.integers(1, 3)),
        edge=draw(st.sampled_from([0.45, 0.9, 1.9, 3.1])),
        windows=draw(st.sampled_from([0.0, 2.0])),
        seed=draw(st.integers(0, 10**6)),
    )


def translations(frame: Frame, reach: float, spread: FloatArray) -> FloatArray:
    """Every lattice translation that can bring two particles within ``reach``, (M, d), zero first.

    spread: greatest difference of fractional coordinates along each direction.
    """
    zero = np.zeros((1, frame.dim))
    if frame.box is None or not any(frame.periodic):
        return zero
    which = [k for k in range(frame.dim) if frame.periodic[k]]
    vectors = frame.box[which]
    heights = 1 / np.linalg.norm(np.linalg.pinv(vectors), axis=0)
    most = [int(np.ceil(reach / h + s)) for h, s in zip(heights, spread[which], strict=True)]
    counts = [c for c in itertools.product(*(range(-m, m + 1) for m in most)) if any(c)]
    return np.vstack([zero, np.array(counts, dtype=float).reshape(-1, len(which)) @ vectors])


def spread_of(frame: Frame) -> FloatArray:
    """Greatest difference of fractional coordinates along each periodic direction (0 along others), (d,)."""
    spread = np.zeros(frame.dim)
    which = [k for k in range(frame.dim) if frame.periodic[k]]
    if frame.box is not None and which:
        spread[which] = np.ptp(frame.q @ np.linalg.pinv(frame.box[which]), axis=0)
    return spread


def brute_force(frame: Frame, cutoffs: FloatArray, centres: IntArray) -> Edges:
    """All edges of ``centres`` by looking at every particle and every image."""
    shifts = translations(frame, float(cutoffs.max()), spread_of(frame))
    n_species = len(frame.labels)
    channel_of = np.zeros((n_species, n_species), dtype=np.int64)
    for channel, (a, b) in enumerate(itertools.combinations_with_replacement(range(n_species), 2)):
        channel_of[a, b] = channel_of[b, a] = channel
    offsets, neighbour, vector = [0], [], []
    for i in centres:
        for j in range(frame.n_particles):
            v = frame.q[i] - frame.q[j] - shifts
            near = np.linalg.norm(v, axis=1) < cutoffs[frame.species[i], frame.species[j]]
            if i == j:
                near[0] = False
            neighbour += [j] * int(near.sum())
            vector.append(v[near])
        offsets.append(len(neighbour))
    flat = np.zeros((len(neighbour), 3))
    if vector:
        flat[:, : frame.dim] = np.vstack(vector)
    js = np.array(neighbour, dtype=np.int64)
    owners = np.repeat(np.asarray(centres), np.diff(offsets))
    channels = channel_of[frame.species[owners], frame.species[js]]
    return Edges(np.array(offsets), js, flat, np.linalg.norm(flat, axis=1), channels)


def assert_same_edges(found: Edges, expected: Edges, tolerance: float = 1e-9) -> None:
    """Both hold the same edges for each centre, in whatever order."""
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_allclose(found.distance, np.linalg.norm(found.vector, axis=1), rtol=1e-14)
    for begin, end in itertools.pairwise(found.offsets):
        part = slice(begin, end)
        if begin == end:
            continue
        gap = np.abs(found.vector[part, None] - expected.vector[None, part]).max(axis=-1)
        gap[found.neighbour[part, None] != expected.neighbour[None, part]] = np.inf
        partner = gap.argmin(axis=1)
        assert gap.min(axis=1).max() < tolerance
        assert len(set(partner.tolist())) == end - begin
        np.testing.assert_array_equal(found.channel[part], expected.channel[part][partner])


def rows(edges: Edges, centres: IntArray, backwards: bool = False) -> list[tuple[float, ...]]:
    """Edges as sorted (from, to, vector, channel), or seen from the other end: compared to the last bit."""
    owner = np.repeat(centres, np.diff(edges.offsets))
    ends = (edges.neighbour, owner) if backwards else (owner, edges.neighbour)
    vector = (-edges.vector if backwards else edges.vector) + 0.0  # no negative zeros
    return sorted(zip(*(a.tolist() for a in ends), *vector.T.tolist(), edges.channel.tolist(), strict=True))
