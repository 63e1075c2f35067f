"""Everything that can be asked of a server, as flows: the one place that knows paths, queries and documents."""

from __future__ import annotations

import io
import secrets
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from hamfit.errors import SpecError
from hamfit_service.client.downloads import choose, download_file, download_store
from hamfit_service.client.effects import Call, Emit, Flow, Pause
from hamfit_service.client.errors import BadAnswer
from hamfit_service.client.requests import ask, ask_for
from hamfit_service.client.watching import FINAL, wait, watch
from hamfit_service.processes import AbstractInputs
from hamfit_service.wire import (
    ClusterState,
    JobDocument,
    JobList,
    LogPage,
    ModelDocument,
    ModelList,
    ProcessDocument,
    ProcessList,
    Readiness,
    ResultsDocument,
    TokenDocument,
    TokenList,
    TokenRequest,
    TokenSecret,
    TrajectoryDocument,
    TrajectoryList,
)

if TYPE_CHECKING:
    import numpy as np

Page = TypeVar("Page", bound=BaseModel)

_LOOK_SECONDS = 1.0
_PAGE = 100


@dataclass(frozen=True, slots=True)
class Operations:
    """Makes the flow of each request."""

    patience: float
    """Seconds for which a server that is away or busy is asked again."""

    def processes(self) -> Flow[list[ProcessDocument]]:
        """All processes."""
        found = yield from self._get(ProcessList, "/v1/processes")
        return found.processes

    def submit(self, inputs: AbstractInputs, key: str | None) -> Flow[JobDocument]:
        """Ask for a job; the key makes sure that it is one, however often the request has to be sent."""
        if key is not None and not (key.isascii() and key.isprintable() and 0 < len(key) < 256):
            raise SpecError("an idempotency key is text of 1 to 255 printable ASCII characters; give another one")
        body = inputs.model_dump(mode="json")
        headers = {"idempotency-key": key or secrets.token_hex(16)}
        call = Call("POST", f"/v1/processes/{inputs.process}/execution", headers=headers, body=body)
        return ask_for(JobDocument, call, self.patience)

    def job(self, job_id: str) -> Flow[JobDocument]:
        """A job."""
        return self._get(JobDocument, _job(job_id))

    def jobs(self, filters: Mapping[str, Any]) -> Flow[None]:
        """Emit jobs, the newest first."""
        return self._pages("/v1/jobs", filters, JobList, lambda page: (page.jobs, page.next))

    def dismiss(self, job_id: str) -> Flow[JobDocument]:
        """Stop a job."""
        return ask_for(JobDocument, Call("DELETE", _job(job_id)), self.patience)

    def watch(self, job_id: str) -> Flow[JobDocument]:
        """Emit updates until the job is over."""
        return watch(_job(job_id), self.patience)

    def wait(self, job_id: str, timeout: float | None, *, check: bool) -> Flow[JobDocument]:
        """The job as it ended."""
        return wait(_job(job_id), self.patience, timeout, check=check)

    def logs(self, job_id: str, after: int, *, follow: bool) -> Flow[None]:
        """Emit lines of the log; with ``follow`` until the job is over."""
        while True:
            is_over = not follow or (yield from self.job(job_id)).status in FINAL
            while True:
                page = yield from self._get(LogPage, f"{_job(job_id)}/logs", {"after": after})
                for line in page.lines:
                    yield Emit(line)
                if page.next == after:
                    break
                after = page.next
            if is_over:
                return
            yield Pause(_LOOK_SECONDS)

    def results(self, job_id: str) -> Flow[ResultsDocument]:
        """What a job made."""
        return self._get(ResultsDocument, f"{_job(job_id)}/results")

    def download(self, job_id: str, out: Path, name: str | None, *, overwrite: bool) -> Flow[Path]:
        """An output of a job, as a folder or file."""
        output = choose((yield from self.results(job_id)), name)
        path = f"{_job(job_id)}/results/files/{quote(output.name)}"
        download = download_store if output.kind in ("model", "dataset") else download_file
        return (yield from download(path, out, self.patience, overwrite=overwrite))

    def trajectories(self, job_id: str) -> Flow[list[TrajectoryDocument]]:
        """The trajectories of a job, also while it runs."""
        found = yield from self._get(TrajectoryList, f"{_job(job_id)}/results/trajectories")
        return found.trajectories

    def trajectory(self, job_id: str, name: str, frames: Mapping[str, int | None]) -> Flow[dict[str, np.ndarray]]:
        """Frames of a trajectory by the names of their arrays."""
        call = Call("GET", f"{_job(job_id)}/results/trajectories/{_part(name)}", frames)
        answer = yield from ask(call, self.patience)
        return _arrays(answer.body, call.path)

    def models(self, name: str | None) -> Flow[None]:
        """Emit versions of models, the newest first."""
        return self._pages("/v1/models", {"name": name}, ModelList, lambda page: (page.models, page.next))

    def model(self, name: str, version: int | None) -> Flow[ModelDocument]:
        """A version of a model; the newest, without a number."""
        return self._get(ModelDocument, _model(name, version))

    def download_model(self, name: str, version: int | None, out: Path, *, overwrite: bool) -> Flow[Path]:
        """A version of a model as a folder."""
        found = yield from self.model(name, version)
        path = f"{_model(found.name, found.version)}/files"
        return (yield from download_store(path, out, self.patience, overwrite=overwrite))

    def publish(self, name: str, job_id: str) -> Flow[ModelDocument]:
        """Give the model of a fit a name and version; doing so again changes nothing."""
        # the server checks both, in the words that every client sees
        body = {"name": name, "job": job_id}
        return ask_for(ModelDocument, Call("POST", "/v1/models", body=body), self.patience)

    def tokens(self) -> Flow[list[TokenDocument]]:
        """All tokens."""
        found = yield from self._get(TokenList, "/v1/tokens")
        return found.tokens

    def create_token(self, request: TokenRequest) -> Flow[TokenSecret]:
        """Make a token; not repeated when an answer is lost, for the first token would be nobody's."""
        body = request.model_dump(mode="json")
        call = Call("POST", "/v1/tokens", body=body, is_repeatable=False)
        return ask_for(TokenSecret, call, self.patience)

    def revoke_token(self, token_id: str) -> Flow[TokenDocument]:
        """End a token."""
        return ask_for(TokenDocument, Call("DELETE", f"/v1/tokens/{_part(token_id)}"), self.patience)

    def cluster(self) -> Flow[ClusterState]:
        """The cluster that jobs run on."""
        return self._get(ClusterState, "/v1/cluster")

    def ready(self) -> Flow[Readiness]:
        """Whether jobs can be taken and run; not being ready is an answer too."""
        return ask_for(Readiness, Call("GET", "/readyz", answers=(503,)), self.patience)

    def _get(self, kind: type[Page], path: str, params: Mapping[str, Any] | None = None) -> Flow[Page]:
        return ask_for(kind, Call("GET", path, params or {}), self.patience)

    def _pages(
        self,
        path: str,
        params: Mapping[str, Any],
        kind: type[Page],
        read: Callable[[Page], tuple[list[Any], str | None]],
    ) -> Flow[None]:
        after: str | None = None
        while True:
            page = yield from self._get(kind, path, {"limit": _PAGE, **params, "after": after})
            items, after = read(page)
            for item in items:
                yield Emit(item)
            if after is None:
                return


def _part(text: str) -> str:
    return quote(text, safe="")


def _job(job_id: str) -> str:
    return f"/v1/jobs/{_part(job_id)}"


def _model(name: str, version: int | None) -> str:
    return f"/v1/models/{_part(name)}" + ("" if version is None else f"/{version}")


def _arrays(body: bytes, path: str) -> dict[str, np.ndarray]:
    import numpy as np

    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise BadAnswer(
            f"the answer to GET {path} is no archive of arrays ({error}); see what answers there"
        ) from error
