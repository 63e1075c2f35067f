from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hamfit.errors import SpecError
from hamfit.systems.geometries import fcc, ring_bonds
from hamfit.systems.gravity import gravity_potential
from hamfit.systems.lennard_jones import LennardJones, PairTable
from hamfit.systems.liquids import KobAndersenSpec, LennardJonesSpec
from hamfit.systems.networks import AnharmonicSpec, MorseSpec, NetworkSpec, SpringSpec, network_potential
from hamfit.systems.pair_laws import QUARTIC_SPRING, spring
from hamfit.systems.potentials import AbstractPotential, PairSum, all_pairs
from hamfit.types import FloatArray

# One table of potentials and states that every test below runs over.


@dataclass(frozen=True)
class Case:
    name: str
    potential: AbstractPotential
    q: FloatArray


_SHAPES = [
    ("chain", (7,), 1, False, False),
    ("chain", (7,), 2, False, False),
    ("chain", (5,), 3, True, False),
    ("ring", (5,), 2, False, False),
    ("ring", (5,), 3, False, False),
    ("square", (3, 2), 2, False, False),
    ("square", (3, 5), 2, True, True),
    ("square", (3, 2), 3, False, True),
    ("cubic", (2, 3, 2), 3, False, False),
    ("cubic", (3, 3, 5), 3, True, True),
]


def network_cases() -> list[Case]:
    cases = []
    for spec_class in (SpringSpec, AnharmonicSpec, MorseSpec):
        for geometry, shape, dim, periodic, diagonals in _SHAPES:
            spec: NetworkSpec = spec_class(
                geometry=geometry, shape=shape, dim=dim, periodic=periodic, diagonals=diagonals, spacing=1.3
            )
            sites = spec.lattice().sites
            q = sites + np.random.default_rng(11).uniform(-0.2, 0.2, sites.shape)
            kind = f"{spec_class.__name__}-{geometry}-{dim}d" + "-periodic" * periodic + "-diagonals" * diagonals
            cases.append(Case(kind, network_potential(spec), q))
    return cases


def other_cases() -> list[Case]:
    rng = np.random.default_rng(13)
    cases = [
        Case("nspring", PairSum(QUARTIC_SPRING, ring_bonds(5), 5), rng.uniform(0.0, 2.0, (5, 2))),
        Case("gravity", gravity_potential(rng.uniform(0.5, 2.0, 5), 0.7), rng.uniform(0.0, 5.0, (5, 3))),
    ]
    table = LennardJonesSpec().table
    # 2 cells an edge make a box shorter than twice the cutoff: particles meet several images of each other.
    for name, cells, density in (
        ("lj-tiny-box", (2, 2, 2), 0.8442),
        ("lj-plane", (5, 3), 0.8),
        ("lj", (3, 4, 3), 0.8),
    ):
        sites, edges = fcc(cells, density)
        q = sites + rng.uniform(-0.08, 0.08, sites.shape)
        cases.append(Case(name, LennardJones(table, np.zeros(len(q), dtype=np.int64), edges), q))
    sites, edges = fcc((3, 3, 3), 1.2)
    species = (rng.random(len(sites)) < 0.3).astype(np.int64)
    q = sites + rng.uniform(-0.08, 0.08, sites.shape)
    cases.append(Case("kob-andersen", LennardJones(KobAndersenSpec().table, species, edges), q))
    return cases


CASES = [*network_cases(), *other_cases()]

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def difference_quotient(case: Case, direction: FloatArray, step: float = 1e-4) -> float:
    """-dV along a direction, central difference of order 4."""
    energies = [float(case.potential.energy(case.q + k * step * direction)) for k in (-2, -1, 1, 2)]
    return -(energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * step)


@every_case
def test_forces_are_minus_the_gradient_of_the_energy(case: Case) -> None:
    rng = np.random.default_rng(5)
    forces = case.potential.forces(case.q)
    for _ in range(4):
        direction = rng.standard_normal(case.q.shape)
        if case.name.startswith(("lj", "kob")):
            # A pair that crosses the cutoff within the stencil would put a jump into it.
            direction *= 0.01
        expected = difference_quotient(case, direction)
        assert np.isclose((forces * direction).sum(), expected, rtol=2e-7, atol=1e-8 * np.abs(forces).max())


@every_case
def test_forces_sum_to_zero(case: Case) -> None:
    forces = case.potential.forces(case.q)
    assert np.abs(forces.sum(axis=0)).max() < 1e-12 * np.abs(forces).sum()


@every_case
def test_a_translation_changes_neither_energy_nor_forces(case: Case) -> None:
    moved = case.q + np.array([0.7, -1.3, 2.9])[: case.q.shape[1]]
    scale = np.abs(case.potential.forces(case.q)).max()
    assert np.isclose(case.potential.energy(moved), case.potential.energy(case.q), rtol=1e-11)
    assert np.allclose(case.potential.forces(moved), case.potential.forces(case.q), rtol=0, atol=1e-11 * scale)


@pytest.mark.parametrize("case", network_cases(), ids=lambda case: case.name)
def test_copies_side_by_side_get_the_forces_of_each_alone(case: Case) -> None:
    rng = np.random.default_rng(3)
    states = [case.q + rng.uniform(-0.05, 0.05, case.q.shape) for _ in range(3)]
    together = np.stack(states, axis=1)
    for k, q in enumerate(states):
        assert np.array_equal(case.potential.forces(together)[:, k], case.potential.forces(q))
        assert np.isclose(case.potential.energy(together)[k], case.potential.energy(q), rtol=1e-14)


def test_a_spring_pulls_with_stiffness_times_stretch() -> None:
    potential = PairSum(spring(3.0, 2.0), all_pairs(2), 2)
    q = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert potential.energy(q) == pytest.approx(0.5 * 3.0 * 9.0)
    assert np.allclose(potential.forces(q), [[5.4, 7.2], [-5.4, -7.2]])


def test_the_benchmark_ring_of_a_hand_computed_configuration() -> None:
    case = next(case for case in CASES if case.name == "nspring")
    # A pentagon drawn on integer points; squared sides 1, 4, 5, 5, 1.
    q = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0], [0.0, 4.0], [-1.0, 2.0]])
    sides = np.array([1.0, 4.0, 5.0, 5.0, 5.0])
    assert case.potential.energy(q) == pytest.approx(((sides - 1.0) ** 2).sum())
    # Particle 1 feels no force along its unit side and 4 (4 - 1) * 2 = 24 upwards from particle 2.
    assert np.allclose(case.potential.forces(q)[1], [0.0, 24.0])


def brute_force_lennard_jones(
    q: FloatArray, edges: FloatArray, species: np.ndarray, table: PairTable
) -> tuple[float, FloatArray]:
    """Every particle against every image of every other, straight from the formula."""
    q = q - edges * np.floor(q / edges)
    reach = [int(np.ceil(table.cutoff.max() / edge)) + 1 for edge in edges]
    energy, forces = 0.0, np.zeros_like(q)
    for image in product(*(range(-m, m + 1) for m in reach)):
        vectors = q[:, None, :] - q[None, :, :] - np.array(image) * edges
        r = np.sqrt((vectors**2).sum(axis=-1))
        sigma = table.sigma[species][:, species]
        epsilon = table.epsilon[species][:, species]
        cutoff = table.cutoff[species][:, species]
        near = (r > 0) & (r < cutoff)
        ratio = np.where(near, sigma / np.where(near, r, 1.0), 0.0)
        edge = sigma / cutoff
        pair = 4 * epsilon * (ratio**12 - ratio**6) - 4 * epsilon * (edge**12 - edge**6)
        energy += 0.5 * pair[near].sum()
        slope = 4 * epsilon * (-12 * ratio**12 + 6 * ratio**6) / np.where(near, r, 1.0)
        forces -= ((slope / np.where(near, r, 1.0))[..., None] * vectors).sum(axis=1)
    return energy, forces


@pytest.mark.parametrize(
    ("cells", "density", "mixture"),
    [((2, 2, 2), 0.8442, False), ((1, 2, 1), 0.8442, False), ((3, 3, 3), 1.2, True), ((3, 2), 0.8, False)],
    ids=["short-box", "box-below-cutoff", "kob-andersen", "plane"],
)
def test_lennard_jones_agrees_with_brute_force_over_images(
    cells: tuple[int, ...], density: float, mixture: bool
) -> None:
    rng = np.random.default_rng(17)
    sites, edges = fcc(cells, density)
    # Unwrapped positions: some particles are whole boxes away from home.
    q = sites + rng.uniform(-0.1, 0.1, sites.shape) + rng.integers(-3, 4, sites.shape) * edges
    species = rng.integers(0, 2, len(q)) if mixture else np.zeros(len(q), dtype=np.int64)
    table = KobAndersenSpec().table if mixture else LennardJonesSpec().table
    potential = LennardJones(table, species, edges)
    energy, forces = brute_force_lennard_jones(q, edges, species, table)
    assert float(potential.energy(q)) == pytest.approx(energy, rel=1e-12)
    assert np.allclose(potential.forces(q), forces, rtol=0, atol=1e-11 * np.abs(forces).max())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.floats(0.0, 1.0))
def test_a_kept_pair_list_gives_the_forces_of_a_new_one(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    sites, edges = fcc((3, 3, 3), 0.6)
    species = np.zeros(len(sites), dtype=np.int64)
    table = LennardJonesSpec().table
    kept = LennardJones(table, species, edges)
    q = sites + rng.uniform(-0.1, 0.1, sites.shape)
    kept.forces(q)
    # From far inside the skin to far outside it.
    moved = q + size * rng.uniform(-0.2, 0.2, sites.shape)
    fresh = LennardJones(table, species, edges).forces(moved)
    assert np.allclose(kept.forces(moved), fresh, rtol=0, atol=1e-11 * np.abs(fresh).max())


def test_lennard_jones_energy_is_zero_at_the_cutoff_and_the_force_is_not() -> None:
    potential = LennardJones(LennardJonesSpec().table, np.zeros(2, dtype=np.int64), np.full(3, 20.0))
    inside = np.array([[1.0, 1.0, 1.0], [3.5 - 1e-9, 1.0, 1.0]])
    outside = np.array([[1.0, 1.0, 1.0], [3.5 + 1e-9, 1.0, 1.0]])
    assert abs(float(potential.energy(inside))) < 1e-9
    assert potential.forces(inside)[0, 0] == pytest.approx(24 * (0.4**6 - 2 * 0.4**12) / 2.5, rel=1e-6)
    assert not potential.forces(outside).any()


def test_pairs_of_a_particle_with_itself_are_refused() -> None:
    with pytest.raises(SpecError, match="two different particles"):
        PairSum(spring(1.0, 1.0), np.array([[1, 1]]), 3)


def test_lopsided_parameters_are_refused() -> None:
    with pytest.raises(SpecError, match="sigma must be a symmetric table"):
        PairTable(np.ones((2, 2)), np.array([[1.0, 0.8], [0.9, 1.0]]), np.ones((2, 2)))


def test_positions_that_are_not_finite_are_refused_before_the_neighbour_search() -> None:
    sites, edges = fcc((2, 2, 2), 0.8)
    sites[3, 1] = np.nan
    potential = LennardJones(LennardJonesSpec().table, np.zeros(len(sites), dtype=np.int64), edges)
    with pytest.raises(SpecError, match="smaller dt"):
        potential.forces(sites)
