"""Bearer tokens, and the sessions of browsers that signed in with one.

A token reads ``hf_ID_SECRET``: the ID finds the row, the SECRET (256 random bits) proves that it is meant. Only the
SHA-256 of a secret is kept, which suffices for random secrets: there is no dictionary to try. What was looked up is
remembered for `REMEMBERED_SECONDS`, so that a busy client costs few queries; revoking forgets it at once in this
process, and in others when the memory ends. All methods may be called from any thread and raise `DatabaseAway`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import ColumnElement, Row, and_, delete, func, or_, select

from hamfit.errors import HamfitError, SpecError
from hamfit_service.jobs.database import Database
from hamfit_service.jobs.tables import SessionRow, TokenRow
from hamfit_service.wire import Scope, TokenDocument, TokenList, TokenRequest, TokenSecret

REMEMBERED_SECONDS = 2.0
"""How long a token revoked by another process may still be taken."""

SESSION_HOURS = 12
"""How long a browser stays signed in; never longer than its token lives."""

_REMEMBERED = 1024
_TOKEN = re.compile(r"hf_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


class TokenNotFound(HamfitError):
    """There is no token of that id."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks."""

    owner: str
    """Whose the jobs are."""
    scopes: frozenset[Scope]
    """What is allowed; `admin` allows everything (see `api.access.allows`)."""
    token_id: str | None
    """The token, where there is one."""
    queued_jobs: int | None
    """Unfinished jobs allowed; None for the service's own limit."""
    running_jobs: int | None
    """Jobs allowed to run at one time; None for the service's own limit."""


LOCAL = Identity("local", frozenset({"read", "submit", "admin"}), None, None, None)
"""Everybody, where no token is needed."""


@dataclass(frozen=True, slots=True)
class _Known:
    """An identity, and until when its token or session lives."""

    identity: Identity
    expires_at: datetime | None


T = TypeVar("T")


class _Memory(Generic[T]):
    """What was looked up a moment ago: bounded, and forgotten after `REMEMBERED_SECONDS`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, T]] = {}

    def get(self, key: str, look_up: Callable[[], T | None]) -> T | None:
        """What is remembered, or else what ``look_up`` finds; what is not found is not remembered."""
        # before looking up: what is revoked while we look must not be remembered longer
        now = time.monotonic()
        with self._lock:
            kept = self._kept.get(key)
        if kept is not None and now - kept[0] < REMEMBERED_SECONDS:
            return kept[1]
        found = look_up()
        with self._lock:
            if found is None:
                self._kept.pop(key, None)
            else:
                if len(self._kept) >= _REMEMBERED:
                    self._kept.clear()
                self._kept[key] = (now, found)
        return found

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()


class TokenStore:
    """The tokens of a service."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tokens: _Memory[_Known] = _Memory()
        self._sessions: _Memory[_Known] = _Memory()
        self._ever: _Memory[bool] = _Memory()

    def create(self, request: TokenRequest) -> TokenSecret:
        """Make a token; the answer is the only place where its secret is ever told."""
        token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        days = request.expires_in_days
        row = TokenRow(
            id=token_id,
            owner=request.owner,
            scopes=sorted(set(request.scopes)),
            secret_hash=_hash(secret),
            created_at=now,
            expires_at=None if days is None else now + timedelta(days=days),
            revoked_at=None,
            queued_jobs=request.queued_jobs,
            running_jobs=request.running_jobs,
        )
        with self._database.writing() as session:
            session.add(row)
            session.flush()
            made = _document(row)
        self._ever.clear()
        return TokenSecret(**made.model_dump(), token=f"hf_{token_id}_{secret}")

    def authenticate(self, text: str) -> Identity | None:
        """Whose token this is; None when it is none, or revoked, or out of date."""
        found = _TOKEN.fullmatch(text)
        if found is None:
            return None
        token_id, proof = found[1], _hash(found[2])
        return _living(self._tokens.get(f"{token_id} {proof}", lambda: self._prove(token_id, proof)))

    def revoke(self, token_id: str) -> TokenDocument:
        """Take a token back for good, and end its sessions; raises TokenNotFound."""
        with self._database.writing() as session:
            row = session.get(TokenRow, token_id)
            if row is None:
                raise TokenNotFound(f"there is no token {token_id}; see the list of tokens for their ids")
            row.revoked_at = row.revoked_at or datetime.now(UTC)
            session.execute(delete(SessionRow).where(SessionRow.token_id == token_id))
            session.flush()
            revoked = _document(row)
        for memory in (self._tokens, self._sessions):
            memory.clear()
        return revoked

    def all(self) -> TokenList:
        """All tokens there ever were, the newest first."""
        with self._database.reading() as connection:
            query = select(TokenRow.__table__).order_by(TokenRow.created_at.desc(), TokenRow.id)
            return TokenList(tokens=[_document(row) for row in connection.execute(query)])

    def any_ever(self) -> bool:
        """Whether there was ever a token, also one that is revoked or out of date by now; remembered like a token."""
        return self._ever.get("any", self._had_any) or False

    def any_live(self) -> bool:
        """Whether some token is neither revoked nor out of date."""
        with self._database.reading() as connection:
            return connection.scalar(select(TokenRow.id).where(_is_live_now()).limit(1)) is not None

    def running_limits(self) -> Mapping[str, int]:
        """Jobs that an owner may have running, for owners whose live tokens say so; of several the largest counts.

        A token without a number says nothing: an owner who has no other is under the service's own limit, and is left
        out here. One that is revoked or out of date says nothing either.
        """
        with self._database.reading() as connection:
            query = (
                select(TokenRow.owner, func.max(TokenRow.running_jobs))
                .where(TokenRow.running_jobs.is_not(None), _is_live_now())
                .group_by(TokenRow.owner)
            )
            return {owner: running for owner, running in connection.execute(query) if running is not None}

    def open_session(self, identity: Identity) -> str:
        """Sign a browser in; the cookie is told this once. Raises SpecError where there is no token."""
        if identity.token_id is None:
            raise SpecError("signing in needs a token; make one with `hamfit tokens create`")
        cookie, now = secrets.token_urlsafe(32), datetime.now(UTC)
        with self._database.writing() as session:
            session.execute(delete(SessionRow).where(SessionRow.expires_at <= now))
            token = session.get(TokenRow, identity.token_id)
            if token is None or not _is_live(token.expires_at, token.revoked_at, now):
                raise SpecError("the token was revoked or is out of date; ask an administrator for a new one")
            ends = now + timedelta(hours=SESSION_HOURS)
            if token.expires_at is not None:
                ends = min(ends, token.expires_at)
            session.add(
                SessionRow(secret_hash=_hash(cookie), token_id=identity.token_id, created_at=now, expires_at=ends)
            )
        return cookie

    def session(self, cookie: str) -> Identity | None:
        """Who signed in with this cookie; None when nobody did, or the session or its token has ended."""
        if _COOKIE.fullmatch(cookie) is None:
            return None
        # the hash is what is looked for: its time tells nothing of the cookies there are
        proof = _hash(cookie)
        return _living(self._sessions.get(proof, lambda: self._find_session(proof)))

    def close_session(self, cookie: str) -> None:
        """Sign a browser out; a cookie that is none is left alone."""
        if _COOKIE.fullmatch(cookie) is None:
            return
        with self._database.writing() as session:
            session.execute(delete(SessionRow).where(SessionRow.secret_hash == _hash(cookie)))
        self._sessions.clear()

    def _prove(self, token_id: str, proof: str) -> _Known | None:
        with self._database.reading() as connection:
            row = connection.execute(select(TokenRow.__table__).where(TokenRow.id == token_id)).one_or_none()
            # an id that is not there takes as long as a wrong secret
            proven = hmac.compare_digest(proof, _NOBODY if row is None else row.secret_hash)
            return _known(row, row.expires_at) if row is not None and proven else None

    def _find_session(self, proof: str) -> _Known | None:
        with self._database.reading() as connection:
            query = (
                select(TokenRow.__table__, SessionRow.expires_at.label("session_ends"))
                .join(SessionRow, SessionRow.token_id == TokenRow.id)
                .where(SessionRow.secret_hash == proof)
            )
            row = connection.execute(query).one_or_none()
            return None if row is None else _known(row, row.session_ends)

    def _had_any(self) -> bool:
        with self._database.reading() as connection:
            return connection.scalar(select(TokenRow.id).limit(1)) is not None


def _is_live_now() -> ColumnElement[bool]:
    """`_is_live` of a row, as a condition of a query."""
    return and_(
        TokenRow.revoked_at.is_(None),
        or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > datetime.now(UTC)),
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _is_live(expires_at: datetime | None, revoked_at: datetime | None, now: datetime) -> bool:
    return revoked_at is None and (expires_at is None or now < expires_at)


def _known(token: Row[Any], expires_at: datetime | None) -> _Known | None:
    """The identity of a token that was not taken back."""
    if not _is_live(token.expires_at, token.revoked_at, datetime.now(UTC)):
        return None
    scopes = frozenset(cast(list[Scope], token.scopes))
    return _Known(Identity(token.owner, scopes, token.id, token.queued_jobs, token.running_jobs), expires_at)


def _living(known: _Known | None) -> Identity | None:
    """The identity, unless its time has come since it was looked up."""
    return known.identity if known is not None and _is_live(known.expires_at, None, datetime.now(UTC)) else None


def _document(row: TokenRow | Row[Any]) -> TokenDocument:
    return TokenDocument(
        id=row.id,
        owner=row.owner,
        scopes=cast(list[Scope], row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        queued_jobs=row.queued_jobs,
        running_jobs=row.running_jobs,
    )
