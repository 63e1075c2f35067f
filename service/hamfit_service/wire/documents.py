"""The documents of the REST interface. Names follow OGC API - Processes and RFC 9457 where those have one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from hamfit_service.processes.references import JOB_ID_PATTERN, MODEL_NAME_PATTERN

State: TypeAlias = Literal["accepted", "running", "succeeded", "failed", "dismissed"]
Scope: TypeAlias = Literal["read", "submit", "admin"]


class Document(BaseModel):
    """Base of what a server says; a client ignores what it does not know yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Request(BaseModel):
    """Base of what a client sends; a server refuses what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Link(Document):
    """A pointer to another document."""

    href: str = Field(description="Path from the root of the server.")
    rel: str = Field(description="What it is to this document.")
    type: str | None = Field(default=None, description="Its media type.")


class ProblemField(Document):
    """One thing that is wrong in a request."""

    field: str = Field(description="Where: a field of the body, query or header.")
    message: str = Field(description="What is wrong, and what to write instead.")


class Problem(Document):
    """RFC 9457: why a request was refused."""

    type: str = Field(default="about:blank", description="URI of the kind of problem.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="One sentence: the thing, the reason, the fix.")
    instance: str | None = Field(default=None, description="Id of the request, to be found in the service's log.")
    errors: list[ProblemField] = Field(default=[], description="Every field that is wrong.")


class ProgressDocument(Document):
    """How far a job is."""

    phase: str = Field(description="What is being done: queued, provisioning, features, solving, publishing, ...")
    percent: float = Field(description="How much of the whole job is done.")
    done: int = Field(default=0, description="Tasks of this phase done.")
    total: int = Field(default=0, description="Tasks of this phase; 0 when unknown.")
    rows: int = Field(default=0, description="Rows reduced, or steps made, in this phase.")
    rows_per_second: float = Field(default=0.0, description="Speed.")
    unit: str = Field(default="rows", description="What rows counts: rows, frames or steps.")
    remaining_seconds: float | None = Field(default=None, description="Expected time to the end of this phase.")
    peak_bytes: int = Field(default=0, description="Largest memory of one process so far.")
    message: str = Field(default="", description="One line for people.")


class FailureDocument(Document):
    """Why a job failed."""

    kind: Literal["user", "system"] = Field(description="Who has to mend something.")
    type: str = Field(description="Class of the error.")
    message: str = Field(description="One sentence.")


class JobDocument(Document):
    """A job."""

    id: str = Field(pattern=JOB_ID_PATTERN, description="Name of the job.")
    process: str = Field(description="fit, rollout, evaluate, ingest or simulate.")
    owner: str = Field(description="Who submitted it.")
    status: State = Field(description="accepted, running, succeeded, failed or dismissed; the last three are final.")
    dismissing: bool = Field(default=False, description="Whether it is being stopped.")
    progress: ProgressDocument
    attempts: int = Field(default=0, description="Failures of the system so far.")
    failure: FailureDocument | None = None
    inputs: dict[str, Any] = Field(description="What was asked, defaults put in and references pinned.")
    submitted_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime
    links: list[Link] = []


class JobList(Document):
    """A page of jobs, the newest first."""

    jobs: list[JobDocument]
    next: str | None = Field(default=None, description="Give this as `after` for the next page.")


class LogLine(Document):
    """One line of a job's log."""

    at: datetime
    level: Literal["info", "warning", "error"]
    message: str


class LogPage(Document):
    """Part of a job's log."""

    lines: list[LogLine]
    next: int = Field(description="Give this as `after` for what comes later.")


class ResultFile(Document):
    """A file or store that a job made."""

    name: str = Field(description="Path within the job's results.")
    kind: Literal["model", "dataset", "report", "file"]
    bytes: int
    href: str = Field(description="Where to download it; a store as a tar archive.")


class ResultsDocument(Document):
    """What a job made, as far as it is."""

    id: str
    status: State
    complete: bool = Field(description="Whether this is all there will be.")
    report: dict[str, Any] | None = Field(default=None, description="Report of the run.")
    outputs: list[ResultFile] = []
    reference: str | None = Field(default=None, description="How another job points to the main output.")
    model: str | None = Field(default=None, description="NAME@VERSION under which the model was published.")
    links: list[Link] = []


class TrajectoryDocument(Document):
    """One rollout of a batch."""

    name: str
    status: Literal["waiting", "running", "finished"]
    step: int = Field(description="Steps made.")
    steps: int = Field(description="Steps in all.")
    frames: int = Field(description="Frames that can be read now.")
    summary: dict[str, Any] | None = Field(default=None, description="Drift and errors, once finished.")
    href: str = Field(description="Where its frames can be read.")


class TrajectoryList(Document):
    """The rollouts of a job, readable while it runs."""

    id: str
    status: State
    trajectories: list[TrajectoryDocument]


class ModelRequest(Request):
    """Publish the model of a finished fit."""

    name: str = Field(pattern=MODEL_NAME_PATTERN, description="Name; a new one, or one that gets a new version.")
    job: str = Field(pattern=JOB_ID_PATTERN, description="Job that fitted it.")


class ModelDocument(Document):
    """A version of a published model; it never changes."""

    name: str
    version: int
    owner: str
    job: str = Field(description="Job that fitted it.")
    digest: str = Field(description="SHA-256 over all files of the model.")
    lineage: dict[str, Any] = Field(description="Digests of the data, options, versions of the packages.")
    summary: dict[str, Any] = Field(description="Errors, ranks and conditions of the fit.")
    published_at: datetime
    reference: str = Field(description="NAME@VERSION, for a rollout or an evaluation.")
    links: list[Link] = []


class ModelList(Document):
    """Published models, the newest versions first."""

    models: list[ModelDocument]
    next: str | None = Field(default=None, description="Give this as `after` for the next page.")


class ProcessDocument(Document):
    """A process and what it takes."""

    id: str
    title: str
    inputs: dict[str, Any] = Field(description="JSON schema of the inputs.")
    links: list[Link] = []


class ProcessList(Document):
    """All processes."""

    processes: list[ProcessDocument]


class ClusterState(Document):
    """The cluster that jobs run on."""

    kind: str = Field(description="local, local-cuda or scheduler.")
    alive: bool
    workers: int = 0
    threads: int = 0
    memory_bytes: int = 0
    tasks: int = Field(default=0, description="Tasks that run now.")
    dashboard: str | None = Field(default=None, description="The Dask dashboard, where it can be reached.")
    restarts: int = Field(default=0, description="How often a local cluster was started anew.")


class Readiness(Document):
    """Whether jobs can be taken and run."""

    ready: bool
    checks: dict[str, str] = Field(description="database, storage and cluster: `ok`, or one sentence.")


class TokenRequest(Request):
    """Make a token."""

    owner: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$", description="Whose it is.")
    scopes: list[Scope] = Field(min_length=1, max_length=3, description="What it allows: read, submit, admin.")
    expires_in_days: int | None = Field(default=90, ge=1, le=3650, description="null for a token without an end.")
    queued_jobs: int | None = Field(default=None, ge=1, le=1_000_000, description="Unfinished jobs it may have.")
    running_jobs: int | None = Field(default=None, ge=1, le=1_000_000, description="Jobs it may have running.")


class TokenDocument(Document):
    """A token, without its secret."""

    id: str
    owner: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    queued_jobs: int | None = None
    running_jobs: int | None = None


class TokenSecret(TokenDocument):
    """A new token; its secret is told this once."""

    token: str


class TokenList(Document):
    """All tokens."""

    tokens: list[TokenDocument]
