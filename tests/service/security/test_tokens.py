"""Tokens and sessions: only the whole text of a live token is taken, and what is taken back ends within seconds."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts import Parts
from pydantic import ValidationError
from sqlalchemy import select

from hamfit.errors import SpecError
from hamfit_service.jobs.database import DatabaseAway
from hamfit_service.jobs.tables import SessionRow, TokenRow
from hamfit_service.security.tokens import LOCAL, Identity, TokenNotFound, TokenStore
from hamfit_service.wire import Scope, TokenRequest, TokenSecret

ONE_PARTS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)


def make(parts: Parts, *scopes: Scope, owner: str = "ann", days: int | None = 90) -> TokenSecret:
    return parts.tokens.create(TokenRequest(owner=owner, scopes=list(scopes or ("read",)), expires_in_days=days))


def end(parts: Parts, token_id: str, at: datetime) -> None:
    """Give a token another end, as another process would."""
    with parts.database.writing() as session:
        row = session.get(TokenRow, token_id)
        assert row is not None
        row.expires_at = at


def becomes(check: Callable[[], bool], within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.02)
    return check()


def test_a_token_is_its_owner_with_its_scopes_and_limits(parts: Parts) -> None:
    request = TokenRequest(owner="ann@lab", scopes=["submit", "read", "read"], queued_jobs=7, running_jobs=3)
    made = parts.tokens.create(request)
    assert parts.tokens.authenticate(made.token) == Identity("ann@lab", frozenset({"read", "submit"}), made.id, 7, 3)
    assert made.scopes == ["read", "submit"]


@pytest.mark.parametrize("scope", ["read", "submit", "admin"])
def test_a_token_has_the_scopes_it_was_given_and_no_other(parts: Parts, scope: Scope) -> None:
    identity = parts.tokens.authenticate(make(parts, scope).token)
    assert identity is not None
    assert identity.scopes == {scope}


@pytest.mark.parametrize("owner", ["", " ann", "ann\n", "../ann", "a" * 101, "<b>"])
def test_an_owner_that_is_no_name_is_refused(owner: str) -> None:
    with pytest.raises(ValidationError):
        TokenRequest(owner=owner, scopes=["read"])


def test_a_secret_is_in_no_file(parts: Parts) -> None:
    made = make(parts)
    cookie = parts.tokens.open_session(Identity("ann", frozenset(), made.id, None, None))
    secret = made.token.rpartition(made.id + "_")[2]
    assert len(secret) == 43  # 256 bits
    kept = b"".join(path.read_bytes() for path in parts.folders.root.iterdir() if path.is_file())
    assert made.id.encode() in kept
    assert secret.encode() not in kept
    assert cookie.encode() not in kept
    assert secret not in parts.tokens.all().model_dump_json()


def test_two_tokens_are_never_the_same(parts: Parts) -> None:
    assert len({make(parts).token for _ in range(20)}) == 20


def _altered(text: str) -> st.SearchStrategy[str]:
    """Texts near a token: one character other, cut, grown, in other case, with other parts."""
    token_id, secret = text[3:19], text[20:]
    places = st.integers(0, len(text) - 1)
    return st.one_of(
        st.builds(lambda at, c: text[:at] + c + text[at + 1 :], places, st.characters()),
        st.builds(lambda at: text[:at], places),
        st.builds(lambda at: text[at:], st.integers(1, len(text))),
        st.builds(lambda c: text + c, st.text(min_size=1, max_size=3)),
        st.builds(lambda c: c + text, st.text(min_size=1, max_size=3)),
        st.builds(lambda s: f"hf_{token_id}_{s}", st.from_regex(r"[A-Za-z0-9_-]{43}", fullmatch=True)),
        st.builds(lambda i: f"hf_{i}_{secret}", st.from_regex(r"[0-9a-f]{16}", fullmatch=True)),
        st.sampled_from(
            [text.upper(), text.swapcase(), f"{text}\n", f" {text}", f"{text}=", f"hf_{secret}_{token_id}"]
        ),
        st.text(max_size=200),
        st.from_regex(r"hf_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", fullmatch=True),
    )


@ONE_PARTS
@given(data=st.data())
def test_no_text_but_the_token_itself_authenticates(parts: Parts, data: st.DataObject) -> None:
    known = parts.tokens.all().tokens
    text = _TOKENS.get(known[0].id, "") if known else ""
    if not text:
        made = make(parts, "admin")
        text = _TOKENS[made.id] = made.token
    assert parts.tokens.authenticate(text) is not None
    guess = data.draw(_altered(text))
    if guess != text:
        assert parts.tokens.authenticate(guess) is None
        assert parts.tokens.session(guess) is None


_TOKENS: dict[str, str] = {}


def test_a_revoked_token_is_refused_at_once_and_stays_in_the_list(parts: Parts) -> None:
    made, other = make(parts), make(parts, owner="bob")
    assert parts.tokens.authenticate(made.token) is not None
    revoked = parts.tokens.revoke(made.id)
    assert revoked.revoked_at is not None
    assert parts.tokens.authenticate(made.token) is None
    assert parts.tokens.authenticate(other.token) is not None
    assert parts.tokens.revoke(made.id) == revoked
    assert {token.id: token.revoked_at is None for token in parts.tokens.all().tokens} == {
        made.id: False,
        other.id: True,
    }


def test_a_token_revoked_by_another_process_is_refused_within_five_seconds(parts: Parts) -> None:
    made = make(parts)
    identity = parts.tokens.authenticate(made.token)
    assert identity is not None
    cookie = parts.tokens.open_session(identity)
    assert parts.tokens.session(cookie) is not None
    assert parts.tokens.any_live()
    TokenStore(parts.database).revoke(made.id)
    # asked all the time, so that what is remembered could live on
    assert becomes(
        lambda: (
            parts.tokens.authenticate(made.token) is None
            and parts.tokens.session(cookie) is None
            and not parts.tokens.any_live()
        ),
        within=5.0,
    )
    assert parts.tokens.any_ever()


def test_a_token_made_by_another_process_is_asked_for_within_five_seconds(parts: Parts) -> None:
    assert not parts.tokens.any_ever()
    assert not parts.tokens.any_live()
    made = TokenStore(parts.database).create(TokenRequest(owner="ann", scopes=["read"]))
    assert parts.tokens.authenticate(made.token) is not None
    assert becomes(parts.tokens.any_ever, within=5.0)


def test_a_token_out_of_date_is_refused_to_the_second_also_while_it_is_remembered(parts: Parts) -> None:
    made = make(parts)
    end(parts, made.id, datetime.now(UTC) + timedelta(seconds=0.3))
    assert parts.tokens.authenticate(made.token) is not None
    assert becomes(lambda: parts.tokens.authenticate(made.token) is None, within=0.8)
    store = TokenStore(parts.database)
    assert not store.any_live()
    assert store.any_ever()


def test_only_live_tokens_say_how_many_jobs_may_run_and_of_their_numbers_the_largest_counts(parts: Parts) -> None:
    def limited(owner: str, running_jobs: int | None) -> str:
        asked = TokenRequest(owner=owner, scopes=["submit"], running_jobs=running_jobs)
        return parts.tokens.create(asked).id

    for number in (3, 7, 5, None):
        limited("ann", number)
    revoked, late = limited("ann", 11), limited("ann", 13)
    parts.tokens.revoke(revoked)
    end(parts, late, datetime.now(UTC))
    # nothing is left of bob's, and dora's never said anything: both are under the service's own limit
    end(parts, limited("bob", 2), datetime.now(UTC))
    limited("dora", None)
    end(parts, limited("eve", 17), datetime.now(UTC) + timedelta(hours=1))
    assert parts.tokens.running_limits() == {"ann": 7, "eve": 17}


def test_a_token_without_an_end_has_none(parts: Parts) -> None:
    assert make(parts, days=None).expires_at is None
    made = make(parts, days=1)
    assert made.expires_at is not None
    assert made.expires_at - made.created_at == timedelta(days=1)


def test_an_unknown_token_cannot_be_revoked(parts: Parts) -> None:
    with pytest.raises(TokenNotFound, match="there is no token 0123456789abcdef"):
        parts.tokens.revoke("0123456789abcdef")


def test_a_session_is_its_token_until_it_is_closed(parts: Parts) -> None:
    identity = parts.tokens.authenticate(make(parts, "read", "submit").token)
    assert identity is not None
    cookie, other = parts.tokens.open_session(identity), parts.tokens.open_session(identity)
    assert parts.tokens.session(cookie) == identity
    parts.tokens.close_session(cookie)
    assert parts.tokens.session(cookie) is None
    assert parts.tokens.session(other) == identity
    parts.tokens.close_session(cookie)


def test_a_session_is_no_token_and_a_token_no_session(parts: Parts) -> None:
    made = make(parts)
    identity = parts.tokens.authenticate(made.token)
    assert identity is not None
    cookie = parts.tokens.open_session(identity)
    assert parts.tokens.authenticate(cookie) is None
    assert parts.tokens.authenticate(f"hf_{made.id}_{cookie}") is None
    assert parts.tokens.session(made.token) is None
    assert parts.tokens.session(made.token.rpartition(made.id + "_")[2]) is None


def test_a_session_never_outlives_its_token(parts: Parts) -> None:
    made = make(parts)
    identity = parts.tokens.authenticate(made.token)
    assert identity is not None
    end(parts, made.id, datetime.now(UTC) + timedelta(seconds=0.3))
    cookie = parts.tokens.open_session(identity)
    assert parts.tokens.session(cookie) is not None
    assert becomes(lambda: parts.tokens.session(cookie) is None, within=0.8)
    with pytest.raises(SpecError, match="revoked or is out of date"):
        parts.tokens.open_session(identity)


def test_signing_in_needs_a_token_that_lives(parts: Parts) -> None:
    with pytest.raises(SpecError, match="signing in needs a token"):
        parts.tokens.open_session(LOCAL)
    made = make(parts)
    identity = parts.tokens.authenticate(made.token)
    assert identity is not None
    parts.tokens.revoke(made.id)
    with pytest.raises(SpecError, match="revoked"):
        parts.tokens.open_session(identity)


def test_sessions_that_ended_are_removed(parts: Parts) -> None:
    identity = parts.tokens.authenticate(make(parts).token)
    assert identity is not None
    parts.tokens.open_session(identity)
    with parts.database.writing() as session:
        for row in session.query(SessionRow):
            row.expires_at = datetime.now(UTC)
    parts.tokens.open_session(identity)
    with parts.database.reading() as connection:
        assert len(connection.execute(select(SessionRow.secret_hash)).all()) == 1


@pytest.mark.parametrize("cookie", ["", "x", "a" * 43, "a" * 100_000, "ä" * 43, "\ud800" * 43, "a" * 42 + "\n"])
def test_a_cookie_that_is_none_signs_nobody_in(parts: Parts, cookie: str) -> None:
    assert parts.tokens.session(cookie) is None
    parts.tokens.close_session(cookie)


def test_many_threads_authenticate_at_once(parts: Parts) -> None:
    tokens = [make(parts, owner=f"owner{number}") for number in range(5)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: parts.tokens.authenticate(tokens[number % 5].token), range(400)))
    assert [identity.owner for identity in found if identity is not None] == [f"owner{n % 5}" for n in range(400)]


def test_a_database_that_is_away_refuses_and_does_not_let_in(tmp_path: Path) -> None:
    away = Parts.at(tmp_path)
    made = make(away)
    store = TokenStore(away.database)
    away.database.close()
    (away.folders.root / "hamfit.sqlite").unlink()
    (away.folders.root / "hamfit.sqlite").mkdir()
    for ask in (lambda: store.authenticate(made.token), store.any_live, store.any_ever):
        with pytest.raises(DatabaseAway):
            ask()


def test_nothing_but_hashes_can_be_read_from_the_tables(parts: Parts) -> None:
    made = make(parts)
    with sqlite3.connect(parts.folders.root / "hamfit.sqlite") as connection:
        rows = connection.execute("SELECT secret_hash FROM tokens").fetchall()
    connection.close()
    assert [len(row[0]) for row in rows] == [64]
    # a stolen hash is no secret
    assert parts.tokens.authenticate(f"hf_{made.id}_{rows[0][0][:43]}") is None
