"""What goes wrong between a client and a server.

HamfitError
└── ServerError            a request that was not answered as asked
    ├── ServerAway             nothing answers there, or it keeps saying that it cannot now
    ├── BadAnswer              what answers is no hamfit server, or one of another version; or an archive is damaged
    ├── Refused                inputs or a request that cannot be (400, 405, 413, 415, 422); `fields` says which
    ├── Unauthorised           no token, or one that does not count (401)
    ├── NotAllowed             the token does not allow it (403)
    ├── NotFound               no such job, model, token or result (404)
    ├── Conflict               not in the state that the job is in (409)
    └── Busy                   too many requests or queued jobs (429)
    JobFailed              the job was waited for, and failed or was dismissed
    StillRunning           the job was waited for, and was not over in time
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time

from pydantic import ValidationError

from hamfit.errors import HamfitError
from hamfit_service.client.effects import Answer
from hamfit_service.wire import JobDocument, Problem, ProblemField


class ServerError(HamfitError):
    """A request was not answered as asked."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        problem: Problem | None = None,
        retry_after_seconds: float = 0.0,
    ) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; None when there was no answer."""
        self.problem = problem
        """What the server said, whole; None when it said nothing that can be read."""
        self.retry_after_seconds = retry_after_seconds
        """When the server wants to be asked again; 0 when it does not say."""

    @property
    def fields(self) -> list[ProblemField]:
        """Every field that is wrong."""
        return [] if self.problem is None else list(self.problem.errors)


class ServerAway(ServerError):
    """Nothing answers, or it keeps saying that it cannot now; the same request may succeed later."""


class BadAnswer(ServerError):
    """The answer is not that of a hamfit server of this version."""


class Refused(ServerError):
    """The request, or the inputs in it, cannot be."""


class Unauthorised(ServerError):
    """There is no token, or it does not count."""


class NotAllowed(ServerError):
    """The token does not allow it."""


class NotFound(ServerError):
    """There is no such job, model, token or result."""


class Conflict(ServerError):
    """The job is not in a state that allows it."""


class Busy(ServerError):
    """Too many requests, or too many jobs that wait."""


class JobFailed(HamfitError):
    """A job that was waited for failed or was dismissed."""

    def __init__(self, job: JobDocument) -> None:
        super().__init__(why_not_succeeded(job))
        self.job = job
        """The job as it ended."""


class StillRunning(HamfitError):
    """A job that was waited for is not over; it goes on."""


_BY_STATUS: Mapping[int, type[ServerError]] = {
    401: Unauthorised,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    429: Busy,
    502: ServerAway,
    503: ServerAway,
    504: ServerAway,
}


def why_not_succeeded(job: JobDocument) -> str:
    """One sentence about a job that failed or was dismissed."""
    if job.failure is None:
        return f"job {job.id} was {job.status}"
    return f"job {job.id} {job.status}: {job.failure.message}"


def error_of(answer: Answer) -> ServerError:
    """The error that an answer tells of, in the server's own words where it has some."""
    problem = _problem(answer)
    if problem is None:
        name = HTTPStatus(answer.status).phrase if answer.status in _STATUSES else "of an unknown kind"
        text = f"the server answered {answer.status} ({name}) and no reason; see whether a hamfit server is there"
    else:
        rest = [f"{one.field}: {one.message}" for one in problem.errors if one.message not in problem.detail]
        text = "; ".join([problem.detail, *rest])
    kind = _BY_STATUS.get(answer.status, Refused if 400 <= answer.status < 500 and problem else ServerError)
    return kind(text, status=answer.status, problem=problem, retry_after_seconds=_retry_after_seconds(answer))


_STATUSES = frozenset(int(status) for status in HTTPStatus)


def _retry_after_seconds(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return 0.0


def _problem(answer: Answer) -> Problem | None:
    if "json" not in answer.headers.get("content-type", ""):
        return None
    try:
        return Problem.model_validate_json(answer.body)
    except ValidationError:
        return None
