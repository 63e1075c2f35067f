"""The pages of published models."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hamfit_service.web.reports import model_facts
from hamfit_service.web.site import Site

_PAGE = 50
_VERSIONS = 200


class ModelPages:
    """`/models` and `/models/{name}`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, routes: APIRouter) -> None:
        """Add the routes."""
        routes.add_api_route("/models", self.models, response_model=None)
        routes.add_api_route("/models/{name}", self.model, response_model=None)

    def models(self, request: Request) -> Response:
        """All models, the newest versions first."""
        self._site.identity(request)
        after = request.query_params.get("after") or None
        found = self._site.service.registry.page(limit=_PAGE, after=after)
        values = {"models": self._site.redacted(found.model_dump()), "after": after}
        return self._site.page(request, "models.html", values)

    def model(self, request: Request, name: str) -> Response:
        """One model: its newest version, or the one asked for, and all others."""
        self._site.identity(request)
        asked = request.query_params.get("version", "")
        version = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else None
        registry = self._site.service.registry
        shown = self._site.redacted(registry.get(name, version).model_dump())
        versions = self._site.redacted(registry.page(name=name, limit=_VERSIONS).model_dump())["models"]
        values = {"model": shown, "versions": versions, "report": model_facts(shown)}
        return self._site.page(request, "model.html", values)
