"""A server, spoken to by blocking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from hamfit_service import wire
from hamfit_service.client.blocking import BlockingDriver
from hamfit_service.client.connection import Server, Timeouts
from hamfit_service.client.effects import Flow, Steps
from hamfit_service.client.events import JobUpdate
from hamfit_service.client.http import httpx
from hamfit_service.client.operations import Operations
from hamfit_service.processes import AbstractInputs

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


class Client:
    """A hamfit server. Used as a context, or closed by `close`; may be used by several threads."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8741",
        token: str | None = None,
        *,
        retry_seconds: float = 30.0,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (it is frozen)
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: address of the server.
            token: sent as a bearer token; None where none is needed.
            retry_seconds: how long a server that is away or busy is asked again.
            timeouts: how long is waited for connections and answers.
            transport: how httpx reaches the server, instead of the network.

        Raises:
            SpecError: the address is none.

        """
        self.server = Server(url, token, timeouts)
        """Where it is."""
        self._ask = Operations(retry_seconds)
        self._driver = BlockingDriver(self.server, transport)

    def close(self) -> None:
        """Close all connections."""
        self._driver.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def processes(self) -> list[wire.ProcessDocument]:
        """All processes, with the JSON schema of what each takes."""
        return self._run(self._ask.processes())

    def submit(self, inputs: AbstractInputs, *, idempotency_key: str | None = None) -> wire.JobDocument:
        """Ask for a job.

        With the same key the same request makes one job, however often it is sent. Without one, a key is made for this
        call, so that sending again after a lost connection never submits twice.

        Raises:
            Refused: inputs cannot be; `fields` says which.
            Busy: too many jobs wait.
            ServerError: as for every request.
        """
        return self._run(self._ask.submit(inputs, idempotency_key))

    def job(self, job_id: str) -> wire.JobDocument:
        """A job."""
        return self._run(self._ask.job(job_id))

    def jobs(
        self, *, status: Sequence[str] = (), process: str | None = None, owner: str | None = None
    ) -> Iterator[wire.JobDocument]:
        """All jobs that match, the newest first; pages are asked for as they are needed."""
        return self._driver.iterate(Steps(self._ask.jobs({"status": list(status), "process": process, "owner": owner})))

    def watch(self, job_id: str) -> Iterator[JobUpdate]:
        """Updates of a job until it is over; the last one has the kind `end`, and the job.

        A stream that breaks is taken up after the last event that was heard; without a stream the job is asked for.
        """
        return self._driver.iterate(Steps(self._ask.watch(job_id)))

    def wait(self, job_id: str, *, timeout: float | None = None, check: bool = True) -> wire.JobDocument:
        """The job as it ended.

        Raises:
            JobFailed: it failed or was dismissed; not with ``check=False``.
            StillRunning: it was not over within ``timeout`` seconds.
        """
        return self._run(self._ask.wait(job_id, timeout, check=check))

    def logs(self, job_id: str, *, after: int = 0, follow: bool = False) -> Iterator[wire.LogLine]:
        """Lines of a job's log; with ``follow`` those to come as well, until it is over."""
        return self._driver.iterate(Steps(self._ask.logs(job_id, after, follow=follow)))

    def dismiss(self, job_id: str) -> wire.JobDocument:
        """Stop a job and remove what it made; Conflict when it has succeeded or failed."""
        return self._run(self._ask.dismiss(job_id))

    def results(self, job_id: str) -> wire.ResultsDocument:
        """What a job made, as far as it is."""
        return self._run(self._ask.results(job_id))

    def download(self, job_id: str, out: str | Path, *, name: str | None = None, overwrite: bool = False) -> Path:
        """Fetch the model or dataset that a job made, or the output ``name``, as the folder or file ``out``.

        It appears under its name only when it is whole. Only another store is overwritten, and only on request.

        Raises:
            StoreError: something is at ``out``, or the disk cannot take it.
            NotFound: there is no such output.
        """
        return self._run(self._ask.download(job_id, Path(out), name, overwrite=overwrite))

    def trajectories(self, job_id: str) -> list[wire.TrajectoryDocument]:
        """The trajectories of a job and how far each is; also while it runs."""
        return self._run(self._ask.trajectories(job_id))

    def trajectory(
        self, job_id: str, name: str, start: int = 0, stop: int | None = None, step: int = 1
    ) -> dict[str, np.ndarray]:
        """Frames of a trajectory: step and time (T,), position, velocity and more (T, N, d), species and mass (N,).

        Of a rollout that runs, those that are on disk by now.
        """
        return self._run(self._ask.trajectory(job_id, name, {"start": start, "stop": stop, "step": step}))

    def models(self, name: str | None = None) -> Iterator[wire.ModelDocument]:
        """Versions of published models, of all or of one, the newest first."""
        return self._driver.iterate(Steps(self._ask.models(name)))

    def model(self, name: str, version: int | None = None) -> wire.ModelDocument:
        """A version of a published model; by default the newest."""
        return self._run(self._ask.model(name, version))

    def download_model(
        self, name: str, out: str | Path, *, version: int | None = None, overwrite: bool = False
    ) -> Path:
        """Fetch a version of a published model; as `download`."""
        return self._run(self._ask.download_model(name, version, Path(out), overwrite=overwrite))

    def publish(self, name: str, job_id: str) -> wire.ModelDocument:
        """Give the model of a finished fit a name and the next version; again for the same job changes nothing."""
        return self._run(self._ask.publish(name, job_id))

    def tokens(self) -> list[wire.TokenDocument]:
        """All tokens; needs the scope admin."""
        return self._run(self._ask.tokens())

    def create_token(self, request: wire.TokenRequest) -> wire.TokenSecret:
        """Make a token, whose secret is told this once; needs the scope admin."""
        return self._run(self._ask.create_token(request))

    def revoke_token(self, token_id: str) -> wire.TokenDocument:
        """End a token; needs the scope admin."""
        return self._run(self._ask.revoke_token(token_id))

    def cluster(self) -> wire.ClusterState:
        """The cluster that jobs run on."""
        return self._run(self._ask.cluster())

    def ready(self) -> wire.Readiness:
        """Whether jobs can be taken and run."""
        return self._run(self._ask.ready())

    def _run(self, flow: Flow[T]) -> T:
        steps = Steps(flow)
        for _ in self._driver.iterate(steps):
            pass
        return steps.result
