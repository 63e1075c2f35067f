"""One-density models with and without pair functions, and what they mean, written out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.features.radial import Taper
from hamfit.frames import Frame
from hamfit.graphs import CutoffGraph
from hamfit.inference import CompiledModel
from hamfit.model import Model, Potential
from hamfit.types import FloatArray
from radial_oracle import random_radial, value
from worlds import CASES, Case, pair_channel, pairs


@dataclass(frozen=True, eq=False)
class DensityWorld:
    """A frame, a one-density model that fits it, and the features of its pair block, if any."""

    name: str
    frame: Frame
    model: Model

    def __str__(self) -> str:
        return self.name


def density_world(
    case: Case,
    *,
    taper: Taper | None = None,
    pair_share: float = 1.0,
    absent: tuple[int, int] | None = None,
    size: float = 1.0,
    seed: int = 4,
) -> DensityWorld:
    """A model sampled on the case's own frame, with any coefficients.

    taper: of the pair block beside the density; none without. pair_share: its cutoffs over those of the density.
    absent: a pair of species without density. size: of the coefficients of the density.
    """
    rng = np.random.default_rng(seed)
    frame = case.frame()
    n = len(frame.labels)
    reach = case.cutoffs
    if absent is not None:
        reach[absent] = reach[absent[::-1]] = 0.0
    block = ManyBodyBlock.sample(
        [frame],
        CutoffGraph(frame.labels, reach),
        n_features=9,
        n_radial=1,
        n_bumps=6,
        l_max=0,
        rng=rng,
        weight_scale=0.4,
    )
    blocks: list[Any] = [block]
    theta = [size * rng.normal(size=block.n_columns)]
    extents: dict[str, FloatArray] = {}
    if taper is not None:
        cutoffs = pair_share * case.cutoffs
        graph = CutoffGraph(frame.labels, cutoffs)
        channels = np.zeros(graph.n_channels)
        seen = np.full((graph.n_channels, 2), np.nan)
        for a in range(n):
            for b in range(a, n):
                c = pair_channel(a, b, n)
                channels[c] = cutoffs[a, b]
                seen[c] = 0.5 * cutoffs[a, b], cutoffs[a, b]
        for *_, c, _, r in pairs(frame, cutoffs):
            seen[c, 0] = min(seen[c, 0], r)
        blocks.insert(0, PairBlock(random_radial(channels, taper=taper), graph))
        theta.insert(0, rng.normal(size=blocks[0].n_columns))
        extents["pair"] = seen
    model = Model(
        blocks=tuple(blocks),
        theta=tuple(theta),
        constants=rng.normal(size=n),
        labels=frame.labels,
        bond_labels=(),
        dim=frame.dim,
        units={},
        extents=extents,
    )
    beside = "" if taper is None else f" and {taper} pairs to {pair_share:g}"
    parts = (
        case.name,
        beside,
        "" if absent is None else f" without {absent}",
        "" if size == 1.0 else f" times {size:g}",
    )
    return DensityWorld("".join(parts), frame, model)


NEEDLE = Case("needle", 3, 9, n_species=2, periodic=True, skew=-0.45)
WORLDS = (
    *(density_world(case) for case in CASES),
    *(density_world(case, taper="smooth") for case in CASES),
    density_world(CASES[5], taper="shift"),
    density_world(CASES[6], taper="shift", pair_share=0.8),
    density_world(CASES[2], taper="smooth", pair_share=1.2),
    density_world(CASES[5], taper="smooth", absent=(0, 1)),
    density_world(CASES[6], absent=(1, 1)),
    density_world(NEEDLE, taper="smooth"),
)


@cache
def compiled(world: DensityWorld) -> CompiledModel:
    return CompiledModel(world.model)


def plain_potential(world: DensityWorld, frame: Frame) -> Potential:
    """Energy by the definition and forces by its chain rule, one pair at a time.

    Bumps, mixtures and tanh are written out; slopes are five-point differences of them.
    """
    model = world.model
    layer = model.blocks[-1].layer
    theta = model.theta[-1]
    n, h = layer.radial.n_bumps, 1e-4

    def density(r: float, a: int, b: int) -> float:
        cutoff, low = layer.radial.cutoff[a, b], layer.radial.lower[a, b]
        if r >= cutoff:
            return 0.0
        centres = np.linspace(np.log(low), np.log(cutoff), n)
        width = layer.radial.width * (centres[1] - centres[0])
        bumps = np.exp(-0.5 * ((np.log(r) - centres) / width) ** 2) * (1.0 - (r / cutoff) ** 2) ** 2
        return float(bumps @ layer.mixing[a, b * n : (b + 1) * n, 0])

    def embedding(rho: float, a: int) -> float:
        s = (rho - layer.mean[a, 0]) / layer.deviation[a, 0]
        own = slice(layer.first[a], layer.first[a + 1])
        tanh = np.tanh(s * layer.weights[0, own] + layer.bias[own])
        return float(tanh @ theta[own] + s * theta[layer.n_features + a])

    def pair(r: float, c: int) -> float:
        if len(model.blocks) == 1:
            return 0.0
        radial = model.blocks[0].radial
        if r >= radial.cutoffs[c]:
            return 0.0
        part = model.theta[0][radial.columns(c)]
        return sum(value(radial, c, k, r) * part[k] for k in range(radial.per_channel))

    def slope(f: Any, x: float, step: float, *rest: int) -> float:
        return (f(x - 2 * step, *rest) - 8 * f(x - step, *rest) + 8 * f(x + step, *rest) - f(x + 2 * step, *rest)) / (
            12 * step
        )

    longest = np.maximum.reduce([block.graph.cutoffs for block in model.blocks])
    found = list(pairs(frame, longest))
    rho = np.zeros(frame.n_particles)
    for i, j, _, _, r in found:
        rho[i] += density(r, int(frame.species[i]), int(frame.species[j]))
    energy = float(model.constants[frame.species].sum())
    energy += sum(embedding(rho[i], int(frame.species[i])) for i in range(frame.n_particles))
    steep = [
        slope(embedding, rho[i], 1e-3 * layer.deviation[s, 0], int(s)) for i, s in enumerate(frame.species.tolist())
    ]
    forces, virial = np.zeros(frame.q.shape), np.zeros((frame.dim, frame.dim))
    for i, j, c, v, r in found:
        energy += 0.5 * pair(r, c)
        a, b = int(frame.species[i]), int(frame.species[j])
        total = steep[i] * slope(density, r, h, a, b) + steep[j] * slope(density, r, h, b, a) + slope(pair, r, h, c)
        push = -total * v / r
        forces[i] += push
        virial += 0.5 * np.outer(v, push)
    return Potential(energy, forces, virial, 0, 0)


def of_features(world: DensityWorld, frame: Frame) -> Potential:
    """Sums of the features themselves, without any table."""
    virial = np.zeros((frame.dim, frame.dim))
    energy, forces = float(np.nan_to_num(world.model.constants)[frame.species].sum()), np.zeros(frame.q.shape)
    for block, theta in zip(world.model.blocks, world.model.theta, strict=True):
        more, gradient = block.energy_and_gradient(block.prepare(frame), theta, virial)
        energy += more
        forces -= gradient
    return Potential(energy, forces, virial, 0, 0)


def moved_to(frame: Frame, q: FloatArray) -> Frame:
    return replace(frame, q=q)
