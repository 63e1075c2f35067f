"""The virial of every block against the energy of the strained system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

import radial_oracle as oracle
from asking import features_of
from hamfit.errors import ModelError
from hamfit.features.block import AbstractBlock
from hamfit.features.field import FieldBlock
from hamfit.features.kinetic import KineticBlock
from hamfit.features.manybody import ManyBodyBlock
from hamfit.features.pair import PairBlock
from hamfit.fitting import FitResult
from hamfit.frames import Frame
from hamfit.graphs import AllPairsGraph, BondGraph, CutoffGraph
from hamfit.model import Model
from hamfit.types import FloatArray
from worlds import CASES, LABELS, Case, liquids, pairs

STEP = 1e-4
TAPERS = ("shift", "smooth")


def strained(frame: Frame, a: int, b: int, size: float) -> Frame:
    """q_b -> q_b + size q_a for positions and lattice vectors."""
    deform = np.eye(frame.dim)
    deform[a, b] += size
    return replace(frame, q=frame.q @ deform, box=None if frame.box is None else frame.box @ deform)


def virial_by_differences(energy: Callable[[Frame], float], frame: Frame) -> FloatArray:
    """-dE/d(strain) to fourth order in the step."""
    out = np.empty((frame.dim, frame.dim))
    for a in range(frame.dim):
        for b in range(frame.dim):
            e = {k: energy(strained(frame, a, b, k * STEP)) for k in (-2, -1, 1, 2)}
            out[a, b] = -(e[-2] - 8.0 * e[-1] + 8.0 * e[1] - e[2]) / (12.0 * STEP)
    return out


def clear_of_cutoffs(cutoffs: FloatArray, draw: Callable[[int], Frame]) -> Frame:
    """A frame in which no strain used here carries a pair across a cutoff, where a shifted law has a kink."""
    for seed in range(100):
        frame = draw(seed)
        species, reach = frame.species, 1.1 * cutoffs
        if all(abs(r - cutoffs[species[i], species[j]]) > 3.0 * STEP * r for i, j, *_, r in pairs(frame, reach)):
            return frame
    raise AssertionError("every seed has a pair at the cutoff")


@dataclass(frozen=True)
class Row:
    name: str
    frame: Frame
    block: AbstractBlock


def pair_block(case: Case, taper: str) -> PairBlock:
    cutoffs = case.cutoffs[np.triu_indices(case.n_species)]
    return PairBlock(oracle.random_radial(cutoffs, taper=taper), CutoffGraph(LABELS[: case.n_species], case.cutoffs))


def manybody_block(case: Case, frame: Frame, l_max: int) -> ManyBodyBlock:
    graph = CutoffGraph(LABELS[: case.n_species], case.cutoffs)
    rng = np.random.default_rng(3)
    return ManyBodyBlock.sample([frame], graph, n_features=11, n_radial=5, n_bumps=4, l_max=l_max, rng=rng)


def rows() -> list[Row]:
    found = []
    for case in CASES:
        frame = clear_of_cutoffs(case.cutoffs, case.frame)
        found += [Row(f"pair-{case.name}-{taper}", frame, pair_block(case, taper)) for taper in TAPERS]
        found.append(Row(f"manybody-{case.name}", frame, manybody_block(case, frame, 3 if case.dim == 3 else 1)))
    slab = Case("slab", 3, 11, n_species=2, periodic=True, skew=0.2)
    frame = clear_of_cutoffs(slab.cutoffs, lambda seed: replace(slab.frame(seed), periodic=(True, False, True)))
    found += [Row(f"pair-slab-{taper}", frame, pair_block(slab, taper)) for taper in TAPERS]
    found.append(Row("manybody-slab-density", frame, manybody_block(slab, frame, 0)))
    bonds = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [4, 9]])
    ring = replace(
        Case("bonds", 3, 11, periodic=True, skew=0.3).frame(),
        bonds=bonds,
        bond_types=np.array([0, 1, 0, 1, 1]),
        bond_labels=("soft", "stiff"),
    )
    free = oracle.random_radial(np.array([np.inf, np.inf]))
    found.append(Row("bonds-triclinic", ring, PairBlock(free, BondGraph(("soft", "stiff")))))
    cluster = CASES[2].frame()
    found.append(Row("all-pairs", cluster, PairBlock(oracle.random_radial(np.full(3, np.inf)), AllPairsGraph(LABELS))))
    return found


ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_virial_is_minus_the_derivative_of_the_energy_by_strain(row: Row) -> None:
    theta = np.random.default_rng(7).normal(size=row.block.n_columns)
    virial = np.zeros((row.frame.dim, row.frame.dim))
    energy, gradient = row.block.energy_and_gradient(row.block.prepare(row.frame), theta, virial)
    expected = virial_by_differences(lambda frame: float(features_of(row.block, frame) @ theta), row.frame)
    scale = np.abs(expected).max()
    assert scale > 1e-3
    np.testing.assert_allclose(virial, expected, rtol=0.0, atol=1e-7 * scale)
    np.testing.assert_allclose(virial, virial.T, rtol=0.0, atol=1e-12 * scale)
    plain_energy, plain_gradient = row.block.energy_and_gradient(row.block.prepare(row.frame), theta)
    assert plain_energy == energy
    assert plain_gradient.tobytes() == gradient.tobytes()


@pytest.mark.parametrize("row", [row for row in ROWS if not any(row.frame.periodic)], ids=lambda row: row.name)
def test_without_a_box_the_virial_is_the_sum_of_position_times_force(row: Row) -> None:
    theta = np.random.default_rng(5).normal(size=row.block.n_columns)
    virial = np.zeros((row.frame.dim, row.frame.dim))
    _, gradient = row.block.energy_and_gradient(row.block.prepare(row.frame), theta, virial)
    expected = -row.frame.q.T @ gradient
    np.testing.assert_allclose(virial, expected, atol=1e-12 * np.abs(row.frame.q).max() * np.abs(gradient).sum())


def test_virials_of_several_blocks_add_up() -> None:
    row = ROWS[0]
    theta = np.random.default_rng(7).normal(size=row.block.n_columns)
    once, twice = np.zeros((row.frame.dim,) * 2), np.zeros((row.frame.dim,) * 2)
    row.block.energy_and_gradient(row.block.prepare(row.frame), theta, once)
    for _ in range(2):
        row.block.energy_and_gradient(row.block.prepare(row.frame), theta, twice)
    np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-14)


def test_a_model_gives_energy_forces_and_virial_together(binary_fit: FitResult) -> None:
    model = binary_fit.model
    model = replace(model, constants=np.array([0.25, -1.5]))
    frame = clear_of_cutoffs(np.full((2, 2), 1.75), lambda seed: liquids(seed, 1, n_species=2, jitter=0.09)[0])
    together = model.potential(frame)
    assert together.energy == model.potential_energy(frame)
    assert together.forces.tobytes() == model.forces(frame).tobytes()
    assert together.virial is not None
    expected = virial_by_differences(model.potential_energy, frame)
    np.testing.assert_allclose(together.virial, expected, atol=1e-6 * np.abs(expected).max())
    assert together.virial.tobytes() == together.virial.T.tobytes()
    assert model.potential(frame, virial=False).virial is None


def test_the_virial_does_not_depend_on_the_names_of_species(binary_fit: FitResult) -> None:
    frame = liquids(5, 1, n_species=2)[0]
    swapped = replace(frame, labels=("B", "A"), species=1 - frame.species)
    first, second = binary_fit.model.potential(frame), binary_fit.model.potential(swapped)
    assert first.virial is not None
    assert second.virial is not None
    assert first.virial.tobytes() == second.virial.tobytes()


def test_a_field_has_no_virial_and_says_why() -> None:
    frame = CASES[2].frame()
    block = FieldBlock.sample([frame], n_features=3, sampler="elm", rng=np.random.default_rng(0))
    theta = np.ones(block.n_columns)
    with pytest.raises(ModelError, match=r"absolute positions, .* where the origin is and it has no virial: ask for"):
        block.energy_and_gradient(block.prepare(frame), theta, np.zeros((3, 3)))
    model = Model((block,), (theta,), np.zeros(2), LABELS, (), 3, {})
    with pytest.raises(ModelError, match="no virial"):
        model.potential(frame)
    assert model.potential(frame, virial=False).forces.tobytes() == model.forces(frame).tobytes()


def test_momenta_have_no_virial() -> None:
    frame = CASES[2].frame()
    block = KineticBlock(oracle.random_radial(np.full(2, np.inf)), LABELS)
    with pytest.raises(ModelError, match="momenta, not on positions"):
        block.energy_and_gradient(block.prepare(frame), np.ones(block.n_columns), np.zeros((3, 3)))
