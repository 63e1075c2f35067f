"""What all pages share: the service, the templates, who looks, and how a page or a piece of one is answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from hamfit import __version__
from hamfit_service.api.access import COOKIE, admit, allows, token_needed
from hamfit_service.api.documents import redacted
from hamfit_service.api.problems import Refusal
from hamfit_service.processes import PROCESSES
from hamfit_service.web import formatting
from hamfit_service.web.assets import Assets
from hamfit_service.web.history import ProgressHistory

if TYPE_CHECKING:
    from hamfit_service.security.tokens import Identity
    from hamfit_service.service import Service
    from hamfit_service.wire import Scope

_HEADERS = {
    "Cache-Control": "no-store",
    # with no-referrer browsers send forms with "Origin: null", which is refused as foreign
    "Referrer-Policy": "same-origin",
}


class NotSignedIn(Exception):
    """A page is asked for without a session, where one is needed."""


class Site:
    """The pages of one service. Safe in threads."""

    def __init__(self, service: Service) -> None:
        """Read templates and static files, and begin to remember the progress of jobs."""
        self.service = service
        self.assets = Assets()
        self.history = ProgressHistory()
        service.store.listen(self.history)
        self._templates = Environment(
            loader=PackageLoader("hamfit_service.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            name: getattr(formatting, name)
            for name in ("number", "rate", "size", "duration", "age", "clock", "counted")
        }
        self._templates.filters["json"] = _json
        self._templates.globals |= {"asset": self.assets.url, "version": __version__, "processes": PROCESSES}

    def identity(self, request: Request, scope: Scope = "read") -> Identity:
        """Who looks; kept for the templates.

        Raises:
            NotSignedIn: a session is needed and there is none.
            Refusal: the session does not allow this, or asks too often.

        """
        try:
            found = admit(request, scope)
        except Refusal as refusal:
            if refusal.status == 401:
                raise NotSignedIn from refusal
            raise
        request.state.identity = found
        return found

    def redacted(self, value: Any) -> Any:
        """A value whose texts hold no paths of the server."""
        return redacted(value, self.service.confinement.redacted)

    def page(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        """A template as an answer; a whole page or a piece of one."""
        identity: Identity | None = getattr(request.state, "identity", None)
        shared = {
            "path": request.url.path,
            "identity": identity,
            "signed_in": COOKIE in request.cookies and identity is not None and identity.token_id is not None,
            "may_submit": identity is not None and allows(identity, "submit"),
        }
        text = self._templates.get_template(template).render(**shared, **values)
        return HTMLResponse(text, status, {**_HEADERS, **(headers or {})})

    def sign_in_needed(self) -> bool:
        """Whether nobody looks without a token."""
        return token_needed(self.service)


def _json(value: Any, indent: int | None = None) -> str:
    """JSON as text, which the template escapes like all other text."""
    return json.dumps(value, indent=indent, ensure_ascii=False)
