"""The page of the cluster: whether it lives, and what it has."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from hamfit_service.web.site import Site


class ClusterPages:
    """`/cluster`, and its live part."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, routes: APIRouter) -> None:
        """Add the routes."""
        routes.add_api_route("/cluster", self.cluster, response_model=None)
        routes.add_api_route("/cluster/live", self.live, response_model=None)

    async def cluster(self, request: Request) -> Response:
        """The page."""
        return await self._answer(request, "cluster.html")

    async def live(self, request: Request) -> Response:
        """The part that is asked for again and again."""
        return await self._answer(request, "cluster_live.html")

    async def _answer(self, request: Request, template: str) -> Response:
        await run_in_threadpool(self._site.identity, request)
        service = self._site.service
        state = await service.cluster.state()
        readiness = await service.readiness()
        counts = await run_in_threadpool(service.store.counts)
        dashboard = state.dashboard
        if dashboard is not None and urlsplit(dashboard).scheme not in ("http", "https"):
            dashboard = None
        values = {"state": state, "dashboard": dashboard, "readiness": readiness, "counts": counts}
        return await run_in_threadpool(self._site.page, request, template, values)
