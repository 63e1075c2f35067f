"""Engines and features part the same pairs at every boundary: core, cutoff, ends of tables, range of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from boundary_cases import Bounded, boundaries, pair_bounded, placements

from hamfit.data import ingest
from hamfit.devices import AbstractDevice
from hamfit.features.pair import PairBlock
from hamfit.fitting import fit
from hamfit.frames import Frame
from hamfit.inference import CompiledModel
from hamfit.inference.engine import AbstractEngine, Observation
from hamfit.integrators import VERLET
from hamfit.options import FitOptions
from hamfit.types import FloatArray

WORLDS = (
    *(pair_bounded(dim, n) for dim in (1, 2, 3) for n in (1, 2, 3)),
    pair_bounded(3, 2, taper="smooth"),
    pair_bounded(3, 2, skew=0.3),
    pair_bounded(2, 1, periodic=False),
    *(pair_bounded(dim, n, density=True) for dim, n in ((1, 3), (2, 2), (3, 1))),
    pair_bounded(3, 2, density=True, taper="smooth", skew=0.3),
)
LISTED = (
    *(pair_bounded(dim, 2, joins="all-pairs", periodic=False) for dim in (1, 2, 3)),
    *(pair_bounded(dim, 1, joins="bonds") for dim in (1, 2, 3)),
)
LIQUID = Path(__file__).parents[2] / "data" / "lj-500.lammpstrj.gz"
#: Largest difference of forces, energy and virial, over the largest force.
TOLERANCE = 1e-9
#: Cases of each world and place, for the quick look and for the whole: a hundred thousand in all.
FEW, MANY = 30, -(-100_000 // (2 * len(WORLDS) + len(LISTED)))
#: A step that moves nobody: no position is changed by so little, and momenta are those of two forces.
DT = 2.0**-200


@cache
def compiled(world: Bounded) -> CompiledModel:
    return CompiledModel(world.model)


def cases(world: Bounded, count: int, seed: int) -> Iterator[tuple[str, Frame, Iterator[FloatArray]]]:
    """Positions at every boundary of every pair of species, about ``count`` in all."""
    rng = np.random.default_rng(seed)
    found = [(a, b, r) for a, b in world.pairs for r in boundaries(world, compiled(world), a, b)[0].tolist()]
    for a, b, r in found:
        frame, places = placements(world, compiled(world), a, b, r, -(-count // len(found)), rng)
        yield f"{a}-{b} at {r!r}", frame, places


def difference(world: Bounded, frame: Frame, seen: Observation, stepped: FloatArray) -> float:
    """What the engine sees less what the features say, over the largest force; inf where it counts other pairs.

    stepped (N, d): forces of a time step, which has kernels of its own.
    """
    virial = np.zeros((frame.dim, frame.dim))
    energy, forces = float(world.model.constants[frame.species].sum()), np.zeros(frame.q.shape)
    for block, theta in zip(world.model.blocks, world.model.theta, strict=True):
        more, gradient = block.energy_and_gradient(block.prepare(frame), theta, virial)
        energy += more
        forces -= gradient
    outside, pairs = world.model.extrapolated(frame)
    if (2 * seen.outside, 2 * seen.pairs) != (outside, pairs):
        return np.inf
    assert seen.virial is not None
    size = max(float(np.abs(forces).max()), abs(energy))
    parts = seen.forces - forces, stepped - forces, seen.virial - virial, np.array(seen.potential_energy - energy)
    return max(float(np.abs(part).max()) for part in parts) / size


def worst(world: Bounded, device: AbstractDevice | None, count: int, seed: int) -> tuple[float, str, int]:
    """The largest difference, where it is, and the number of cases."""
    found, n = (0.0, ""), 0
    for name, frame, places in cases(world, count, seed):
        engine: AbstractEngine = compiled(world).engine(frame, VERLET, DT, device=device)
        assert ("Device" in type(engine).__name__) == (device is not None)
        assert "Blocks" not in type(engine).__name__
        for q in places:
            seen = engine.begin(q, np.zeros_like(q))
            engine.advance(1)
            # half of the step with the forces of the beginning, half with those of the end
            stepped = 2.0 * engine.state()[1] / DT - seen.forces
            found = max(found, (difference(world, replace(frame, q=q), seen, stepped), f"{name}, q = {q.tolist()}"))
            n += 1
    return *found, n


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_an_engine_parts_pairs_as_the_features_do(place: AbstractDevice | None, world: Bounded) -> None:
    difference, where, _ = worst(world, place, FEW, seed=1)
    assert difference < TOLERANCE, where


@pytest.mark.parametrize("world", LISTED, ids=str)
def test_an_engine_of_a_list_goes_on_smoothly_at_the_ends_of_its_tables(world: Bounded) -> None:
    difference, where, _ = worst(world, None, FEW, seed=1)
    assert difference < TOLERANCE, where


def test_polynomials_in_both_variables_and_pieces_are_among_the_laws() -> None:
    forms = " ".join(law.form for world in WORLDS for law in compiled(world).laws)
    assert "in 1/r^2" in forms
    assert "in r^2" in forms
    assert "pieces of degree 7 in" in forms


@pytest.mark.heavy
@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_of_a_hundred_thousand_cases_none_differs(place: AbstractDevice | None, world: Bounded) -> None:
    difference, where, n = worst(world, place, MANY, seed=2)
    assert n >= MANY
    assert difference < TOLERANCE, where


@pytest.mark.heavy
@pytest.mark.parametrize("world", LISTED, ids=str)
def test_of_a_hundred_thousand_cases_none_of_a_list_differs(world: Bounded) -> None:
    difference, where, n = worst(world, None, MANY, seed=2)
    assert n >= MANY
    assert difference < TOLERANCE, where


def test_the_nearest_pair_of_a_start_is_not_lost_where_none_was_nearer_in_training(tmp_path: Path) -> None:
    dataset = ingest(LIQUID, tmp_path / "liquid.zarr", units="lj")
    model = fit(dataset, options=FitOptions(cutoff=2.5, threads=1, checkpoint=False)).model
    (block,) = (block for block in model.blocks if isinstance(block, PairBlock))
    rng = np.random.default_rng(0)
    for t in range(12):
        frame = model.adapt(dataset.trajectories[0].frame(t))
        assert frame.p is not None
        edges = np.diag(np.asarray(frame.box))
        # two of these starts lost the pair, when its square was formed in two ways
        frame = replace(frame, q=(frame.q + rng.uniform(0.0, 1.0, 3) * edges) % edges)
        nearest = block.prepare(frame).edges(np.arange(frame.n_particles)).distance.min()
        extents = {**model.extents, "pair": np.array([[nearest, model.extents["pair"][0, 1]]])}
        known = replace(model, extents=extents)
        seen = CompiledModel(known).engine(frame, VERLET, 1e-3).begin(frame.q, frame.p)
        expected = model.potential(frame)
        assert seen.potential_energy == pytest.approx(expected.energy, rel=1e-10)
        np.testing.assert_allclose(seen.forces, expected.forces, rtol=0, atol=1e-9 * np.abs(expected.forces).max())
