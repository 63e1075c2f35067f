"""Who may do what: every operation of the published interface with every kind of caller."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from api_server import served, settings_for
from sqlalchemy import update

from hamfit_service.api.access import COOKIE
from hamfit_service.jobs.tables import TokenRow
from hamfit_service.security.tokens import TokenStore
from hamfit_service.service import Service
from hamfit_service.wire import Scope, TokenRequest

ABSENT = "0123456789abcdef"
JOB = f"/v1/jobs/{ABSENT}"
SIMULATION = {"system": "spring"}


@dataclass(frozen=True)
class Operation:
    """An operation, the scope that it needs, and its status once it is allowed."""

    method: str
    path: str
    scope: Scope
    status: int
    body: Any = None


OPERATIONS = (
    Operation("GET", "/v1/processes", "read", 200),
    Operation("GET", "/v1/processes/fit", "read", 200),
    Operation("POST", "/v1/processes/fit/execution", "submit", 422, {}),
    Operation("POST", "/v1/processes/rollout/execution", "submit", 422, {}),
    Operation("POST", "/v1/processes/evaluate/execution", "submit", 422, {}),
    Operation("POST", "/v1/processes/ingest/execution", "submit", 422, {}),
    Operation("POST", "/v1/processes/simulate/execution", "submit", 201, SIMULATION),
    Operation("GET", "/v1/jobs", "read", 200),
    Operation("GET", JOB, "read", 404),
    Operation("DELETE", JOB, "submit", 404),
    Operation("GET", f"{JOB}/logs", "read", 404),
    Operation("GET", f"{JOB}/results", "read", 404),
    Operation("GET", f"{JOB}/results/files/model", "read", 404),
    Operation("GET", f"{JOB}/results/trajectories", "read", 404),
    Operation("GET", f"{JOB}/results/trajectories/run", "read", 404),
    Operation("GET", f"{JOB}/events", "read", 404),
    Operation("GET", "/v1/models", "read", 200),
    Operation("POST", "/v1/models", "submit", 404, {"name": "liquid", "job": ABSENT}),
    Operation("GET", "/v1/models/liquid", "read", 404),
    Operation("GET", "/v1/models/liquid/1", "read", 404),
    Operation("GET", "/v1/models/liquid/1/files", "read", 404),
    Operation("GET", "/v1/tokens", "admin", 200),
    Operation("POST", "/v1/tokens", "admin", 201, {"owner": "eve", "scopes": ["read"]}),
    Operation("DELETE", "/v1/tokens/abc", "admin", 404),
    Operation("GET", "/v1/cluster", "read", 200),
    Operation("GET", "/metrics", "read", 200),
)
OPEN = ("/healthz", "/readyz", "/openapi.json")
SCOPES: tuple[Scope, ...] = ("read", "submit", "admin")


@dataclass(frozen=True)
class World:
    service: Service
    client: httpx.Client
    tokens: dict[str, str]


def token(service: Service, *scopes: Scope, owner: str = "ada") -> str:
    return service.tokens.create(TokenRequest(owner=owner, scopes=list(scopes))).token


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    service = Service.create(settings_for(tmp_path_factory.mktemp("authentication"), auth="required"))
    try:
        with served(service) as client:
            yield World(service, client, {scope: token(service, scope) for scope in SCOPES})
    finally:
        service.close()


def ask(client: httpx.Client, operation: Operation, headers: dict[str, str]) -> httpx.Response:
    return client.request(operation.method, operation.path, json=operation.body, headers=headers)


def named(operation: Operation) -> str:
    return f"{operation.method}{operation.path}".replace("/", "-")


def test_the_table_holds_every_operation_that_is_published(world: World) -> None:
    paths = world.client.get("/openapi.json").json()["paths"]
    published = {(method.upper(), path) for path, item in paths.items() for method in item if path not in OPEN}
    # its answer has no end, and is asked for in the tests of streams
    published -= {("GET", "/v1/events")}
    assert len(OPERATIONS) == len(published)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_a_token_does_what_its_scope_allows_and_no_more(world: World, operation: Operation, scope: Scope) -> None:
    answer = ask(world.client, operation, bearer(world.tokens[scope]))
    allowed = scope in (operation.scope, "admin")
    assert answer.status_code == (operation.status if allowed else 403), answer.text
    if not allowed:
        assert f"scope {operation.scope}" in answer.json()["detail"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
@pytest.mark.parametrize(
    ("header", "says"),
    [
        (None, "Authorization: Bearer TOKEN"),
        ("Bearer hf_0123456789abcdef_" + "A" * 43, "unknown"),
        ("Bearer nonsense", "unknown"),
        ("Bearer", "Bearer TOKEN"),
        ("Basic YWRhOmFkYQ==", "Bearer TOKEN"),
        ("", "Bearer TOKEN"),
    ],
    ids=["none", "unknown", "nonsense", "empty", "basic", "blank"],
)
def test_without_a_valid_token_nothing_is_told(
    world: World, operation: Operation, header: str | None, says: str
) -> None:
    answer = ask(world.client, operation, {} if header is None else {"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert says in answer.json()["detail"]
    assert answer.json()["errors"][0]["field"] == "Authorization"


@pytest.mark.parametrize("path", OPEN)
def test_health_and_the_interface_itself_need_no_token(world: World, path: str) -> None:
    # without a cluster the service is not ready, and says so to everybody
    assert world.client.get(path).status_code == (503 if path == "/readyz" else 200)


def test_the_bearer_scheme_is_read_in_any_case(world: World) -> None:
    headers = {"Authorization": f"bEaReR {world.tokens['read']}"}
    assert world.client.get("/v1/jobs", headers=headers).status_code == 200


def test_a_revoked_token_is_refused_within_five_seconds(world: World) -> None:
    revoked = token(world.service, "read")
    assert world.client.get("/v1/jobs", headers=bearer(revoked)).status_code == 200
    token_id = revoked.split("_")[1]
    gone = world.client.delete(f"/v1/tokens/{token_id}", headers=bearer(world.tokens["admin"]))
    assert gone.json()["revoked_at"] is not None
    began = time.monotonic()
    while world.client.get("/v1/jobs", headers=bearer(revoked)).status_code == 200:
        assert time.monotonic() - began < 5.0


def test_a_token_made_over_http_works_and_is_told_once(world: World) -> None:
    asked = {"owner": "grace", "scopes": ["read"], "expires_in_days": 1}
    made = world.client.post("/v1/tokens", json=asked, headers=bearer(world.tokens["admin"])).json()
    assert world.client.get("/v1/jobs", headers=bearer(made["token"])).status_code == 200
    listed = world.client.get("/v1/tokens", headers=bearer(world.tokens["admin"]))
    assert made["id"] in listed.text
    assert made["token"].split("_", 2)[2] not in listed.text


def test_only_the_owner_or_an_administrator_dismisses(world: World) -> None:
    theirs, mine, admin = (
        token(world.service, "submit", owner="bob"),
        token(world.service, "submit", owner="ada"),
        world.tokens["admin"],
    )
    for allowed in (theirs, admin):
        posted = world.client.post("/v1/processes/simulate/execution", json=SIMULATION, headers=bearer(theirs))
        path = posted.headers["location"]
        refused = world.client.delete(path, headers=bearer(mine))
        assert refused.status_code == 403
        assert "belongs to bob" in refused.json()["detail"]
        assert world.client.delete(path, headers=bearer(allowed)).json()["status"] == "dismissed"


def test_the_session_of_a_browser_counts_as_its_token(world: World) -> None:
    identity = world.service.tokens.authenticate(world.tokens["read"])
    assert identity is not None
    cookie = world.service.tokens.open_session(identity)
    headers = {"Cookie": f"{COOKIE}={cookie}"}
    assert world.client.get("/v1/jobs", headers=headers).status_code == 200
    assert world.client.get("/v1/tokens", headers=headers).status_code == 403
    world.service.tokens.close_session(cookie)
    assert world.client.get("/v1/jobs", headers=headers).status_code == 401


def test_a_wrong_token_is_refused_even_where_none_is_needed(client: httpx.Client) -> None:
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/jobs", headers=bearer("hf_0123456789abcdef_" + "A" * 43)).status_code == 401


def test_on_loopback_a_token_is_needed_once_there_is_one(client: httpx.Client) -> None:
    made = client.post("/v1/tokens", json={"owner": "ada", "scopes": ["admin"]}).json()
    assert client.get("/v1/jobs").status_code == 401
    assert client.get("/v1/jobs", headers=bearer(made["token"])).status_code == 200


def _revoke(service: Service, token_id: str) -> None:
    service.tokens.revoke(token_id)


def _let_it_run_out(service: Service, token_id: str) -> None:
    with service.database.writing() as session:
        session.execute(update(TokenRow).where(TokenRow.id == token_id).values(expires_at=datetime.now(UTC)))


@pytest.mark.parametrize("end", [_revoke, _let_it_run_out])
def test_when_the_last_token_ends_on_loopback_nobody_is_let_in(
    client: httpx.Client, service: Service, end: Callable[[Service, str], None]
) -> None:
    made = client.post("/v1/tokens", json={"owner": "ada", "scopes": ["admin"], "expires_in_days": 1}).json()
    end(service, made["id"])
    # a service begun anew remembers nothing
    for tokens in (service.tokens, TokenStore(service.database)):
        service.tokens = tokens
        assert not tokens.any_live()
        assert [client.get(path).status_code for path in ("/v1/jobs", "/v1/tokens")] == [401, 401]
        assert client.get("/", follow_redirects=False).headers["location"] == "/login"


def test_a_service_that_is_called_by_another_name_needs_a_token(make_service: Callable[..., Service]) -> None:
    with served(make_service(allowed_hosts=("fits.example.org",))) as client:
        answers = [client.get("/v1/jobs", headers=headers) for headers in ({}, {"Host": "fits.example.org"})]
    assert [answer.status_code for answer in answers] == [401, 401]


def test_too_many_requests_are_told_when_to_come_back(make_service: Callable[..., Service]) -> None:
    with served(make_service(requests_per_second=2.0)) as client:
        answers = [client.get("/v1/jobs") for _ in range(12)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert answers[0].status_code == 200
        assert refused
        assert int(refused[-1].headers["retry-after"]) >= 1
        assert "wait" in refused[-1].json()["detail"]
        # whether it lives can be asked all the same
        assert client.get("/healthz").status_code == 200


def test_guesses_of_one_address_are_limited_whatever_they_claim(make_service: Callable[..., Service]) -> None:
    with served(make_service(auth="required", requests_per_second=2.0)) as client:
        statuses = [client.get("/v1/jobs", headers=bearer(f"hf_{k:016x}_" + "A" * 43)).status_code for k in range(12)]
    assert set(statuses) == {401, 429}
