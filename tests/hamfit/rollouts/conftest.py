"""The scenes, as a fixture."""

from __future__ import annotations

import pytest
from scenes import SCENES, Scene


@pytest.fixture(params=SCENES, ids=lambda make: make.__name__)
def scene(request: pytest.FixtureRequest) -> Scene:
    """Every scene in turn."""
    made: Scene = request.param()
    return made
