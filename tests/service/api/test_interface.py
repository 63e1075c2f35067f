"""What clients may rely on: idempotency, pages, headers, silence about the server, answers while parts are away."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_server import served

from hamfit.errors import DiskError
from hamfit_service.api.envelope import SECURITY_HEADERS
from hamfit_service.api.metrics import Metrics
from hamfit_service.jobs.job import Failure, Job, JobEvent, JobProgress
from hamfit_service.jobs.logs import JobLog
from hamfit_service.service import Service
from hamfit_service.wire import ClusterState, JobDocument, JobList

EXECUTE = "/v1/processes/simulate/execution"
ASKED = {"system": "spring", "options": {"n_frames": 3}}


def submit(client: httpx.Client, key: str | None = None, **changes: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(EXECUTE, json={**ASKED, **changes}, headers=headers)


# Idempotency.


def test_a_job_is_accepted_and_found_where_location_says(client: httpx.Client) -> None:
    answer = submit(client)
    assert answer.status_code == 201
    job = JobDocument.model_validate_json(answer.content)
    assert (job.status, job.owner, job.inputs["system"]) == ("accepted", "local", "spring")
    assert client.get(answer.headers["location"]).json() == answer.json()
    assert "idempotency-replayed" not in answer.headers


def test_the_same_request_with_the_same_key_is_one_job(client: httpx.Client) -> None:
    first, again = submit(client, "a key"), submit(client, "a key")
    assert again.status_code == 201
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert len(client.get("/v1/jobs").json()["jobs"]) == 1


def test_a_key_with_another_request_is_refused(client: httpx.Client) -> None:
    submit(client, "a key")
    other = submit(client, "a key", options={"n_frames": 4})
    assert other.status_code == 422
    assert other.json()["errors"][0]["field"] == "Idempotency-Key"
    assert "new key" in other.json()["detail"]


def test_keys_of_two_owners_have_nothing_to_do_with_each_other(make_service: Callable[..., Service]) -> None:
    from test_authentication import bearer, token

    service = make_service(auth="required")
    ada, bob = token(service, "submit", owner="ada"), token(service, "submit", owner="bob")
    with served(service) as client:
        ids = {
            client.post(EXECUTE, json=ASKED, headers={**bearer(text), "Idempotency-Key": "k"}).json()["id"]
            for text in (ada, bob)
        }
    assert len(ids) == 2


def test_twenty_at_once_with_one_key_make_one_job(client: httpx.Client) -> None:
    gate = threading.Barrier(20)

    def ask(_: int) -> str:
        gate.wait()
        return str(submit(client, "at once").json()["id"])

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(ask, range(20)))) == 1


def test_a_full_queue_says_when_to_come_back(make_service: Callable[..., Service]) -> None:
    with served(make_service(queued_jobs_per_owner=2)) as client:
        answers = [submit(client) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert int(answers[2].headers["retry-after"]) > 0


# Pages and states.


def test_pages_hold_every_job_once_also_while_new_ones_come(client: httpx.Client) -> None:
    made = [submit(client).json()["id"] for _ in range(7)]
    seen, after = [], None
    while True:
        page = JobList.model_validate_json(
            client.get("/v1/jobs", params={"limit": 3, **({"after": after} if after else {})}).content
        )
        seen += [job.id for job in page.jobs]
        if page.next is None:
            break
        after = page.next
        submit(client)
    assert seen == made[::-1]


def test_jobs_are_filtered_by_state_process_and_owner(client: httpx.Client) -> None:
    gone, stays = submit(client).json()["id"], submit(client).json()["id"]
    client.delete(f"/v1/jobs/{gone}")

    def ids(query: str) -> list[str]:
        return [job["id"] for job in client.get(f"/v1/jobs?{query}").json()["jobs"]]

    assert ids("status=dismissed") == [gone]
    assert ids("status=accepted&process=simulate&owner=local") == [stays]
    assert ids("status=accepted&status=dismissed") == [stays, gone]
    assert ids("process=fit") == []
    assert ids("owner=ada") == []


def test_dismissing_twice_is_harmless_and_a_finished_job_is_kept(client: httpx.Client, service: Service) -> None:
    path = submit(client).headers["location"]
    assert [client.delete(path).json()["status"] for _ in range(2)] == ["dismissed", "dismissed"]
    done = submit(client).json()["id"]
    service.store.claim(done)
    service.store.succeed(done, {})
    refused = client.delete(f"/v1/jobs/{done}")
    assert refused.status_code == 409
    assert "succeeded" in refused.json()["detail"]


@pytest.mark.parametrize("end", ["succeed", "fail", "requeue"])
def test_a_job_that_is_wanted_gone_is_dismissed_however_its_attempt_ends(
    client: httpx.Client, service: Service, end: str
) -> None:
    job = submit(client).json()["id"]
    service.store.claim(job)
    assert client.delete(f"/v1/jobs/{job}").json()["dismissing"] is True
    if end == "succeed":
        service.store.succeed(job, {}, lambda session, now: pytest.fail("published"))
    elif end == "fail":
        service.store.fail(job, Failure("system", "DiskError", "full"))
    else:
        service.store.requeue(job, kind="retry", message="again")
    found = client.get(f"/v1/jobs/{job}").json()
    assert (found["status"], found["failure"], found["attempts"]) == ("dismissed", None, 0)


def test_a_log_is_read_page_by_page(client: httpx.Client, service: Service) -> None:
    job_id = submit(client).json()["id"]
    service.folders.job(job_id).make()
    log = JobLog(service.folders.job(job_id).log)
    for number in range(5):
        log.write("info", f"line {number}")
    first = client.get(f"/v1/jobs/{job_id}/logs?limit=3").json()
    rest = client.get(f"/v1/jobs/{job_id}/logs", params={"after": first["next"]}).json()
    assert [line["message"] for line in first["lines"] + rest["lines"]] == [f"line {number}" for number in range(5)]
    nothing = client.get(f"/v1/jobs/{job_id}/logs", params={"after": rest["next"]}).json()
    assert nothing == {"lines": [], "next": rest["next"]}


# Headers and methods.


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/jobs"), ("GET", "/nowhere"), ("PUT", "/v1/jobs"), ("GET", "/healthz"), ("POST", EXECUTE)],
)
def test_every_answer_carries_the_security_headers_and_an_id(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert len(answer.headers["x-request-id"]) == 16


def test_the_id_of_a_proxy_is_taken_up_and_nonsense_is_not(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "from-proxy-1"}).headers["x-request-id"] == "from-proxy-1"
    odd = client.get("/healthz", headers={"X-Request-Id": "a b<script>"}).headers["x-request-id"]
    assert len(odd) == 16


def test_head_is_get_without_its_body(client: httpx.Client, service: Service) -> None:
    for path in ("/v1/jobs", "/v1/processes", "/healthz", "/openapi.json", "/nowhere"):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
    # a stream ends at once
    job_id = submit(client).json()["id"]
    assert client.head(f"/v1/jobs/{job_id}/events").headers["content-type"].startswith("text/event-stream")
    assert service.hub.readers == 0


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil.example"])
def test_a_foreign_host_is_refused_so_that_rebinding_gains_nothing(client: httpx.Client, host: str) -> None:
    answer = client.get("/v1/jobs", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Host"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_a_foreign_page_cannot_submit(client: httpx.Client, origin: str) -> None:
    answer = client.post(EXECUTE, json=ASKED, headers={"Origin": origin})
    assert answer.status_code == 403
    assert answer.json()["errors"][0]["field"] == "Origin"
    assert client.get("/v1/jobs").json()["jobs"] == []


def test_a_page_of_the_service_itself_can(client: httpx.Client) -> None:
    origin = str(client.base_url).rstrip("/")
    assert client.post(EXECUTE, json=ASKED, headers={"Origin": origin}).status_code == 201


def test_a_body_that_does_not_say_how_large_it_is_is_counted(client: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 65536
            yield b" " * 65536

    answer = None
    # the server may close the connection while the client is still sending
    with suppress(httpx.TransportError):
        answer = client.post(EXECUTE, content=endless(), headers={"Content-Type": "application/json"})
    assert answer is None or answer.status_code == 413
    assert sent < 1000 * 65536


# Silence about the server.


def test_an_unforeseen_error_tells_its_id_and_nothing_else(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"secret of {Path(__file__)}")

    monkeypatch.setattr(type(service.store), "page", fail)
    answer = client.get("/v1/jobs")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["instance"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_path_of_the_server_is_told_in_jobs_logs_and_results(client: httpx.Client, service: Service) -> None:
    job_id = submit(client).json()["id"]
    place = service.folders.job(job_id).path
    service.folders.job(job_id).make()
    JobLog(service.folders.job(job_id).log).write("error", f"{place}/results/dataset.zarr is damaged")
    service.store.claim(job_id)
    service.store.fail(job_id, Failure("user", "DataError", f"{place}/results: no frames; see /etc/hosts"))
    told = [client.get(f"/v1/jobs/{job_id}{part}").text for part in ("", "/logs", "/results", "/events")] + [
        client.get("/v1/jobs").text
    ]
    for text in told:
        assert str(service.folders.root) not in text
        assert "/etc/" not in text
    assert "no frames" in told[0]


@pytest.mark.parametrize(
    "reference",
    ["/etc/passwd", "../../etc/passwd", "file:///etc/shadow", "http://example.org/a", "job:0123456789abcdef", "none"],
)
def test_a_reference_that_may_not_be_read_names_its_field_and_tells_nothing(
    client: httpx.Client, reference: str
) -> None:
    answer = client.post("/v1/processes/fit/execution", json={"data": [reference]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "data"
    assert "root:" not in answer.text


# Parts that are away.


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs"),
        ("GET", "/v1/jobs/0123456789abcdef"),
        ("DELETE", "/v1/jobs/0123456789abcdef"),
        ("GET", "/v1/jobs/0123456789abcdef/events"),
        ("GET", "/v1/jobs/0123456789abcdef/results"),
        ("GET", "/v1/models"),
        ("GET", "/v1/tokens"),
        ("POST", EXECUTE),
    ],
)
def test_while_the_database_is_away_every_request_says_when_to_come_back(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    assert client.get("/v1/jobs").status_code == 200
    url, secret = service.database.engine.url, "unable to open database file at"
    for engine in (service.database.engine, service.database.readers):
        monkeypatch.setattr(
            engine.dialect,
            "do_execute",
            lambda *_, **__: (_ for _ in ()).throw(sqlite3.OperationalError(f"{secret} {url}")),
        )
    answer = client.request(method, path, json=ASKED if method == "POST" else None)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "database" in answer.json()["detail"]
    assert secret not in answer.text
    monkeypatch.undo()
    assert client.get("/v1/jobs").status_code == 200


def test_health_says_ok_and_readiness_names_what_is_missing(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"] == "ok"
    assert "cluster" in answer.json()["checks"]["cluster"]


def test_a_disk_that_takes_nothing_refuses_jobs_and_says_when_to_come_back(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.supervisor.housekeeping, "storage_problem", "the disk is full")
    answer = submit(client)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "disk is full" in answer.json()["detail"]


def test_a_failing_disk_is_503_whoever_meets_it(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise DiskError("the disk fails; see to it")

    monkeypatch.setattr(type(service.results), "document", fail)
    job_id = submit(client).json()["id"]
    assert client.get(f"/v1/jobs/{job_id}/results").status_code == 503


# Metrics and the document.


def test_metrics_count_requests_jobs_and_ends(client: httpx.Client, service: Service) -> None:
    job_id = submit(client).json()["id"]
    service.store.claim(job_id)
    service.store.succeed(job_id, {})
    client.get("/v1/jobs/0123456789abcdef")
    text = client.get("/metrics").text
    assert 'hamfit_jobs{state="succeeded"} 1.0' in text
    assert 'hamfit_jobs_ended_total{process="simulate",state="succeeded"} 1.0' in text
    assert 'method="GET",route="/v1/jobs/{job_id}",status="404"' in text
    assert "0123456789abcdef" not in text


def test_metrics_tell_how_long_jobs_wait_how_fast_they_run_and_whose_failures_are(
    client: httpx.Client, service: Service
) -> None:
    ids = [submit(client).json()["id"] for _ in range(4)]
    for job_id in ids[:3]:
        service.store.claim(job_id)
    for job_id, speed in zip(ids[:3], (100.0, 20.0, 3.0), strict=True):
        service.store.report(job_id, JobProgress("simulating", 1.0, rows_per_second=speed, unit="steps"))
    lines = client.get("/metrics").text.splitlines()
    assert 'hamfit_job_rows_per_second{process="simulate",unit="steps"} 123.0' in lines
    assert 'hamfit_job_queue_seconds_count{process="simulate"} 3.0' in lines
    assert 'hamfit_job_queue_seconds_bucket{le="100.0",process="simulate"} 3.0' in lines
    assert not any(line.startswith("hamfit_jobs_failed_total{") for line in lines)
    service.store.fail(ids[0], Failure("user", "SpecError", "wrong"))
    service.store.fail(ids[1], Failure("system", "DiskError", "full"))
    service.store.requeue(ids[2], kind="retry", message="again")
    lines = client.get("/metrics").text.splitlines()
    for kind in ("user", "system"):
        assert f'hamfit_jobs_failed_total{{kind="{kind}",process="simulate"}} 1.0' in lines
    assert not any(line.startswith("hamfit_job_rows_per_second{") for line in lines)


def test_a_job_that_is_taken_up_again_has_not_waited_twice() -> None:
    metrics = Metrics()
    start = datetime(2030, 1, 1, tzinfo=UTC)
    for seconds in (40, 400):
        job = _running_since(start, start + timedelta(seconds=40))
        metrics.heard(JobEvent(1, job.id, start + timedelta(seconds=seconds), "state", {}), job)
    text = metrics.text(None, ClusterState(kind="local", alive=False), 0).decode()
    assert 'hamfit_job_queue_seconds_count{process="fit"} 1.0' in text
    assert 'hamfit_job_queue_seconds_sum{process="fit"} 40.0' in text


def _running_since(submitted: datetime, started: datetime) -> Job:
    nothing: dict[str, Any] = {"not_before": None, "failure": None, "result": None, "finished_at": None}
    return Job(
        id="0123456789abcdef",
        process="fit",
        owner="local",
        inputs={},
        state="running",
        target="run",
        progress=JobProgress("fitting", 0.0),
        attempts=0,
        stalls=0,
        stalled_at=0.0,
        submitted_at=submitted,
        started_at=started,
        updated_at=started,
        **nothing,
    )


def test_every_status_of_every_operation_is_documented_as_a_problem(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path != "/readyz":
                    schema = answer["content"]["application/problem+json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Problem"}, (method, path, status)
    assert set(document["paths"]["/v1/processes/fit/execution"]["post"]["responses"]["201"]["links"]) >= {
        "job",
        "results",
        "logs",
        "events",
        "dismiss",
        "publish",
    }


def test_the_schema_of_a_body_is_the_model_that_checks_it(client: httpx.Client) -> None:
    from hamfit_service.processes import PROCESSES

    document = client.get("/openapi.json").json()
    for name, process in PROCESSES.items():
        media = document["paths"][f"/v1/processes/{name}/execution"]["post"]["requestBody"]["content"]
        reference = media["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        published = document["components"]["schemas"][reference]
        assert published["properties"].keys() == process.inputs.model_fields.keys()
        for example in media["application/json"]["examples"].values():
            process.inputs.build(example["value"])
        assert json.dumps(client.get(f"/v1/processes/{name}").json()["inputs"])
