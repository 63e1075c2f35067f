"""Forms to submit jobs: one for each process, made from its inputs."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hamfit.systems import SYSTEMS
from hamfit_service.api.problems import Refusal
from hamfit_service.api.strict_json import check_kept
from hamfit_service.api.validation import checked
from hamfit_service.jobs.store import QueueFull
from hamfit_service.processes import PROCESSES, AbstractInputs, Process
from hamfit_service.service import Busy, ReferenceNotUsable
from hamfit_service.web.forms import OPTION, FormField, beside, fields_of, read_form, shown_of, values_of
from hamfit_service.web.site import Site

_OFFERED = 8
_LONGEST_KEY = 100


class SubmitPages:
    """`/submit` and `/submit/{process}`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, routes: APIRouter) -> None:
        """Add the routes."""
        routes.add_api_route("/submit", self.choose, response_model=None)
        routes.add_api_route("/submit/{name}", self.form, response_model=None)
        routes.add_api_route("/submit/{name}", self.submit, methods=["POST"], response_model=None)

    def choose(self, request: Request) -> Response:
        """Which process?"""
        self._site.identity(request, "submit")
        return self._site.page(request, "submit.html", {})

    def form(self, request: Request, name: str) -> Response:
        """The form of a process, filled in from the link that led here."""
        self._site.identity(request, "submit")
        process = _process(name)
        chosen = _system(process, request.query_params.get("system"))
        fields = fields_of(process, chosen)
        return self._page(request, process, fields, chosen, shown_of(fields, request.query_params))

    async def submit(self, request: Request, name: str) -> Response:
        """Accept the job, or show the form again with what is wrong."""
        await run_in_threadpool(self._site.identity, request, "submit")
        form = await read_form(request)
        return await run_in_threadpool(self._submit, request, _process(name), form)

    def _submit(self, request: Request, process: Process, form: FormData) -> Response:
        chosen = _system(process, str(form.get("system", "")))
        fields = fields_of(process, chosen)
        values = values_of(fields, form)
        if chosen is not None:
            options = {key.removeprefix(OPTION): value for key, value in values.items()}
            values = {"system": chosen, "options": options}
        key = _key(str(form.get("key", "")), values)
        problems: dict[str, str] = {}
        status, headers = 422, {}
        try:
            check_kept(values)
            inputs: AbstractInputs = checked(values, process.inputs)
            job, _ = self._site.service.submit(process.name, inputs, request.state.identity, idempotency_key=key)
            return RedirectResponse(f"/jobs/{job.id}", 303)
        except Refusal as refusal:
            for one in refusal.errors:
                place, message = beside(fields, one.field, self._site.redacted(one.message))
                problems.setdefault(place, message)
            if not problems:
                problems[""] = self._site.redacted(refusal.detail)
        except ReferenceNotUsable as error:
            place, message = beside(fields, error.field, self._site.redacted(str(error)))
            problems[place] = message
        except (QueueFull, Busy) as error:
            status = 429 if isinstance(error, QueueFull) else 503
            headers = {"Retry-After": "10"}
            problems[""] = self._site.redacted(str(error))
        # what was written stays, also where a box was cleared
        shown = {one.name: [str(item) for item in form.getlist(one.name)] for one in fields}
        return self._page(request, process, fields, chosen, shown, problems, status, headers)

    def _page(
        self,
        request: Request,
        process: Process,
        fields: Sequence[FormField],
        chosen: str | None,
        shown: Mapping[str, Sequence[str]],
        problems: Mapping[str, str] | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        values: dict[str, Any] = {
            "process": process,
            "first": [one for one in fields if one.first],
            "rest": [one for one in fields if not one.first],
            "shown": shown,
            "problems": problems or {},
            "labels": {one.name: one.label for one in fields},
            "system": chosen,
            "systems": SYSTEMS,
            "offered": self._offered({one.points_to for one in fields}),
            "key": secrets.token_hex(16),
        }
        return self._site.page(request, "submit_form.html", values, status=status, headers=headers)

    def _offered(self, kinds: set[str | None]) -> dict[str, list[tuple[str, str, Any]]]:
        """What was made here of late and can be pointed to: reference, what it is, when it was made."""
        found: dict[str, list[tuple[str, str, Any]]] = {"dataset": [], "model": []}
        if kinds <= {None}:
            return found
        if "model" in kinds:
            models = self._site.service.registry.page(limit=_OFFERED).models
            found["model"] += [(one.reference, "model", one.published_at) for one in models]
        for kind in sorted(kind for kind in kinds if kind is not None):
            makers = [process.name for process in PROCESSES.values() if process.kind == kind]
            for maker in makers:
                page = self._site.service.store.page(states=("succeeded",), process=maker, limit=_OFFERED)
                found[kind] += [
                    (f"job:{job.id}", _what(job.process, job.inputs), job.finished_at)
                    for job in page.jobs
                    if maker != "evaluate" or job.inputs.get("rollout")
                ]
        return {kind: sorted(items, key=lambda one: one[2], reverse=True)[:_OFFERED] for kind, items in found.items()}


def _key(drawn: str, values: Mapping[str, Any]) -> str | None:
    """A key that is the same when a form is sent twice, and another when it was changed in between."""
    if not drawn or len(drawn) > _LONGEST_KEY:
        return None
    content = json.dumps([drawn, values], sort_keys=True, default=str)
    return f"form-{hashlib.sha256(content.encode()).hexdigest()}"


def _what(process: str, inputs: Mapping[str, Any]) -> str:
    """A few words that tell one output from another."""
    about = inputs.get("system") or inputs.get("model") or inputs.get("publish")
    sources = inputs.get("data") or inputs.get("files")
    if about is None and isinstance(sources, list) and sources:
        about = str(sources[0]).rpartition("/")[2]
    return f"{process} {about}" if about else process


def _process(name: str) -> Process:
    if name not in PROCESSES:
        raise Refusal(404, f"there is no process of this name; use {', '.join(PROCESSES)}")
    return PROCESSES[name]


def _system(process: Process, asked: str | None) -> str | None:
    """The system whose options are shown; None for other processes than `simulate`."""
    if process.name != "simulate":
        return None
    return asked if asked in SYSTEMS else next(iter(SYSTEMS))
