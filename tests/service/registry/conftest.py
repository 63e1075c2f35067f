"""A model that was really fitted, and a registry for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import Parts

from hamfit.fitting import fit
from hamfit.systems import simulate


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of five masses on springs."""
    folder = tmp_path_factory.mktemp("chain")
    simulate("spring", folder / "chain.zarr", shape="5", n_trajectories=4, n_frames=10)
    fit(folder / "chain.zarr", out=folder / "model", features=8, threads=1)
    return folder / "model"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts.at(tmp_path)
    yield made
    made.database.close()
