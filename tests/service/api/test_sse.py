"""Server-sent events: nothing is missed, nothing is told twice, and everything ends."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from api_server import served

from hamfit_service.api import streams
from hamfit_service.api.hub import EventHub, TooManyReaders
from hamfit_service.jobs.job import JobProgress
from hamfit_service.jobs.store import Submission
from hamfit_service.service import Service


@dataclass(frozen=True)
class Sent:
    """One event as a client reads it."""

    id: str | None
    kind: str
    data: dict[str, Any]


def read(lines: Iterator[str]) -> Iterator[Sent]:
    """Events of a stream; comments and the hint for reconnecting are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "data" in fields:
            yield Sent(fields.get("id"), fields["event"], json.loads(fields["data"]))
            fields = {}


def new_job(service: Service) -> str:
    job, _ = service.store.submit(Submission("simulate", {"system": "spring", "options": {}}, "local"))
    return job.id


def run_to_its_end(service: Service, job_id: str) -> None:
    service.store.claim(job_id)
    service.store.report(job_id, JobProgress("simulate", 10.0))
    service.store.report(job_id, JobProgress("simulate", 50.0))
    service.store.succeed(job_id, {"frames": 3})


def all_events(client: httpx.Client, job_id: str, **headers: str) -> list[Sent]:
    with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(read(answer.iter_lines()))


def kinds(events: list[Sent]) -> list[str]:
    return [event.data.get("state", event.kind) for event in events if event.id is not None]


def test_a_finished_job_is_told_from_the_beginning_and_the_stream_ends(client: httpx.Client, service: Service) -> None:
    job_id = new_job(service)
    run_to_its_end(service, job_id)
    events = all_events(client, job_id)
    assert kinds(events) == ["accepted", "running", "phase", "succeeded"]
    numbers = [int(event.id) for event in events if event.id is not None]
    assert numbers == sorted(numbers)
    assert {event.data["job"] for event in events} == {job_id}


def test_who_comes_back_is_told_what_came_after_the_last_event_it_has(client: httpx.Client, service: Service) -> None:
    job_id = new_job(service)
    run_to_its_end(service, job_id)
    events = all_events(client, job_id)
    for number, event in enumerate(events):
        again = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(event.id)})
        rest = list(read(iter(again.text.splitlines())))
        assert [other.id for other in rest] == [other.id for other in events[number + 1 :]]
    # nothing left to wait for: a browser stops coming back
    assert again.status_code == 204


def test_a_running_job_is_followed_to_its_end(client: httpx.Client, service: Service) -> None:
    job_id = new_job(service)
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        events = read(answer.iter_lines())
        seen = [next(events), next(events)]
        assert [event.kind for event in seen] == ["state", "progress"]
        run_to_its_end(service, job_id)
        seen += list(events)
    assert kinds(seen) == ["accepted", "running", "phase", "succeeded"]
    assert seen[-1].data["state"] == "succeeded"


def test_progress_has_no_id_and_is_the_newest(client: httpx.Client, service: Service) -> None:
    job_id = new_job(service)
    service.store.claim(job_id)
    service.store.report(job_id, JobProgress("simulate", 10.0))
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        events = read(answer.iter_lines())
        while (event := next(events)).kind != "progress":
            assert event.id is not None
        assert event.data["percent"] == 10.0
        service.store.report(job_id, JobProgress("simulate", 30.0, done=3, total=10))
        event = next(events)
        assert (event.id, event.kind, event.data["percent"], event.data["done"]) == (None, "progress", 30.0, 3)


def test_a_cut_stream_continues_without_gap_or_repetition(client: httpx.Client, service: Service) -> None:
    job_id = new_job(service)
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        first = next(read(answer.iter_lines()))
    service.store.claim(job_id)
    service.store.requeue(job_id, kind="retry", message="the disk was full")
    run_to_its_end(service, job_id)
    rest = all_events(client, job_id, **{"Last-Event-ID": str(first.id)})
    assert kinds(rest) == ["running", "retry", "accepted", "running", "phase", "succeeded"]


def test_the_stream_of_all_jobs_tells_of_each(client: httpx.Client, service: Service) -> None:
    with client.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry")
        first, second = new_job(service), new_job(service)
        events = read(lines)
        assert [next(events).data["job"], next(events).data["job"]] == [first, second]


def test_two_hundred_clients_see_the_end_of_a_job(client: httpx.Client, service: Service) -> None:
    job_id = new_job(service)
    url = f"{client.base_url}/v1/jobs/{job_id}/events".replace("//v1", "/v1")

    async def watch(http: httpx.AsyncClient, begun: asyncio.Semaphore) -> list[str]:
        states = []
        async with http.stream("GET", url) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and "state" in (data := json.loads(line[6:])):
                    states.append(data["state"])
                    if data["state"] == "accepted":
                        begun.release()
        return states

    async def all_of_them() -> list[list[str]]:
        limits = httpx.Limits(max_connections=210)
        async with httpx.AsyncClient(limits=limits, timeout=60) as http:
            begun = asyncio.Semaphore(0)
            watchers = [asyncio.create_task(watch(http, begun)) for _ in range(200)]
            for _ in watchers:
                await begun.acquire()
            threads = threading.active_count()
            assert threads < 100, "a thread is held for each client"
            # others are served beside them
            assert (await http.get(url.removesuffix("/events"))).status_code == 200
            await asyncio.to_thread(run_to_its_end, service, job_id)
            return await asyncio.gather(*watchers)

    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(lambda: asyncio.run(all_of_them())).result(120)
    assert {tuple(states) for states in seen} == {("accepted", "running", "succeeded")}
    assert service.hub.readers == 0


def test_silence_is_filled_with_comments(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
    job_id = new_job(service)
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        assert any(line.startswith(": ") for line in answer.iter_lines())


def test_a_revoked_token_ends_its_stream(make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    from test_authentication import bearer, token

    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
    service = make_service(auth="required")
    text = token(service, "read")
    job_id = new_job(service)
    with served(service, **bearer(text)) as client, client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        service.tokens.revoke(text.split("_")[1])
        for _ in lines:
            pass


def test_closing_the_hub_ends_all_streams(client: httpx.Client, service: Service) -> None:
    job_id = new_job(service)
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        service.hub.close()
        for _ in lines:
            pass
    assert service.hub.readers == 0


def test_a_reader_who_falls_behind_is_bounded_and_told_so(service: Service) -> None:
    async def look() -> None:
        hub = EventHub()
        reader = hub.subscribe()
        service.store.listen(hub.publish)
        job_ids = [new_job(service) for _ in range(3)]
        for percent in range(100):
            for job_id in job_ids:
                hub.publish(None, service.store.report(job_id, JobProgress("x", percent)) or service.store.get(job_id))
        await asyncio.sleep(0)
        changes = await reader.changes(1.0)
        assert len(changes.events) == 3
        assert len(changes.progress) == 3
        event = changes.events[0].event
        for _ in range(1000):
            hub.publish(event, service.store.get(job_ids[0]))
        await asyncio.sleep(0)
        changes = await reader.changes(1.0)
        assert changes.lost
        assert len(changes.events) <= 256

    asyncio.run(look())


def test_there_is_a_limit_to_readers() -> None:
    async def look() -> None:
        hub = EventHub(readers=2)
        first = hub.subscribe()
        hub.subscribe("0123456789abcdef")
        with pytest.raises(TooManyReaders, match="try again"):
            hub.subscribe()
        hub.unsubscribe(first)
        hub.subscribe()

    asyncio.run(look())


def test_no_further_reader_is_let_in_than_can_be_served(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.hub, "_limit", 1)
    path = f"/v1/jobs/{new_job(service)}/events"
    with client.stream("GET", path) as first:
        # a generator that nobody holds would close the connection
        lines = first.iter_lines()
        next(lines)
        refused = client.get(path)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0


def test_who_leaves_is_forgotten(client: httpx.Client, service: Service) -> None:
    job_id = new_job(service)
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        assert service.hub.readers == 1
    deadline = time.monotonic() + 10
    while service.hub.readers:
        assert time.monotonic() < deadline
        time.sleep(0.01)
