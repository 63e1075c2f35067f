"""Symmetries of fitted models: energies invariant, forces and velocities equivariant, to rounding."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import features_of, rows_of
from hamfit.fitting import FitResult, fit
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.types import FloatArray
from worlds import Case, liquids, rotation, write

#: Relative to the sum of the magnitudes of what is added up, the scale on which rounding is seen.
TOLERANCE = 1e-12

OPEN = Case("open", 3, 11, n_species=2, apart=0.9)
TRICLINIC = Case("triclinic", 3, 13, n_species=2, periodic=True, skew=0.25, apart=0.9)


@pytest.fixture(scope="module")
def many_body_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    data = write(tmp_path_factory.mktemp("many") / "data.zarr", [liquids(1, 8, n_species=2)])
    options = FitOptions(
        cutoff=1.75, features=24, blocks=("kinetic", "pair", "manybody"), l_max=3, threads=1, checkpoint=False
    )
    with warnings.catch_warnings():
        # symmetries hold whatever the accuracy
        warnings.simplefilter("ignore")
        return fit(data, options=options).model


@pytest.fixture(scope="module")
def models(binary_fit: FitResult, many_body_model: Model) -> tuple[Model, ...]:
    return (binary_fit.model, many_body_model)


def scales(model: Model, frame: Frame) -> dict[str, float]:
    """Sums of magnitudes behind energies, forces and velocities."""
    everyone = np.arange(frame.n_particles, dtype=np.int64)
    out = {"energy": 0.0, "force": 0.0, "velocity": 0.0}
    for block, theta in zip(model.blocks, model.theta, strict=True):
        out["energy"] += float(np.abs(features_of(block, frame) * theta).sum())
        rows = np.abs(rows_of(block, frame, everyone)) @ np.abs(theta)
        out[block.part] += float(rows.max())
    return out


def assert_same(model: Model, frame: Frame, other: Frame, order: np.ndarray, turn: FloatArray) -> None:
    size = scales(model, frame)
    assert abs(model.energy(other) - model.energy(frame)) <= TOLERANCE * size["energy"]
    forces = (model.forces(frame) @ turn)[order]
    assert np.abs(model.forces(other) - forces).max() <= TOLERANCE * size["force"]
    velocities = (model.velocities(frame) @ turn)[order]
    assert np.abs(model.velocities(other) - velocities).max() <= TOLERANCE * size["velocity"]


@settings(max_examples=6)
@given(seed=st.integers(0, 2**31), case=st.sampled_from((OPEN, TRICLINIC)))
def test_permuted_rotated_translated_systems_have_the_same_energy_and_turned_forces(
    models: tuple[Model, ...], seed: int, case: Case
) -> None:
    rng = np.random.default_rng(seed)
    frame = case.frame(seed)
    assert frame.p is not None
    turn, order = rotation(3, rng), rng.permutation(case.n)
    other = replace(
        frame,
        q=(frame.q @ turn + rng.normal(size=3))[order],
        p=(frame.p @ turn)[order],
        species=frame.species[order],
        masses=frame.masses[order],
        qdot=None,
        pdot=None,
        box=None if frame.box is None else frame.box @ turn,
    )
    for model in models:
        assert_same(model, frame, other, order, turn)


@settings(max_examples=4)
@given(seed=st.integers(0, 2**31))
def test_the_choice_of_periodic_image_does_not_matter(models: tuple[Model, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = TRICLINIC.frame(seed)
    assert frame.box is not None
    wrapped = replace(frame, q=frame.q + rng.integers(-2, 3, size=frame.q.shape) @ frame.box)
    for model in models:
        assert_same(model, frame, wrapped, np.arange(frame.n_particles), np.eye(3))


@settings(max_examples=4)
@given(seed=st.integers(0, 2**31))
def test_another_basis_of_the_same_lattice_does_not_matter(models: tuple[Model, ...], seed: int) -> None:
    frame = TRICLINIC.frame(seed)
    assert frame.box is not None
    # unimodular: spans the same lattice
    sheared = replace(frame, box=np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]) @ frame.box)
    for model in models:
        assert_same(model, frame, sheared, np.arange(frame.n_particles), np.eye(3))


@settings(max_examples=4)
@given(seed=st.integers(0, 2**31))
def test_energy_is_extensive_when_the_box_is_repeated(models: tuple[Model, ...], seed: int) -> None:
    frame = TRICLINIC.frame(seed)
    assert frame.box is not None
    assert frame.p is not None
    doubled = Frame(
        q=np.concatenate([frame.q, frame.q + frame.box[0]]),
        species=np.tile(frame.species, 2),
        labels=frame.labels,
        masses=np.tile(frame.masses, 2),
        box=frame.box * np.array([2.0, 1.0, 1.0])[:, None],
        periodic=frame.periodic,
        p=np.tile(frame.p, (2, 1)),
    )
    for model in models:
        size = scales(model, frame)
        assert abs(model.energy(doubled) - 2.0 * model.energy(frame)) <= 4.0 * TOLERANCE * size["energy"]
        difference = model.forces(doubled)[: frame.n_particles] - model.forces(frame)
        assert np.abs(difference).max() <= TOLERANCE * size["force"]


def test_forces_add_up_to_nothing(models: tuple[Model, ...]) -> None:
    for case in (OPEN, TRICLINIC):
        frame = case.frame()
        for model in models:
            total = model.forces(frame).sum(axis=0)
            assert np.abs(total).max() <= TOLERANCE * scales(model, frame)["force"] * frame.n_particles


def test_a_stored_model_keeps_its_symmetries(binary_fit: FitResult, tmp_path: Path) -> None:
    binary_fit.model.save(tmp_path / "a.model")
    frame = OPEN.frame()
    order = np.arange(frame.n_particles)[::-1]
    assert frame.p is not None
    other = replace(
        frame,
        q=frame.q[order],
        p=frame.p[order],
        species=frame.species[order],
        masses=frame.masses[order],
        qdot=None,
        pdot=None,
    )
    assert_same(Model.open(tmp_path / "a.model"), frame, other, order, np.eye(3))
