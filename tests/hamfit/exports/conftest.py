"""Models that the exports are proven on: three kinds of trajectory made by LAMMPS, and a flat liquid."""

from __future__ import annotations

from typing import Any

import pytest
from export_cases import Trained, train

from worlds import liquids


@pytest.fixture(scope="session")
def liquid(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Lennard-Jones, cut hard at 2.5."""
    return train(tmp_path_factory.mktemp("lj"), "lj-500", "lj", cutoff=2.5)


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two species, three cutoffs."""
    return train(tmp_path_factory.mktemp("ka"), "ka-500", "lj", cutoff="1-1=2.5,1-2=2.0,2-2=2.2")


@pytest.fixture(scope="session")
def copper(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An embedded-atom model: pair functions and one density."""
    blocks = ("kinetic", "pair", "manybody")
    how: dict[str, Any] = {"cutoff": 5.5, "blocks": blocks, "features": 64, "l_max": 0, "radial": 1}
    return train(tmp_path_factory.mktemp("cu"), "cu-256", "metal", **how)


@pytest.fixture(scope="session")
def bare_copper(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A density alone."""
    how: dict[str, Any] = {"cutoff": 5.5, "blocks": ("manybody",), "features": 64, "l_max": 0, "radial": 1}
    return train(tmp_path_factory.mktemp("bare"), "cu-256", "metal", **how)


ALLOY: dict[str, Any] = {"blocks": ("kinetic", "pair", "manybody"), "features": 48, "l_max": 0, "radial": 1}


@pytest.fixture(scope="session")
def alloy(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Densities that differ by the species at both ends, and pair functions."""
    return train(tmp_path_factory.mktemp("alloy"), "ka-500", cutoff=2.5, rank_cutoff=1e-9, **ALLOY)


@pytest.fixture(scope="session")
def graded_alloy(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same with three cutoffs."""
    cutoff = "1-1=2.5,1-2=2.0,2-2=2.2"
    return train(tmp_path_factory.mktemp("graded"), "ka-500", cutoff=cutoff, rank_cutoff=1e-9, **ALLOY)


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two dimensions, two species of which the second does not act on itself."""
    frames = liquids(1, 40, n_species=2, dim=2, side=6)
    return train(tmp_path_factory.mktemp("flat"), frames, cutoff="A-A=1.75,A-B=1.5,B-B=0", features=24)
