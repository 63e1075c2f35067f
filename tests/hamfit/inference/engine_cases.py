"""Models of every kind that the engines run, on small systems, and plain NumPy paths to compare with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hamfit.features.field import FieldBlock
from hamfit.features.kinetic import KineticBlock
from hamfit.features.pair import PairBlock
from hamfit.features.radial import InputMap, RadialFeatures, Taper
from hamfit.frames import Frame
from hamfit.graphs import AbstractGraph, AllPairsGraph, BondGraph, CutoffGraph
from hamfit.integrators import Composition
from hamfit.model import Model
from hamfit.types import FloatArray
from radial_oracle import random_radial
from worlds import CASES, Case, pair_channel, pairs

MAPS: tuple[InputMap, ...] = ("r", "1/r", "r2")


def pair_model(
    frame: Frame, graph: AbstractGraph, radial: RadialFeatures, extents: FloatArray, seed: int = 3
) -> Model:
    """A model of a pair block alone, with any coefficients and known constants."""
    rng = np.random.default_rng(seed)
    return Model(
        blocks=(PairBlock(radial, graph),),
        theta=(rng.normal(size=radial.n_columns),),
        constants=rng.normal(size=len(frame.labels)),
        labels=frame.labels,
        bond_labels=frame.bond_labels,
        dim=frame.dim,
        units={},
        extents={"pair": extents},
    )


@dataclass(frozen=True)
class World:
    """A frame and a model that fits it."""

    name: str
    frame: Frame
    model: Model
    engine: str
    """Name of the class of engine it is to run on."""

    def __str__(self) -> str:
        return self.name


def _channels(n_species: int) -> int:
    return n_species * (n_species + 1) // 2


def seen(frame: Frame, cutoffs: FloatArray, n_species: int, *, share: float) -> FloatArray:
    """A range of distances for every channel that holds a share of the frame's pairs; nan where it has none."""
    extents = np.full((_channels(n_species), 2), np.nan)
    for c in range(len(extents)):
        r = np.sort([distance for *_, channel, _, distance in pairs(frame, cutoffs) if channel == c])
        if r.size > 3 and r[-1] > r[0]:
            cut = int(0.5 * (1.0 - share) * r.size)
            # just beside a distance there is, where rounding does not decide
            # and not so far above the nearest that half of it, where tangents begin, is met
            low = min(r[cut], 1.3 * r[0])
            extents[c] = low * (1.0 - 1e-9), r[r.size - 1 - cut] * (1.0 + 1e-9)
    return extents


def cutoff_world(
    case: Case, *, taper: Taper = "smooth", maps: tuple[InputMap, ...] = MAPS, links: bool = True, share: float = 0.8
) -> World:
    frame = case.frame()
    cutoffs = case.cutoffs
    channel_cutoffs = np.zeros(_channels(case.n_species))
    for a in range(case.n_species):
        for b in range(case.n_species):
            channel_cutoffs[pair_channel(a, b, case.n_species)] = cutoffs[a, b]
    radial = random_radial(channel_cutoffs, taper=taper, maps=maps, links=links)
    model = pair_model(
        frame, CutoffGraph(frame.labels, cutoffs), radial, seen(frame, cutoffs, case.n_species, share=share)
    )
    name = f"{case.name} {taper} {'+'.join(maps)}{'' if links else ' without links'}"
    return World(name, frame, model, "CutoffEngine")


def bond_world(*, dim: int, periodic: bool) -> World:
    n = 8
    rng = np.random.default_rng(dim)
    box = 8.0 * np.eye(dim) - 0.9 * np.tri(dim, k=-1)
    bonds = np.array([[0, 1], [2, 1], [2, 3], [3, 4], [5, 4], [5, 6], [6, 7], [7, 0], [1, 5]])
    # a chain along the diagonal, and in a periodic system through the box into the next; 0-7 and 1-5 are longer
    q = (np.arange(n)[:, None] + rng.uniform(-0.2, 0.2, (n, dim))) / np.sqrt(dim)
    if periodic:
        q += rng.integers(-2, 3, (n, dim)) @ box
    frame = Frame(
        q=q,
        species=np.arange(n, dtype=np.int64) % 2,
        labels=("A", "B"),
        masses=np.array([1.7, 2.9])[np.arange(n) % 2],
        box=box if periodic else None,
        periodic=(periodic,) * dim,
        p=rng.normal(size=(n, dim)),
        bonds=bonds,
        bond_types=np.arange(len(bonds), dtype=np.int64) % 2,
        bond_labels=("soft", "stiff"),
    )
    radial = random_radial(np.full(2, np.inf), maps=("r2", "r"))
    model = pair_model(frame, BondGraph(frame.bond_labels), radial, np.array([[0.9, 3.5], [0.7, 4.5]]))
    return World(f"bonds {dim}d{' periodic' if periodic else ''}", frame, model, "ListedEngine")


def all_pairs_world(case: Case) -> World:
    frame = case.frame()
    n = _channels(case.n_species)
    radial = random_radial(np.full(n, np.inf), maps=("1/r", "r", "r2"))
    extents = np.tile([0.6, 2.5], (n, 1))
    model = pair_model(frame, AllPairsGraph(frame.labels), radial, extents)
    return World(f"all pairs {case.name}", frame, model, "ListedEngine")


WORLDS = (
    *(cutoff_world(case, taper=taper) for case in CASES for taper in ("shift", "smooth")),
    cutoff_world(CASES[5], maps=("1/r",)),
    cutoff_world(CASES[6], maps=("r2",), links=False),
    cutoff_world(Case("needle", 3, 9, n_species=2, periodic=True, skew=-0.45), maps=("r2", "1/r")),
    *(bond_world(dim=dim, periodic=periodic) for dim in (1, 2, 3) for periodic in (False, True)),
    *(all_pairs_world(case) for case in CASES if not case.periodic),
)

def combined() -> World:
    """A pair block and a field block."""
    world = cutoff_world(CASES[2])
    frame, model = world.frame, world.model
    field = FieldBlock.sample([frame], n_features=4, sampler="elm", rng=np.random.default_rng(1))
    theta = (*model.theta, 0.1 * np.ones(field.n_columns))
    return World("pair and field", frame, replace(model, blocks=(*model.blocks, field), theta=theta), "BlocksEngine")


def kinetic(frame: Frame, *, quadratic: bool) -> tuple[KineticBlock, FloatArray, FloatArray]:
    """p^2 / 2m of its own, or with a term beside it."""
    n = len(frame.labels)
    radial = RadialFeatures(
        ("r2",) * n, np.zeros(n), np.full(n, 4.0), np.ones((n, 2)), np.zeros((n, 2)), np.full(n, np.inf), ("shift",) * n
    )
    theta = np.zeros((n, radial.per_channel))
    # x = p^2 / 4
    theta[:, 2] = 2.0 / np.array([1.3, 0.7])[:n]
    if not quadratic:
        theta[:, 0] = 0.05
    return KineticBlock(radial, frame.labels), theta.ravel(), np.tile([0.0, 3.0], (n, 1))


def with_kinetic(world: World, *, quadratic: bool) -> World:
    block, theta, extents = kinetic(world.frame, quadratic=quadratic)
    model = replace(
        world.model,
        blocks=(*world.model.blocks, block),
        theta=(*world.model.theta, theta),
        extents={**world.model.extents, "kinetic": extents},
    )
    return replace(world, model=model, engine=world.engine if quadratic else "BlocksEngine")


Path = tuple[FloatArray, FloatArray]


def plain_path(
    force: Callable[[FloatArray], FloatArray],
    inverse_mass: FloatArray,
    q: FloatArray,
    p: FloatArray,
    method: Composition,
    dt: float,
    steps: int,
) -> Path:
    """Velocity Verlet steps of sizes gamma dt, written out."""
    q, p = q.copy(), p.copy()
    f = force(q)
    for _ in range(steps):
        for gamma in method.fractions:
            p += 0.5 * gamma * dt * f
            q += gamma * dt * inverse_mass[:, None] * p
            f = force(q)
            p += 0.5 * gamma * dt * f
    return q, p


def model_force(world: World) -> Callable[[FloatArray], FloatArray]:
    """Forces of the model itself, from its features."""
    return lambda q: world.model.forces(replace(world.frame, q=q))


def state_of(frame: Frame) -> Path:
    assert frame.p is not None
    return frame.q, frame.p
