"""A model of the n-spring ring, its reference trajectories and its rollouts."""

from __future__ import annotations

import pytest

from rolled import Ring, make_ring


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Ring:
    """Made once for all tests of this folder."""
    return make_ring(tmp_path_factory.mktemp("ring"))
