"""Models of one to three species in one to three dimensions, and particles of which two sit at a boundary of their law.

A boundary is any length at which something that is computed in several places changes: the core of a polynomial, the
cutoff, an end of a table, an end of the range of training. The pair is placed within four units in the last place of
it, and other particles within the core of both ends, so that the slow path of the pair's own centre runs too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.features.radial import InputMap, RadialFeatures, Taper
from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph, AllPairsGraph, BondGraph, CutoffGraph
from hamfit.graphs.lattice import Lattice
from hamfit.inference import CompiledModel
from hamfit.inference.density import CompiledDensity
from hamfit.kernels.wrapping import wrap
from hamfit.model import Model
from hamfit.types import FloatArray

LABELS = ("A", "B", "C")
#: Units in the last place of its distance that a pair may be off the boundary.
ULPS = 4
_CUTOFFS = np.array([[1.9, 1.7, 1.55], [1.7, 1.6, 1.45], [1.55, 1.45, 1.35]])
_BONDS = np.array([[0, 1], [2, 0], [3, 1]])


@dataclass(frozen=True, eq=False)
class Bounded:
    """A model and the box that it is tried in."""

    name: str
    model: Model
    box: FloatArray | None
    joins: str
    """``cutoff``, ``all-pairs`` or ``bonds``."""

    def __str__(self) -> str:
        return self.name

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All pairs of species."""
        return list(combinations_with_replacement(range(len(self.model.labels)), 2))


def _channels(n_species: int) -> list[tuple[int, int]]:
    return list(combinations_with_replacement(range(n_species), 2))


def _radial(cutoffs: FloatArray, taper: Taper, maps: tuple[InputMap, ...], seed: int) -> RadialFeatures:
    """Gentle functions, which single polynomials follow where the cutoff is finite."""
    rng = np.random.default_rng(seed)
    n = cutoffs.size
    chosen = tuple(maps[c % len(maps)] for c in range(n))
    return RadialFeatures(
        input_maps=chosen,
        low=np.full(n, 0.2),
        high=np.full(n, 2.0),
        weights=rng.normal(0.0, 1.0, (n, 3)),
        biases=rng.normal(0.0, 1.0, (n, 3)),
        cutoffs=cutoffs,
        tapers=(taper,) * n,
    )


def _box(dim: int, edge: float, skew: float) -> FloatArray:
    return edge * np.eye(dim) + edge * skew * np.tri(dim, k=-1)


def _frame(dim: int, species: FloatArray, n_species: int, box: FloatArray | None, q: FloatArray, joins: str) -> Frame:
    rng = np.random.default_rng(7)
    bonded = joins == "bonds"
    return Frame(
        q=q,
        species=species.astype(np.int64),
        labels=LABELS[:n_species],
        masses=np.array([1.7, 2.9, 2.3])[species.astype(np.int64)],
        box=box,
        periodic=(box is not None,) * dim,
        p=rng.normal(size=(len(species), dim)),
        bonds=_BONDS if bonded else None,
        bond_types=np.zeros(len(_BONDS), dtype=np.int64) if bonded else None,
        bond_labels=("only",) if bonded else (),
    )


def pair_bounded(
    dim: int,
    n_species: int,
    *,
    taper: Taper = "shift",
    maps: tuple[InputMap, ...] = ("r2", "1/r", "r"),
    periodic: bool = True,
    skew: float = 0.0,
    joins: str = "cutoff",
    density: bool = False,
) -> Bounded:
    """A pair block, with a one-density block beside it where ``density``."""
    rng = np.random.default_rng(10 * dim + n_species)
    labels, channels = LABELS[:n_species], _channels(n_species)
    reach = _CUTOFFS[:n_species, :n_species]
    cutoffs = np.array([reach[a, b] for a, b in channels])
    graph: AbstractGraph = CutoffGraph(labels, reach)
    if joins == "all-pairs":
        graph, cutoffs = AllPairsGraph(labels), np.full(len(channels), np.inf)
    elif joins == "bonds":
        graph, cutoffs = BondGraph(("only",)), np.full(1, np.inf)
    radial = _radial(cutoffs, taper, maps, dim)
    low = rng.uniform(0.75, 0.85, cutoffs.size)
    extents = np.column_stack([low, np.where(np.isfinite(cutoffs), 0.93 * cutoffs, 1.7)])
    blocks, theta = [PairBlock(radial, graph)], [rng.normal(size=radial.n_columns)]
    # bonds go on to twice the longest that was seen, and are the shortest of their images
    box = _box(dim, 7.7 if joins == "bonds" else 3.7, skew) if periodic else None
    if density:
        frames = []
        # from dense to thin, so that no density of the cases is beyond the ends of the embedding functions
        for spacing in (0.55, 0.7, 1.0, 1.3):
            q = spacing * (np.arange(9.0)[:, None] * (1.0, 0.31, 0.17)[:dim] + rng.uniform(-0.1, 0.1, (9, dim)))
            frames.append(_frame(dim, np.arange(9) % n_species, n_species, None, q, joins))
        how = {"n_features": 9, "n_radial": 1, "n_bumps": 6, "l_max": 0, "weight_scale": 0.4}
        blocks.append(ManyBodyBlock.sample(frames, CutoffGraph(labels, reach), rng=rng, **how))
        theta.append(rng.normal(size=blocks[-1].n_columns))
    model = Model(
        blocks=tuple(blocks),
        theta=tuple(theta),
        constants=rng.normal(size=n_species),
        labels=labels,
        bond_labels=("only",) if joins == "bonds" else (),
        dim=dim,
        units={},
        extents={"pair": extents},
    )
    what = "density and pairs" if density else {"cutoff": "pairs"}.get(joins, joins)
    place = "open" if box is None else "skewed" if skew else "periodic"
    return Bounded(f"{what} {dim}d {n_species} species {place} {taper} {'+'.join(maps)}", model, box, joins)


def boundaries(world: Bounded, compiled: CompiledModel, a: int, b: int) -> tuple[FloatArray, float]:
    """Lengths at which something changes for a pair of species, and the core: nearer than it the slow path runs."""
    c = 0 if world.joins == "bonds" else world.pairs.index((a, b))
    low, high = world.model.extents["pair"][c]
    if isinstance(compiled.functions, CompiledDensity):
        kernel = compiled.functions.kernel
        tables, of = kernel.functions, kernel.which[a, b]
        ends = np.concatenate([tables.ends[tables.segments[k] : tables.segments[k + 1]] for k in set(of.tolist())])
        core = float(tables.ends[tables.segments[of[2]]])
        return np.unique([*ends, tables.nearest[of[2]], low, high]), core
    law = compiled.laws[c]
    far = law.cutoff if np.isfinite(law.cutoff) else 2.0 * high
    # without a polynomial all pairs are in tables, which change at the shortest trained distance
    core = law.core if law.row.size else low
    return np.unique([0.5 * low, low, core, high, far]), core


def distances(frame: Frame, q: FloatArray, i: int, j: int, near: FloatArray) -> FloatArray:
    """The distance of i and j in each of q (M, N, d), of the images whose vector is nearest to ``near`` (M, d)."""
    lattice = Lattice.of(frame)
    m, n, d = q.shape
    padded = np.zeros((m * n, 3))
    padded[:, :d] = q.reshape(m * n, d)
    x = wrap(padded, lattice.vectors, lattice.inverse, lattice.periodic)[0].reshape(m, n, 3)
    wanted = np.zeros((m, 3))
    wanted[:, :d] = near
    boxes = np.rint((x[:, i] - x[:, j] - wanted) @ lattice.inverse)[:, :, None] * 1.0
    v = lattice.vectors
    t = boxes[:, 0] * v[0] + boxes[:, 1] * v[1] + boxes[:, 2] * v[2]
    vector = (x[:, i] - x[:, j]) - t
    return np.sqrt(vector[:, 0] * vector[:, 0] + vector[:, 1] * vector[:, 1] + vector[:, 2] * vector[:, 2])


def _directions(rng: np.random.Generator, m: int, dim: int) -> FloatArray:
    u = rng.normal(size=(m, dim))
    return np.asarray(u / np.linalg.norm(u, axis=1)[:, None])


def placements(
    world: Bounded, compiled: CompiledModel, a: int, b: int, length: float, count: int, rng: np.random.Generator
) -> tuple[Frame, Iterator[FloatArray]]:
    """A frame of four particles, and ``count`` arrays of positions (4, d) for it.

    Particles 0 of species a and 1 of species b are ``length`` apart, 2 and 3 within the core of one of them.
    """
    dim, n_species = world.model.dim, len(world.model.labels)
    species, anywhere = np.array([a, b, b, a]), np.arange(4.0)[:, None] * np.ones(dim)
    frame = _frame(dim, species, n_species, world.box, anywhere, world.joins)
    _, core = boundaries(world, compiled, a, b)
    return frame, _placed(world, frame, length, core, count, rng)


def _placed(
    world: Bounded, frame: Frame, length: float, core: float, count: int, rng: np.random.Generator
) -> Iterator[FloatArray]:
    dim = frame.dim
    # tangents begin at half of the shortest distance, where features go on
    nearest = 0.51 * float(world.model.extents["pair"][:, 0].max())
    farthest = np.inf if world.joins == "cutoff" else 1.99 * float(world.model.extents["pair"][:, 1].min())
    left = count
    while left:
        m = 4 * left + 16
        u = _directions(rng, m, dim)
        q = np.empty((m, 4, dim))
        q[:, 0] = rng.uniform(-1.0, 3.0, (m, dim))
        q[:, 1] = q[:, 0] - length * u
        q[:, 1] += rng.integers(-3, 4, (m, dim)) * np.spacing(np.abs(q[:, 1]))
        for k, at in ((2, 0), (3, 1)):
            r = rng.uniform(nearest, 0.99 * core, (m, 1))
            q[:, k] = q[:, at] + r * _directions(rng, m, dim)
        r = distances(frame, q, 0, 1, length * u)
        fits = np.abs(r - length) <= ULPS * np.spacing(length)
        lattice = Lattice.of(frame)
        for i in range(4):
            for j in range(i):
                d = np.zeros((m, 3))
                d[:, :dim] = q[:, i] - q[:, j]
                d -= np.rint(d @ lattice.inverse) * lattice.periodic @ lattice.vectors
                apart = np.linalg.norm(d, axis=1)
                fits &= ((apart > nearest) & (apart < farthest)) | ((i, j) == (1, 0))
        chosen = q[fits][:left]
        left -= len(chosen)
        yield from chosen
