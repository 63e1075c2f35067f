"""Services for the tests of the interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import served, settings_for

from hamfit_service.service import Service


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """`make_service(auth="required")`: a service that does not run jobs; closed at the end."""
    made: list[Service] = []

    def make(**changes: Any) -> Service:
        made.append(Service.create(settings_for(tmp_path, **changes)))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def service(make_service: Callable[..., Service]) -> Service:
    """A service that wants no token."""
    return make_service()


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    """Its client."""
    with served(service) as client:
        yield client
