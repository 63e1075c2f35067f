"""The list of jobs, and the page of one job with its live parts.

A live part is a piece of HTML that the page asks for again and again while the job may still change; the last answer
asks no more, and tells the page that the job has ended (`HX-Trigger`), which brings the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi import Path as PathParameter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from hamfit.errors import HamfitError
from hamfit_service.api.documents import job_document, results_document
from hamfit_service.jobs.job import Job, State
from hamfit_service.jobs.logs import read_log
from hamfit_service.processes import PROCESSES
from hamfit_service.processes.references import (
    JOB_ID_PATTERN,
    JobOutput,
    PathReference,
    PublishedModel,
    parse_reference,
)
from hamfit_service.web.forms import OPTION, read_form
from hamfit_service.web.reports import Report, report_of
from hamfit_service.web.site import Site
from hamfit_service.wire import JobDocument, LogPage, TrajectoryDocument

_PAGE = 25
_LOG_TAIL_BYTES = 48 * 1024
_LOG_LINES = 500
_TRAJECTORIES = 100
_UNDER_WAY = 20
_LONGEST_QUERY = 1500
_STATES: tuple[State, ...] = ("accepted", "running", "succeeded", "failed", "dismissed")

JobId = Annotated[str, PathParameter(pattern=JOB_ID_PATTERN)]


class JobPages:
    """`/` and `/jobs/{id}`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, routes: APIRouter) -> None:
        """Add the routes."""
        routes.add_api_route("/", self.jobs, response_model=None)
        routes.add_api_route("/jobs", self.jobs_live, response_model=None)
        at = "/jobs/{job_id}"
        routes.add_api_route(at, self.job, response_model=None)
        routes.add_api_route(f"{at}/live", self.live, response_model=None)
        routes.add_api_route(f"{at}/actions", self.actions, response_model=None)
        routes.add_api_route(f"{at}/outcome", self.outcome, response_model=None)
        routes.add_api_route(f"{at}/trajectories", self.trajectories, response_model=None)
        routes.add_api_route(f"{at}/log", self.log, response_model=None)
        routes.add_api_route(f"{at}/progress", self.progress, response_model=None)
        routes.add_api_route(f"{at}/dismiss", self.dismiss, methods=["POST"], response_model=None)
        routes.add_api_route(f"{at}/publish", self.publish, methods=["POST"], response_model=None)

    def jobs(self, request: Request) -> Response:
        """All jobs, the newest first."""
        return self._site.page(request, "jobs.html", self._page_of_jobs(request))

    def jobs_live(self, request: Request) -> Response:
        """The list alone, for those who have the page; for all others the page."""
        if "HX-Request" not in request.headers:
            return RedirectResponse("/", 303)
        return self._site.page(request, "jobs_live.html", self._page_of_jobs(request))

    def job(self, request: Request, job_id: JobId) -> Response:
        """One job with all there is to say about it."""
        self._site.identity(request)
        job = self._site.service.store.get(job_id)
        log, older = self._log_tail(job)
        values = {**self._live_values(job), **self._outcome_values(job), **self._action_values(request, job)}
        values |= {"inputs": self._inputs(job), "log": log, "older": older, "running": self._running(job)}
        return self._site.page(request, "job.html", values)

    def live(self, request: Request, job_id: JobId) -> Response:
        """State and progress."""
        self._site.identity(request)
        job = self._site.service.store.get(job_id)
        headers = {"HX-Trigger": "job-ended"} if job.is_final else {}
        return self._site.page(request, "job_live.html", self._live_values(job), headers=headers)

    def actions(self, request: Request, job_id: JobId) -> Response:
        """What can be done with the job now."""
        self._site.identity(request)
        job = self._site.service.store.get(job_id)
        return self._site.page(request, "job_actions.html", self._action_values(request, job))

    def outcome(self, request: Request, job_id: JobId) -> Response:
        """What came of the job."""
        self._site.identity(request)
        job = self._site.service.store.get(job_id)
        return self._site.page(request, "job_outcome.html", self._outcome_values(job))

    def trajectories(self, request: Request, job_id: JobId) -> Response:
        """Trajectories that are under way."""
        self._site.identity(request)
        job = self._site.service.store.get(job_id)
        values = {"job": self._document(job), "running": self._running(job)}
        return self._site.page(request, "job_trajectories.html", values)

    def log(self, request: Request, job_id: JobId) -> Response:
        """Lines of the log that came after those on the page."""
        self._site.identity(request)
        job = self._site.service.store.get(job_id)
        asked = request.query_params.get("after", "0")
        after = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 16 else 0
        page = self._redacted_log(read_log(self._site.service.folders.job(job.id).log, after, _LOG_LINES))
        return self._site.page(request, "job_log_live.html", {"job": self._document(job), "log": page})

    def progress(self, request: Request, job_id: JobId) -> Response:
        """Percent and speed over time, for the plots."""
        self._site.identity(request)
        store = self._site.service.store
        job = store.get(job_id)
        document = self._site.history.document(job, store.events(job_id))
        return JSONResponse(document, headers={"Cache-Control": "no-store"})

    def dismiss(self, request: Request, job_id: JobId) -> Response:
        """Stop the job and remove what it made."""
        identity = self._site.identity(request, "submit")
        self._site.service.dismiss(job_id, identity)
        return RedirectResponse(f"/jobs/{job_id}", 303)

    async def publish(self, request: Request, job_id: JobId) -> Response:
        """Publish the model of the job."""
        form = await read_form(request)
        return await run_in_threadpool(self._publish, request, job_id, str(form.get("name", "")).strip())

    def _publish(self, request: Request, job_id: str, name: str) -> Response:
        identity = self._site.identity(request, "submit")
        service = self._site.service
        job = service.store.get(job_id)
        service.check_owner(job, identity)
        published = service.registry.publish(name, job, identity.owner)
        return RedirectResponse(f"/models/{published.name}?version={published.version}", 303)

    def _page_of_jobs(self, request: Request) -> dict[str, Any]:
        self._site.identity(request)
        asked = request.query_params
        state = next((one for one in _STATES if one == asked.get("status")), None)
        process = asked.get("process") if asked.get("process") in PROCESSES else None
        after = asked.get("after") or None
        page = self._site.service.store.page(
            states=() if state is None else (state,), process=process, limit=_PAGE, after=after
        )
        return {
            "jobs": [self._document(job) for job in page.jobs],
            "counts": self._site.service.store.counts(),
            "next": page.next,
            "after": after,
            "state": state,
            "process": process,
            "states": _STATES,
        }

    def _document(self, job: Job) -> JobDocument:
        return job_document(job, self._site.service.confinement.redacted)

    def _live_values(self, job: Job) -> dict[str, Any]:
        phases = [name for name, _ in PROCESSES[job.process].phases]
        return {"job": self._document(job), "final": job.is_final, "phases": phases}

    def _action_values(self, request: Request, job: Job) -> dict[str, Any]:
        identity = request.state.identity
        mine = job.owner == identity.owner or "admin" in identity.scopes
        values = {"job": self._document(job), "final": job.is_final, "mine": mine}
        return {**values, "again": _again(job.inputs) if job.is_final else None}

    def _outcome_values(self, job: Job) -> dict[str, Any]:
        """Everything that is known only once the job has ended."""
        values: dict[str, Any] = {"job": self._document(job), "results": None, "report": Report(), "whole": None}
        values |= {"trajectories": [], "kind": PROCESSES[job.process].kind}
        if not job.is_final:
            return values
        service = self._site.service
        results = results_document(service.results.document(job), service.confinement.redacted)
        found = results.report
        trajectories = self._trajectories(job) if job.process == "rollout" and job.state == "succeeded" else []
        values |= {
            "results": results,
            "report": report_of(job.process, found, trajectories),
            "whole": found,
            "trajectories": trajectories[:_TRAJECTORIES],
            "all_trajectories": len(trajectories),
            "html_report": next((one.href for one in results.outputs if one.kind == "report"), None),
        }
        return values

    def _running(self, job: Job) -> dict[str, Any] | None:
        """The trajectories of a rollout under way; None when it is none."""
        runs = job.process == "rollout" or (job.process == "evaluate" and job.inputs.get("rollout"))
        if job.is_final or not runs:
            return None
        found = self._trajectories(job) if job.state == "running" else []
        # those that move first: they are what one looks for
        order = {"running": 0, "waiting": 2}
        shown = sorted(found, key=lambda one: order.get(one.status, 1))[:_UNDER_WAY]
        done = sum(one.status == "finished" for one in found)
        return {"shown": shown, "all": len(found), "finished": done}

    def _trajectories(self, job: Job) -> list[TrajectoryDocument]:
        initial: Path | None = None
        try:
            if job.process == "rollout" and not job.is_final:
                initial = self._site.service.confinement("dataset", job.inputs["initial"])
            return list(self._site.service.results.trajectories(job, initial).trajectories)
        except HamfitError:
            # none yet, or replaced this moment: the next look finds them
            return []

    def _log_tail(self, job: Job) -> tuple[LogPage, bool]:
        """The end of the log, and whether there is more before it."""
        path = self._site.service.folders.job(job.id).log
        try:
            start = max(0, path.stat().st_size - _LOG_TAIL_BYTES)
        except OSError:
            start = 0
        return self._redacted_log(read_log(path, start, _LOG_LINES)), start > 0

    def _redacted_log(self, page: LogPage) -> LogPage:
        lines = [line.model_copy(update={"message": self._site.redacted(line.message)}) for line in page.lines]
        return LogPage(lines=lines, next=page.next)

    def _inputs(self, job: Job) -> list[tuple[str, list[tuple[str, str | None]]]]:
        """What was asked: each name with its values, those that point to something here with a link."""
        defaults = {
            name: field.get_default(call_default_factory=True)
            for name, field in PROCESSES[job.process].inputs.model_fields.items()
            if not field.is_required()
        }
        rows: list[tuple[str, list[tuple[str, str | None]]]] = []
        for name, value in self._site.redacted(dict(job.inputs)).items():
            if name in defaults and _plain(value) == _plain(defaults[name]):
                continue
            if isinstance(value, dict):
                rows += [(key, [(_plain(item), None)]) for key, item in value.items()]
            else:
                items = value if isinstance(value, list) else [value]
                rows.append((name, [(_plain(item), _link(item)) for item in items]))
        return rows


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return {True: "yes", False: "no", None: "–"}[value] if value is None or isinstance(value, bool) else str(value)


def _again(inputs: Mapping[str, Any]) -> str | None:
    """The query that fills in the form with the same inputs; None where it would be too long for an address."""
    pairs: list[tuple[str, str]] = []
    for name, value in inputs.items():
        entries = {f"{OPTION}{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
        for key, item in entries.items():
            if isinstance(item, bool):
                pairs.append((key, "on" if item else ""))
            elif isinstance(item, list) and key.startswith(OPTION):
                pairs.append((key, "x".join(map(str, item))))
            elif item is not None:
                pairs += [(key, str(one)) for one in (item if isinstance(item, list) else [item])]
    query = urlencode(pairs)
    return query if len(query) <= _LONGEST_QUERY else None


def _link(value: Any) -> str | None:
    """The page of what a reference points to."""
    if not isinstance(value, str):
        return None
    try:
        found = parse_reference(value)
    except HamfitError:
        return None
    if isinstance(found, JobOutput):
        return f"/jobs/{found.job_id}"
    if isinstance(found, PublishedModel):
        return f"/models/{found.name}?version={found.version}"
    assert isinstance(found, PathReference)
    return None
