"""What a client does when the network or the server fails: once and only once, or never, and always said."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from doubles import JOB, Script, events, job, problem

from hamfit.errors import HamfitError, SpecError
from hamfit_service import client as public
from hamfit_service.client import (
    AsyncClient,
    BadAnswer,
    Busy,
    Client,
    Conflict,
    JobFailed,
    NotAllowed,
    NotFound,
    Refused,
    ServerAway,
    ServerError,
    StillRunning,
    Unauthorised,
    watching,
)
from hamfit_service.client import requests as client_requests
from hamfit_service.client.connection import Server, translated
from hamfit_service.client.effects import Unreachable
from hamfit_service.client.events import EventParser
from hamfit_service.processes.fit import FitInputs
from hamfit_service.wire import TokenRequest

INPUTS = FitInputs(data=("seen.zarr",))
ID = JOB["id"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are chosen here, not by servers, are short."""
    monkeypatch.setattr(client_requests, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 0.001)


def client(script: Script, **options: Any) -> Client:
    return Client("http://server", transport=script, **{"retry_seconds": 5.0, **options})


def test_a_submission_whose_answer_is_lost_is_sent_again_with_the_same_key() -> None:
    script = Script(httpx.ReadError("reset"), httpx.ReadTimeout("late"), job(status="accepted"))
    with client(script) as server:
        assert server.submit(INPUTS).id == ID
    keys = {request.headers["idempotency-key"] for request in script.seen}
    assert len(script.seen) == 3
    assert len(keys) == 1
    assert len({request.content for request in script.seen}) == 1


def test_two_submissions_have_keys_of_their_own_and_a_given_key_is_kept() -> None:
    script = Script(job())
    with client(script) as server:
        for key in (None, None, "mine"):
            server.submit(INPUTS, idempotency_key=key)
    first, second, third = (request.headers["idempotency-key"] for request in script.seen)
    assert first != second
    assert third == "mine"


def test_a_key_that_no_header_can_hold_is_refused_here() -> None:
    with client(Script(job())) as server, pytest.raises(SpecError, match="idempotency key"):
        server.submit(INPUTS, idempotency_key="clé")


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    script = Script(problem(status, "later", **{"retry-after": "3"}), job())
    with client(script) as server:
        assert server.job(ID).status == "running"
    assert slept == [3.0]


def test_a_server_that_stays_busy_is_left_alone_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    script = Script(problem(429, "200 jobs wait; wait for one", **{"retry-after": "3600"}))
    with client(script) as server, pytest.raises(Busy, match=r"^200 jobs wait; wait for one$") as caught:
        server.submit(INPUTS)
    assert len(script.seen) == 1
    assert caught.value.retry_after_seconds == 3600.0


def test_a_server_that_is_not_there_is_said_after_the_patience() -> None:
    script = Script(httpx.ConnectError("refused"))
    with client(script, retry_seconds=0.05) as server, pytest.raises(ServerAway, match="http://server does not answer"):
        server.jobs().__next__()
    assert len(script.seen) > 1


def test_a_token_is_not_made_twice_when_the_answer_is_lost() -> None:
    request = TokenRequest(owner="ada", scopes=["read"])
    script = Script(httpx.ReadError("reset"), job())
    with client(script) as server, pytest.raises(ServerAway):
        server.create_token(request)
    assert len(script.seen) == 1
    # where nothing was sent, nothing can happen twice
    made = {"id": "a", "owner": "ada", "scopes": ["read"], "created_at": "2026-01-01T00:00:00Z", "token": "hf_a_b"}
    script = Script(httpx.ConnectError("refused"), httpx.Response(201, json=made))
    with client(script) as server:
        assert server.create_token(request).token == "hf_a_b"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, Unauthorised),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (413, Refused),
        (415, Refused),
        (422, Refused),
        (500, ServerError),
    ],
)
def test_each_status_is_an_error_of_its_own_with_the_fields_that_are_wrong(
    status: int, kind: type[ServerError]
) -> None:
    wrong = [{"field": "cutoff", "message": "cannot be negative"}]
    script = Script(problem(status, "the inputs cannot be", wrong))
    with client(script) as server, pytest.raises(kind) as caught:
        server.submit(INPUTS)
    assert type(caught.value) is kind
    assert isinstance(caught.value, HamfitError)
    assert str(caught.value) == "the inputs cannot be; cutoff: cannot be negative"
    assert [(one.field, one.message) for one in caught.value.fields] == [("cutoff", "cannot be negative")]
    assert caught.value.status == status
    assert len(script.seen) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>welcome</html>"),
        httpx.Response(200, json={"hello": "world"}),
        httpx.Response(200, json=[1]),
    ],
)
def test_something_else_that_answers_is_told_from_a_server(answer: httpx.Response) -> None:
    with client(Script(answer)) as server, pytest.raises(BadAnswer, match="JobDocument"):
        server.job(ID)


def test_a_redirect_is_not_followed_for_it_could_lead_the_token_elsewhere() -> None:
    script = Script(httpx.Response(307, headers={"location": "http://elsewhere/"}))
    with client(script, token="hf_a_b") as server, pytest.raises(ServerError, match="307"):
        server.job(ID)
    assert [request.url.host for request in script.seen] == ["server"]
    assert script.seen[0].headers["authorization"] == "Bearer hf_a_b"


def test_a_token_does_not_show() -> None:
    assert "secret" not in repr(Server("http://server", "hf_a_secret"))


@pytest.mark.parametrize("url", ["server:80", "ftp://server", "http://", "http://user:word@server", "http://s/?q=1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SpecError, match="no address of a server"):
        Client(url)


def test_ids_cannot_lead_to_other_paths() -> None:
    script = Script(job())
    with client(script) as server:
        server.job("../../v1/tokens?x=1#")
    assert script.seen[0].url.raw_path == b"/v1/jobs/..%2F..%2Fv1%2Ftokens%3Fx%3D1%23"


def test_no_error_of_a_connection_is_left_untranslated() -> None:
    kinds = [kind for kind in vars(httpx).values() if isinstance(kind, type) and issubclass(kind, httpx.RequestError)]
    assert len(kinds) > 15
    for kind in kinds:
        with pytest.raises(Unreachable), translated(Server("http://server")):
            raise kind("no")


STATE = 'id: {}\nevent: state\ndata: {{"job":"x","state":"{}","phase":"p"}}\n\n'


def test_a_broken_stream_is_taken_up_after_the_last_event() -> None:
    first = events(STATE.format(5, "accepted"), STATE.format(6, "running"), "id: 7\nevent: phase\nda", is_whole=False)
    script = Script(first, job(), events(STATE.format(9, "succeeded")), job(status="succeeded"))
    with client(script) as server:
        updates = list(server.watch(ID))
    assert [(u.kind, u.id, u.status) for u in updates] == [
        ("state", 5, "accepted"),
        ("state", 6, "running"),
        ("away", None, None),
        ("progress", None, "running"),
        ("state", 9, "succeeded"),
        ("end", None, "succeeded"),
    ]
    assert "last-event-id" not in script.seen[0].headers
    assert script.seen[2].headers["last-event-id"] == "6"
    assert updates[-1].job is not None


@pytest.mark.parametrize(
    "refusal",
    [problem(503, "too many clients watch"), httpx.Response(405), httpx.Response(200, json={"not": "a stream"})],
    ids=["too many", "a proxy's no", "no stream"],
)
def test_without_a_stream_a_job_is_asked_for(refusal: httpx.Response) -> None:
    looks = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        if request.url.path.endswith("/events"):
            return refusal
        looks += 1
        progress = {"phase": "features", "percent": 10.0 * looks}
        return job(progress=progress, status="succeeded" if looks == 20 else "running")

    script = Script(answer)
    with client(script) as server:
        updates = list(server.watch(ID))
    assert [u.progress.percent for u in updates if u.progress] == [10.0 * n for n in range(1, 21)]
    streams = sum(request.url.path.endswith("/events") for request in script.seen)
    # ever more seldom
    assert 2 <= streams <= 6


@pytest.mark.parametrize("text", ["data: {half\n\n", "data: [1]\n\n", "data: " + "x" * 5_000_000])
def test_what_is_no_stream_of_events_is_given_up_for_asking(text: str) -> None:
    script = Script(events(text), job(status="succeeded"))
    with client(script) as server:
        assert [update.kind for update in server.watch(ID)] == ["away", "end"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_may_come_in_pieces_of_any_size(size: int) -> None:
    text = (
        ": alive\r\n\r\nretry: 2000\n\n"
        'id: 3\nevent: progress\ndata: {"phase":"naïve",\ndata:  "percent": 5}\n\n'
        'event: new\ndata: {"message":"m"}\n\nevent: empty\n\n'
    ).encode()
    parser = EventParser()
    found = [update for start in range(0, len(text), size) for update in parser.feed(text[start : start + size])]
    assert [(u.kind, u.id, u.message) for u in found] == [("progress", 3, ""), ("new", None, "m")]
    assert found[0].progress is not None
    assert (found[0].progress.phase, found[0].progress.percent) == ("naïve", 5.0)
    assert parser.last_id == 3


def test_a_job_that_nobody_knows_ends_the_watching() -> None:
    with client(Script(problem(404, "there is no such job"))) as server, pytest.raises(NotFound, match="no such job"):
        list(server.watch(ID))


def test_waiting_ends_with_the_job_or_the_time() -> None:
    failure = {"kind": "user", "type": "DataError", "message": "too few frames"}
    with client(Script(job(status="failed", failure=failure))) as server:
        with pytest.raises(JobFailed, match="failed: too few frames") as caught:
            server.wait(ID)
        assert caught.value.job.status == "failed"
        assert server.wait(ID, check=False).status == "failed"
    with client(Script(job())) as server, pytest.raises(StillRunning, match="goes on"):
        server.wait(ID, timeout=0.05)


def test_pages_are_asked_for_as_they_are_needed() -> None:
    pages = [{"jobs": [{**JOB, "id": f"{n:016x}"}], "next": f"{n:016x}" if n < 3 else None} for n in (1, 2, 3)]
    script = Script(*(httpx.Response(200, json=page) for page in pages))
    with client(script) as server:
        found = server.jobs(status=["running"], process="fit")
        assert next(found).id.endswith("1")
        assert len(script.seen) == 1
        assert [one.id[-1] for one in found] == ["2", "3"]
    assert [dict(request.url.params).get("after") for request in script.seen] == [None, f"{1:016x}", f"{2:016x}"]
    assert script.seen[0].url.params["status"] == "running"


def test_readiness_is_an_answer_also_when_it_is_no() -> None:
    with client(Script(httpx.Response(503, json={"ready": False, "checks": {"cluster": "away"}}))) as server:
        assert server.ready().ready is False


def test_the_asynchronous_client_takes_up_a_stream_and_sends_again_too() -> None:
    script = Script(
        httpx.ConnectError("refused"),
        job(),
        events(STATE.format(5, "running"), is_whole=False),
        job(),
        events(STATE.format(6, "succeeded")),
        job(status="succeeded"),
    )

    async def run() -> list[str]:
        async with AsyncClient("http://server", transport=script, retry_seconds=5.0) as server:
            submitted = await server.submit(INPUTS)
            return [update.kind async for update in server.watch(submitted.id)]

    assert asyncio.run(run()) == ["state", "away", "progress", "state", "end"]
    assert script.seen[4].headers["last-event-id"] == "5"


def _methods(kind: type) -> dict[str, Callable[..., Any]]:
    return {name: value for name, value in vars(kind).items() if inspect.isfunction(value) and name[0] != "_"}


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    blocking, awaiting = _methods(Client), _methods(AsyncClient)
    assert set(blocking) - {"close"} == set(awaiting) - {"aclose"}
    for name in set(blocking) - {"close"}:
        one, other = inspect.signature(blocking[name]), inspect.signature(awaiting[name])
        assert one.parameters == other.parameters, name


def test_what_is_public_is_there() -> None:
    assert len(set(public.__all__)) == len(public.__all__)
    assert all(hasattr(public, name) for name in public.__all__)
