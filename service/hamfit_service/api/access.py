"""Who asks, and whether they may: bearer tokens, the web's session cookie, and nobody in particular on loopback."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from starlette.requests import Request

from hamfit_service.api.problems import Refusal
from hamfit_service.security.tokens import LOCAL, Identity
from hamfit_service.wire import ProblemField, Scope

if TYPE_CHECKING:
    from hamfit_service.security.rates import RateLimits
    from hamfit_service.service import Service

COOKIE = "hamfit_session"
"""Name of the cookie that holds a session of the web."""

_BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]{1,512}) *")
_CHALLENGE = 'Bearer realm="hamfit"'


def token_needed(service: Service) -> bool:
    """Whether somebody without a token is refused: wherever others may come from, and once there ever was a token.

    When the last token runs out, nobody is let in instead of everybody; names in `allowed_hosts` mean that a proxy
    brings others to an address which by itself only this machine can reach.
    """
    settings = service.settings
    is_open = settings.auth == "auto" and settings.is_loopback and not settings.allowed_hosts
    return not is_open or service.tokens.any_ever()


def identify(request: Request) -> Identity | None:
    """Who asks; None when a token is needed and there is none. May ask the database: not for the event loop.

    Raises:
        Refusal: there is a token, or a session, and it is not valid (401).

    """
    service: Service = request.app.state.service
    header = request.headers.get("authorization")
    if header is not None:
        found = _BEARER.fullmatch(header)
        if found is None:
            raise _unauthorised("the header Authorization is not of the form: Bearer TOKEN", "invalid_request")
        identity = service.tokens.authenticate(found[1])
        if identity is None:
            raise _unauthorised(
                "the token is unknown, revoked or out of date; ask an administrator for a new one", "invalid_token"
            )
        return identity
    cookie = request.cookies.get(COOKIE)
    if cookie is not None and (identity := service.tokens.session(cookie)) is not None:
        return identity
    return None if token_needed(service) else LOCAL


def admit(request: Request, scope: Scope) -> Identity:
    """Who asks, once it is sure that they may and have not asked too often. Not for the event loop.

    Raises:
        Refusal: 401 without a valid token, 403 when it lacks the scope, 429 after too many requests.

    """
    try:
        identity = identify(request)
        if identity is None:
            raise _unauthorised("this service wants a token; send the header Authorization: Bearer TOKEN", None)
    except Refusal:
        # guesses are counted by address, whatever token each of them claims to be
        limit_address(request)
        raise
    if identity.token_id is None:
        limit_address(request)
    else:
        _limit(request, f"token {identity.token_id}")
    if not allows(identity, scope):
        has = ", ".join(sorted(identity.scopes))
        raise Refusal(
            403, f"this needs a token with the scope {scope}, and this one has {has}; ask an administrator for one"
        )
    return identity


def limit_address(request: Request) -> None:
    """Count a request by the address that it came from; Refusal with status 429 after too many. Asks no database."""
    _limit(request, f"address {request.client.host if request.client is not None else 'unknown'}")


def allows(identity: Identity, scope: Scope) -> bool:
    """Whether somebody has a scope; an administrator has them all."""
    return scope in identity.scopes or "admin" in identity.scopes


def _limit(request: Request, key: str) -> None:
    rates: RateLimits = request.app.state.rates
    wait = rates.allow(key)
    if wait > 0.0:
        seconds = max(1, math.ceil(wait))
        raise Refusal(
            429,
            f"too many requests from this {key.split(' ')[0]}; wait {seconds} s, and ask less often",
            headers={"Retry-After": str(seconds)},
        )


def _unauthorised(detail: str, code: str | None) -> Refusal:
    challenge = _CHALLENGE if code is None else f'{_CHALLENGE}, error="{code}"'
    field = ProblemField(field="Authorization", message=detail)
    return Refusal(401, detail, [field], {"WWW-Authenticate": challenge})
