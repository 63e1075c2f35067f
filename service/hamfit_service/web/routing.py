"""The routes of the web interface, and what becomes of errors on the way: a page that says what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hamfit.errors import HamfitError
from hamfit_service.api.problems import Refusal, of_hamfit_error, of_http_exception, of_refusal
from hamfit_service.api.validation import of_parameters
from hamfit_service.web.pages.cluster import ClusterPages
from hamfit_service.web.pages.jobs import JobPages
from hamfit_service.web.pages.login import LoginPages
from hamfit_service.web.pages.models import ModelPages
from hamfit_service.web.pages.submit import SubmitPages
from hamfit_service.web.site import NotSignedIn, Site
from hamfit_service.wire import Problem

if TYPE_CHECKING:
    from hamfit_service.service import Service

Handler = Callable[[Request], Awaitable[Response]]

_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Response]] = {
    Refusal: of_refusal,
    HamfitError: of_hamfit_error,
    HTTPException: of_http_exception,
    RequestValidationError: of_parameters,
}
_RAISED = tuple(_ANSWERS)


def router(service: Service) -> APIRouter:
    """All pages of a service; not part of the REST interface's document."""
    site = Site(service)
    routes = APIRouter(include_in_schema=False, route_class=_page_route(site))
    for pages in (JobPages, ModelPages, ClusterPages, SubmitPages, LoginPages):
        pages(site).add_to(routes)
    routes.add_api_route("/static/{path:path}", site.assets.serve, response_model=None)
    return routes


def _page_route(site: Site) -> type[APIRoute]:
    class PageRoute(APIRoute):
        """Answers errors with pages."""

        def get_route_handler(self) -> Any:
            """See `APIRoute.get_route_handler`."""
            handle = super().get_route_handler()

            async def handle_page(request: Request) -> Response:
                try:
                    return await handle(request)
                except NotSignedIn:
                    return _to_sign_in(request)
                except _RAISED as error:
                    return _error_page(site, request, error)

            return handle_page

    return PageRoute


def _to_sign_in(request: Request) -> Response:
    """The page for signing in, from which one comes back here."""
    if "HX-Request" in request.headers:
        return Response(None, 401, {"HX-Redirect": "/login"})
    where = "/login"
    if request.method == "GET" and request.url.path != "/":
        query = f"?{request.url.query}" if request.url.query else ""
        where = f"/login?next={quote(request.url.path + query)}"
    return RedirectResponse(where, 303)


def _error_page(site: Site, request: Request, error: Exception) -> Response:
    answer = next(_ANSWERS[base] for base in type(error).__mro__ if base in _ANSWERS)(request, error)
    problem = Problem.model_validate_json(bytes(answer.body))
    kept = {name: value for name, value in answer.headers.items() if name in ("retry-after", "allow")}
    return site.page(request, "problem.html", {"problem": problem}, status=answer.status_code, headers=kept)
