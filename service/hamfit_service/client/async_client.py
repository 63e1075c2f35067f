"""A server, spoken to by awaiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from hamfit_service import wire
from hamfit_service.client.awaiting import AwaitingDriver
from hamfit_service.client.connection import Server, Timeouts
from hamfit_service.client.effects import Flow, Steps
from hamfit_service.client.events import JobUpdate
from hamfit_service.client.http import httpx
from hamfit_service.client.operations import Operations
from hamfit_service.processes import AbstractInputs

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


class AsyncClient:
    """A hamfit server. Used as an asynchronous context, or closed by `aclose`; belongs to one event loop."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8741",
        token: str | None = None,
        *,
        retry_seconds: float = 30.0,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (it is frozen)
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet; arguments and errors as for `Client`."""
        self.server = Server(url, token, timeouts)
        """Where it is."""
        self._ask = Operations(retry_seconds)
        self._driver = AwaitingDriver(self.server, transport)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._driver.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def processes(self) -> list[wire.ProcessDocument]:
        """All processes, with the JSON schema of what each takes."""
        return await self._run(self._ask.processes())

    async def submit(self, inputs: AbstractInputs, *, idempotency_key: str | None = None) -> wire.JobDocument:
        """Ask for a job. As `Client` says."""
        return await self._run(self._ask.submit(inputs, idempotency_key))

    async def job(self, job_id: str) -> wire.JobDocument:
        """A job."""
        return await self._run(self._ask.job(job_id))

    def jobs(
        self, *, status: Sequence[str] = (), process: str | None = None, owner: str | None = None
    ) -> AsyncIterator[wire.JobDocument]:
        """All jobs that match, the newest first; pages are asked for as they are needed."""
        return self._driver.iterate(Steps(self._ask.jobs({"status": list(status), "process": process, "owner": owner})))

    def watch(self, job_id: str) -> AsyncIterator[JobUpdate]:
        """Updates of a job until it is over; the last one has the kind `end`, and the job. As `Client` says."""
        return self._driver.iterate(Steps(self._ask.watch(job_id)))

    async def wait(self, job_id: str, *, timeout: float | None = None, check: bool = True) -> wire.JobDocument:
        """The job as it ended. As `Client` says."""
        return await self._run(self._ask.wait(job_id, timeout, check=check))

    def logs(self, job_id: str, *, after: int = 0, follow: bool = False) -> AsyncIterator[wire.LogLine]:
        """Lines of a job's log; with ``follow`` those to come as well, until it is over."""
        return self._driver.iterate(Steps(self._ask.logs(job_id, after, follow=follow)))

    async def dismiss(self, job_id: str) -> wire.JobDocument:
        """Stop a job and remove what it made; Conflict when it has succeeded or failed."""
        return await self._run(self._ask.dismiss(job_id))

    async def results(self, job_id: str) -> wire.ResultsDocument:
        """What a job made, as far as it is."""
        return await self._run(self._ask.results(job_id))

    async def download(self, job_id: str, out: str | Path, *, name: str | None = None, overwrite: bool = False) -> Path:
        """Fetch the model or dataset that a job made, or the output ``name``, as ``out``. As `Client` says."""
        return await self._run(self._ask.download(job_id, Path(out), name, overwrite=overwrite))

    async def trajectories(self, job_id: str) -> list[wire.TrajectoryDocument]:
        """The trajectories of a job and how far each is; also while it runs."""
        return await self._run(self._ask.trajectories(job_id))

    async def trajectory(
        self, job_id: str, name: str, start: int = 0, stop: int | None = None, step: int = 1
    ) -> dict[str, np.ndarray]:
        """Frames of a trajectory: arrays by name. As `Client` says."""
        return await self._run(self._ask.trajectory(job_id, name, {"start": start, "stop": stop, "step": step}))

    def models(self, name: str | None = None) -> AsyncIterator[wire.ModelDocument]:
        """Versions of published models, of all or of one, the newest first."""
        return self._driver.iterate(Steps(self._ask.models(name)))

    async def model(self, name: str, version: int | None = None) -> wire.ModelDocument:
        """A version of a published model; by default the newest."""
        return await self._run(self._ask.model(name, version))

    async def download_model(
        self, name: str, out: str | Path, *, version: int | None = None, overwrite: bool = False
    ) -> Path:
        """Fetch a version of a published model; as `download`."""
        return await self._run(self._ask.download_model(name, version, Path(out), overwrite=overwrite))

    async def publish(self, name: str, job_id: str) -> wire.ModelDocument:
        """Give the model of a finished fit a name and the next version; again for the same job changes nothing."""
        return await self._run(self._ask.publish(name, job_id))

    async def tokens(self) -> list[wire.TokenDocument]:
        """All tokens; needs the scope admin."""
        return await self._run(self._ask.tokens())

    async def create_token(self, request: wire.TokenRequest) -> wire.TokenSecret:
        """Make a token, whose secret is told this once; needs the scope admin."""
        return await self._run(self._ask.create_token(request))

    async def revoke_token(self, token_id: str) -> wire.TokenDocument:
        """End a token; needs the scope admin."""
        return await self._run(self._ask.revoke_token(token_id))

    async def cluster(self) -> wire.ClusterState:
        """The cluster that jobs run on."""
        return await self._run(self._ask.cluster())

    async def ready(self) -> wire.Readiness:
        """Whether jobs can be taken and run."""
        return await self._run(self._ask.ready())

    async def _run(self, flow: Flow[T]) -> T:
        steps = Steps(flow)
        async for _ in self._driver.iterate(steps):
            pass
        return steps.result
