"""The ASE calculator under ASE's own dynamics and optimisers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import UnitCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE
from export_cases import Trained
from scipy.optimize import brentq

from hamfit.errors import GraphError, ModelError, SpecError
from hamfit.exports.ase import HamfitCalculator
from hamfit.features.field import FieldBlock
from hamfit.features.kinetic import KineticBlock
from hamfit.features.pair import PairBlock
from hamfit.fitting import FitResult
from hamfit.frames import Frame
from hamfit.graphs import BondGraph
from hamfit.model import Model
from hamfit.types import FloatArray
from worlds import lennard_jones, liquids

LJ = {"Ar": "A", "Kr": "B"}
COPPER = {"Cu": "1"}


def atoms_of(frame: Frame, symbols: dict[str, str]) -> Atoms:
    names = {label: symbol for symbol, label in symbols.items()}
    atoms = Atoms(
        [names[frame.labels[s]] for s in frame.species],
        positions=frame.q,
        cell=frame.box,
        pbc=frame.periodic,
        masses=frame.masses,
    )
    if frame.p is not None:
        atoms.set_momenta(frame.p)
    return atoms


@pytest.fixture
def model(binary_fit: FitResult) -> Model:
    return binary_fit.model


FRAME = liquids(5, 1, n_species=2, jitter=0.09)[0]


def test_energy_forces_and_stress_are_the_models(model: Model) -> None:
    atoms = atoms_of(FRAME, LJ)
    atoms.calc = HamfitCalculator(model, labels=LJ)
    expected = model.potential(FRAME)
    assert atoms.get_potential_energy() == expected.energy == atoms.get_potential_energy(force_consistent=True)
    assert atoms.get_forces().tobytes() == expected.forces.tobytes()
    assert expected.virial is not None
    np.testing.assert_allclose(atoms.get_stress(voigt=False), -expected.virial / atoms.get_volume(), rtol=1e-14)


def test_a_stored_model_serves_as_well(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "a.model")
    atoms = atoms_of(FRAME, LJ)
    atoms.calc = HamfitCalculator(tmp_path / "a.model", labels=LJ)
    assert atoms.get_potential_energy() == model.potential_energy(FRAME)


def test_forces_and_stress_are_ases_numerical_derivatives(copper: Trained) -> None:
    """A triclinic cell of copper, smaller than the cutoff."""
    atoms = bulk("Cu", "fcc", a=3.7) * (2, 1, 1)
    atoms.rattle(0.05, seed=3)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.tri(3)), scale_atoms=True)
    atoms.calc = HamfitCalculator(copper.model, labels=COPPER)
    forces = atoms.get_forces()
    np.testing.assert_allclose(forces, calculate_numerical_forces(atoms, eps=1e-4), atol=1e-5 * np.abs(forces).max())
    stress = atoms.get_stress()
    numerical = calculate_numerical_stress(atoms, eps=1e-4)
    np.testing.assert_allclose(stress, numerical, atol=1e-5 * np.abs(stress).max())


@pytest.mark.parametrize("periodic", [(True, False, True), (False, False, True), (False, False, False)])
def test_cells_may_be_periodic_in_some_directions_only(model: Model, periodic: tuple[bool, bool, bool]) -> None:
    atoms = atoms_of(replace(FRAME, periodic=periodic), LJ)
    atoms.calc = HamfitCalculator(model, labels=LJ)
    bare = replace(FRAME, periodic=periodic, box=FRAME.box if any(periodic) else None)
    assert atoms.get_forces().tobytes() == model.forces(bare).tobytes()
    assert atoms.get_potential_energy() == model.potential_energy(bare)
    with pytest.raises(PropertyNotImplementedError, match=r"not periodic in all three directions, .* no stress"):
        atoms.get_stress()
    with pytest.raises(ModelError, match="no volume"):
        atoms.get_stress()


def test_a_slab_whose_cell_has_no_third_vector_is_served(model: Model) -> None:
    atoms = atoms_of(replace(FRAME, periodic=(True, True, False)), LJ)
    expected = model.forces(replace(FRAME, periodic=(True, True, False)))
    atoms.cell[2] = 0.0
    atoms.calc = HamfitCalculator(model, labels=LJ)
    np.testing.assert_allclose(atoms.get_forces(), expected, atol=1e-12 * np.abs(expected).max())


def verlet(model: Model, frame: Frame, dt: float, steps: int) -> FloatArray:
    q, v, m = frame.q.copy(), frame.p / frame.masses[:, None], frame.masses[:, None]
    force = model.forces(frame)
    for _ in range(steps):
        v += 0.5 * dt * force / m
        q += dt * v
        force = model.forces(replace(frame, q=q))
        v += 0.5 * dt * force / m
    return q


def test_ases_velocity_verlet_is_velocity_verlet_on_the_model(copper: Trained) -> None:
    frame = copper.frame()
    atoms = atoms_of(frame, COPPER)
    atoms.calc = HamfitCalculator(copper.model, labels=COPPER)
    energy = atoms.get_total_energy()
    VelocityVerlet(atoms, 2.0 * units.fs).run(20)
    np.testing.assert_allclose(atoms.positions, verlet(copper.model, frame, 2.0 * units.fs, 20), atol=1e-11)
    assert np.abs(atoms.positions - frame.q).max() > 0.05
    assert atoms.get_total_energy() == pytest.approx(energy, abs=1e-4 * len(atoms))


@pytest.mark.parametrize("optimiser", [FIRE, BFGS])
def test_ases_optimisers_find_a_crystal_where_forces_vanish(
    optimiser: Callable[..., FIRE | BFGS], copper: Trained
) -> None:
    atoms = bulk("Cu", "fcc", a=3.615, cubic=True) * (2, 2, 2)
    atoms.calc = HamfitCalculator(copper.model, labels=COPPER)
    lowest = atoms.get_potential_energy()
    atoms.rattle(0.08, seed=7)
    assert optimiser(atoms, logfile=None).run(fmax=1e-4, steps=300)
    assert np.abs(atoms.get_forces()).max() < 1e-4
    assert atoms.get_potential_energy() == pytest.approx(lowest, abs=1e-5 * len(atoms))


def test_a_cell_filter_finds_the_lattice_constant_of_the_true_law(liquid: Trained) -> None:
    """Reduced units; the oracle is the lattice sum of the Lennard-Jones potential that made the data."""
    atoms = bulk("Ar", "fcc", a=1.57, cubic=True) * (2, 2, 2)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.004 * np.tri(3, k=-1)), scale_atoms=True)
    atoms.calc = HamfitCalculator(liquid.model, labels={"Ar": "1"})
    assert np.abs(atoms.get_stress()).max() > 0.1
    assert BFGS(UnitCellFilter(atoms), logfile=None).run(fmax=1e-5, steps=200)
    assert np.abs(atoms.get_stress()).max() < 1e-5
    shells = np.array([[12, 0.5], [6, 1.0], [24, 1.5], [12, 2.0], [24, 2.5]])

    def slope(a: float) -> float:
        r = a * np.sqrt(shells[:, 1])
        return float(np.sum(shells[:, 0] * lennard_jones(r)[1] * r))

    exact = brentq(slope, 1.5, 1.57, xtol=1e-12)
    np.testing.assert_allclose(atoms.cell.lengths() / 2.0, exact, rtol=1e-6)


def test_bonded_networks_are_served_with_their_bonds(binary_fit: FitResult) -> None:
    pair = next(b for b in binary_fit.model.blocks if isinstance(b, PairBlock))
    free = replace(pair.radial, cutoffs=np.full(3, np.inf))
    model = bonded(binary_fit.model, PairBlock(free, BondGraph(("soft", "middle", "stiff"))))
    bonds, types = np.array([[0, 1], [1, 2], [2, 5]]), np.array([0, 2, 1])
    atoms = atoms_of(FRAME, LJ)
    atoms.calc = HamfitCalculator(model, labels=LJ, bonds=bonds, bond_types=types)
    frame = replace(FRAME, bonds=bonds, bond_types=types, bond_labels=model.bond_labels)
    assert atoms.get_forces().tobytes() == model.forces(frame).tobytes()
    with pytest.raises(ModelError, match=r"along bonds, which ASE's atoms do not have: give bonds"):
        HamfitCalculator(model, labels=LJ)
    with pytest.raises(SpecError, match="bond_types are given without bonds"):
        HamfitCalculator(model, labels=LJ, bond_types=types)
    atoms.calc = HamfitCalculator(model, labels=LJ, bonds=[(0, 99)])
    with pytest.raises(GraphError, match="particle 99"):
        atoms.get_forces()


def bonded(model: Model, block: PairBlock) -> Model:
    blocks = tuple(block if b.kind == "pair" else b for b in model.blocks)
    return replace(model, blocks=blocks, bond_labels=("soft", "middle", "stiff"), extents={**model.extents})


def test_masses_of_the_training_data_are_told(model: Model) -> None:
    calculator = HamfitCalculator(model, labels=LJ)
    atoms = atoms_of(FRAME, LJ)
    np.testing.assert_allclose(calculator.masses(atoms), FRAME.masses, rtol=1e-7)
    atoms.set_masses(2.0 * FRAME.masses)
    atoms.calc = calculator
    with pytest.warns(UserWarning, match=r"have mass .* where it learned .*: use atoms.set_masses"):
        atoms.get_forces()
    # once, and never for atoms at rest
    atoms.rattle(0.01)
    atoms.get_forces()
    atoms.set_momenta(np.zeros((len(atoms), 3)))
    still = replace(model, blocks=model.blocks[1:], theta=model.theta[1:])
    with pytest.raises(ModelError, match="knows no masses"):
        HamfitCalculator(still, labels=LJ).masses(atoms)


def test_unknown_species_are_named_with_the_remedy(model: Model) -> None:
    atoms = atoms_of(FRAME, LJ)
    atoms.calc = HamfitCalculator(model, labels={"Ar": "A"})
    with pytest.raises(ModelError, match=r"does not know Kr \(its species: A, B\): say which is which.*'Kr': 'A'"):
        atoms.get_forces()
    with pytest.raises(SpecError, match="labels name the species C: the model has A, B"):
        HamfitCalculator(model, labels={"Ar": "C"})


def test_a_kinetic_energy_that_is_not_quadratic_is_refused(model: Model) -> None:
    block = model.blocks[0]
    assert isinstance(block, KineticBlock)
    theta = model.theta[0].copy()
    theta[block.radial.per_channel - 1] += 0.01
    with pytest.raises(ModelError, match=r"species A is not p\^2/2m .* and ASE knows no other"):
        HamfitCalculator(replace(model, theta=(theta, *model.theta[1:])), labels=LJ)


def test_models_without_forces_or_in_two_dimensions_are_refused(model: Model) -> None:
    with pytest.raises(ModelError, match="no forces"):
        HamfitCalculator(replace(model, blocks=model.blocks[:1], theta=model.theta[:1]))
    with pytest.raises(ModelError, match="2-dimensional, where ASE's atoms have three"):
        HamfitCalculator(replace(model, dim=2))


def test_a_field_gives_forces_but_no_stress(model: Model) -> None:
    open_frame = replace(FRAME, periodic=(False,) * 3, box=None)
    field = FieldBlock.sample([open_frame], n_features=3, sampler="elm", rng=np.random.default_rng(0))
    theta = np.full(field.n_columns, 0.1)
    trap = replace(model, blocks=(*model.blocks, field), theta=(*model.theta, theta))
    atoms = atoms_of(open_frame, LJ)
    atoms.calc = HamfitCalculator(trap, labels=LJ)
    assert atoms.get_forces().tobytes() == trap.forces(open_frame).tobytes()
    with pytest.raises(PropertyNotImplementedError, match="absolute positions, so the model has no stress"):
        atoms.get_stress()
