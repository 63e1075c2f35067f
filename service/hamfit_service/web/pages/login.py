"""Signing in with a token, and out again.

The token becomes a session: a cookie that scripts cannot read and that other sites' requests do not carry. The token
itself is neither kept nor sent back.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from hamfit_service.api.access import COOKIE, limit_address
from hamfit_service.web.forms import read_form
from hamfit_service.web.site import Site

_LONGEST_TOKEN = 512


class LoginPages:
    """`/login` and `/logout`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, routes: APIRouter) -> None:
        """Add the routes."""
        routes.add_api_route("/login", self.form, response_model=None)
        routes.add_api_route("/login", self.sign_in, methods=["POST"], response_model=None)
        routes.add_api_route("/logout", self.sign_out, methods=["POST"], response_model=None)

    def form(self, request: Request) -> Response:
        """The form."""
        return self._page(request, request.query_params.get("next", "/"), None, 200)

    async def sign_in(self, request: Request) -> Response:
        """Exchange a token for a session."""
        limit_address(request)
        form = await read_form(request)
        token = str(form.get("token", "")).strip()
        return await run_in_threadpool(self._sign_in, request, token, str(form.get("next", "/")))

    def _sign_in(self, request: Request, token: str, where: str) -> Response:
        tokens = self._site.service.tokens
        identity = tokens.authenticate(token) if 0 < len(token) <= _LONGEST_TOKEN else None
        if identity is None:
            problem = "This token is unknown, revoked or out of date; ask an administrator for a new one."
            return self._page(request, where, problem, 401)
        answer = RedirectResponse(local_path(where), 303)
        answer.set_cookie(
            COOKIE,
            tokens.open_session(identity),
            path="/",
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    def sign_out(self, request: Request) -> Response:
        """End the session."""
        limit_address(request)
        cookie = request.cookies.get(COOKIE)
        if cookie is not None:
            self._site.service.tokens.close_session(cookie)
        answer = RedirectResponse("/login" if self._site.sign_in_needed() else "/", 303)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
        return answer

    def _page(self, request: Request, where: str, problem: str | None, status: int) -> Response:
        values = {"next": local_path(where), "problem": problem, "needed": self._site.sign_in_needed()}
        return self._site.page(request, "login.html", values, status=status)


def local_path(where: str) -> str:
    """``where`` if it is a path of this site, else the first page: a link must not lead elsewhere after signing in."""
    try:
        parts = urlsplit(where)
    except ValueError:
        return "/"
    is_local = not parts.scheme and not parts.netloc and where.startswith("/") and not where.startswith("//")
    return where if is_local and "\\" not in where and where.isprintable() else "/"
