"""The Python client of a hamfit server: `Client` blocks, `AsyncClient` awaits, both answer with documents of `wire`.

from hamfit_service.client import Client
from hamfit_service.processes.fit import FitInputs

with Client("http://127.0.0.1:8741") as client:
    job = client.submit(FitInputs(data=("seen.zarr",), cutoff=2.5))
    client.wait(job.id)
    client.download(job.id, "liquid.model")
"""

from __future__ import annotations

from hamfit_service.client.async_client import AsyncClient
from hamfit_service.client.client import Client
from hamfit_service.client.connection import Timeouts
from hamfit_service.client.errors import (
    BadAnswer,
    Busy,
    Conflict,
    JobFailed,
    NotAllowed,
    NotFound,
    Refused,
    ServerAway,
    ServerError,
    StillRunning,
    Unauthorised,
)
from hamfit_service.client.events import JobUpdate
from hamfit_service.client.http import ClientNotInstalled

__all__ = [
    "Client",
    "AsyncClient",
    "Timeouts",
    "JobUpdate",
    "ServerError",
    "ServerAway",
    "BadAnswer",
    "Refused",
    "Unauthorised",
    "NotAllowed",
    "NotFound",
    "Conflict",
    "Busy",
    "JobFailed",
    "StillRunning",
    "ClientNotInstalled",
]
