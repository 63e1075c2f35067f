"""The client and a real `hamfit serve`: from data to a model, its trajectories, and back."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from hamfit.data import Dataset
from hamfit.model import Model
from hamfit.systems import simulate
from hamfit_service.client import AsyncClient, Client, Conflict, JobFailed, NotFound, Refused, ServerAway
from hamfit_service.processes import PROCESSES
from hamfit_service.processes.evaluate import EvaluateInputs
from hamfit_service.processes.fit import FitInputs
from hamfit_service.processes.ingest import IngestInputs
from hamfit_service.processes.rollout import RolloutInputs
from hamfit_service.processes.simulate import SimulateInputs
from hamfit_service.wire import JobDocument
from serving import Served

RINGS = SimulateInputs(system="nspring", options={"n_trajectories": 3, "n_frames": 10})
NAME = f"rings-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def client(live_server: Served) -> Iterator[Client]:
    with Client(live_server.url) as client:
        yield client


@pytest.fixture(scope="module")
def rings(live_server: Served) -> str:
    """A dataset among the server's data, by the name that it has there."""
    if not (live_server.data_root / "rings.zarr").exists():
        simulate("nspring", live_server.data_root / "rings.zarr", n_trajectories=3, n_frames=10)
    return "rings.zarr"


@pytest.fixture(scope="module")
def fitted(client: Client, rings: str) -> JobDocument:
    return client.wait(client.submit(FitInputs(data=(rings,), features=16, publish=NAME)).id)


@pytest.fixture(scope="module")
def rolled(client: Client, fitted: JobDocument, rings: str) -> JobDocument:
    asked = RolloutInputs(model=f"job:{fitted.id}", initial=rings, steps=40, dt=0.01, every=10)
    return client.wait(client.submit(asked).id)


class LosesAnswers(httpx.BaseTransport):
    """A real connection that breaks after the server has the request, so many times."""

    def __init__(self, times: int) -> None:
        self.requests = 0
        self._times = times
        self._real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._real.handle_request(request)
        self.requests += 1
        if self.requests <= self._times:
            response.read()
            raise httpx.ReadError("connection reset by peer")
        return response

    def close(self) -> None:
        self._real.close()


def test_a_submission_whose_answers_are_lost_is_one_job(live_server: Served) -> None:
    transport = LosesAnswers(2)
    with Client(live_server.url, transport=transport) as server:
        before = {job.id for job in server.jobs()}
        job = server.submit(RINGS)
        assert {job.id for job in server.jobs()} - before == {job.id}
        assert server.wait(job.id).status == "succeeded"
    assert transport.requests > 3


def test_a_job_is_watched_from_its_acceptance_to_its_end(client: Client) -> None:
    job = client.submit(RINGS)
    updates = list(client.watch(job.id))
    assert [update.status for update in updates if update.kind == "state"] == ["accepted", "running", "succeeded"]
    assert updates[-1].kind == "end"
    assert updates[-1].job == client.job(job.id)
    numbers = [update.id for update in updates if update.id is not None]
    assert numbers == sorted(set(numbers))
    # a job that is over is told again from the beginning, to whoever comes late
    assert [update.kind for update in client.watch(job.id)].count("state") == 3


def test_a_model_is_downloaded_as_it_was_fitted(client: Client, fitted: JobDocument, tmp_path: Path) -> None:
    client.download(fitted.id, tmp_path / "a")
    client.download_model(NAME, tmp_path / "b")
    for place in ("a", "b"):
        assert sum(theta.size for theta in Model.open(tmp_path / place).theta) > 0
    report = client.results(fitted.id).report
    assert report is not None
    assert report["held_out"]["force"] < 1e-2
    client.download(fitted.id, tmp_path / "report.json", name="report.json")
    assert (tmp_path / "report.json").read_text().startswith("{")


def test_nothing_that_any_job_made_names_places_of_the_server(
    live_server: Served, client: Client, fitted: JobDocument, rolled: JobDocument, rings: str
) -> None:
    pairs = "2\nProperties=species:S:1:pos:R:3:forces:R:3\nO 0 0 0 1 0 0\nO 0 0 2.5 -1 0 0\n"
    (live_server.data_root / "seen.extxyz").write_text(pairs * 3)
    started = [
        client.submit(EvaluateInputs(model=f"job:{fitted.id}", data=rings, rollout=True)),
        client.submit(IngestInputs(files=("seen.extxyz",), units="ase")),
        client.submit(RINGS),
    ]
    jobs = [fitted, rolled, *(client.wait(job.id) for job in started)]
    assert {job.process for job in jobs} == set(PROCESSES)
    places = [os.path.realpath(place).encode() for place in (live_server.root, live_server.data_root)]
    for job in jobs:
        document = live_server.http.get(f"/v1/jobs/{job.id}/results")
        outputs = {one["name"]: one for one in document.json()["outputs"]}
        sent = {name: live_server.http.get(one["href"]) for name, one in outputs.items()}
        assert all(answer.status_code == 200 for answer in sent.values())
        for name, content in [("document", document.content), *((name, one.content) for name, one in sent.items())]:
            assert [place for place in places if place in content] == [], (job.process, name)
        report = sent["report.json"]
        assert report.json() == document.json()["report"]
        assert int(report.headers["content-length"]) == outputs["report.json"]["bytes"] == len(report.content)
        assert report.headers["content-type"] == "application/json"
        head = live_server.http.head(outputs["report.json"]["href"])
        assert (head.headers["content-length"], head.content) == (report.headers["content-length"], b"")
    # it is the answer that is made short: the service itself keeps whole paths
    kept = (live_server.root / "jobs" / jobs[-1].id / "results" / "report.json").read_bytes()
    assert places[0] in kept


def test_a_model_is_published_once_for_each_job(client: Client, fitted: JobDocument) -> None:
    assert client.results(fitted.id).model == f"{NAME}@1"
    assert client.model(NAME).job == fitted.id
    other = f"{NAME}-too"
    assert client.publish(other, fitted.id) == client.publish(other, fitted.id)
    assert [model.reference for model in client.models(other)] == [f"{other}@1"]
    with pytest.raises(NotFound):
        client.model(NAME, 2)


def test_frames_of_a_trajectory_are_those_of_the_dataset(client: Client, rolled: JobDocument, tmp_path: Path) -> None:
    client.download(rolled.id, tmp_path / "run")
    dataset = Dataset.open(tmp_path / "run")
    dataset.verify()
    names = [trajectory.name for trajectory in client.trajectories(rolled.id)]
    assert names == [trajectory.name for trajectory in dataset.trajectories]
    arrays = client.trajectory(rolled.id, names[0], 1, 4, 2)
    assert arrays["step"].tolist() == [10, 30]
    np.testing.assert_array_equal(arrays["position"][1], dataset.trajectories[0].frame(3).q)


def test_the_log_tells_the_phases(client: Client, rolled: JobDocument) -> None:
    lines = [line.message for line in client.logs(rolled.id, follow=True)]
    assert "rollout begins" in lines
    assert lines == [line.message for line in client.logs(rolled.id)]


def test_what_cannot_be_is_refused_with_its_field(client: Client, rings: str) -> None:
    with pytest.raises(Refused, match=r"nowhere\.zarr") as caught:
        client.submit(FitInputs(data=("nowhere.zarr",)))
    assert [one.field for one in caught.value.fields] == ["data"]
    job = client.submit(FitInputs(data=(rings,), cutoff="7-8=2.5"))
    with pytest.raises(JobFailed, match="7-8") as failed:
        client.wait(job.id)
    assert failed.value.job.failure is not None
    assert failed.value.job.failure.kind == "user"
    with pytest.raises(Conflict):
        client.dismiss(job.id)


def test_a_job_is_dismissed_while_it_is_watched(client: Client, fitted: JobDocument, rings: str) -> None:
    job = client.submit(RolloutInputs(model=NAME, initial=rings, steps=10**9, dt=1e-4, every=10**6))
    seen = []
    for update in client.watch(job.id):
        seen.append(update.status)
        if update.status == "running" and len(seen) < 100:
            assert client.dismiss(job.id).id == job.id
            seen.extend([""] * 100)
    assert client.job(job.id).status == "dismissed"
    assert client.dismiss(job.id).status == "dismissed"


def test_the_asynchronous_client_does_all_that_too(live_server: Served, tmp_path: Path) -> None:
    async def run() -> list[Any]:
        async with AsyncClient(live_server.url) as server:
            job = await server.submit(RINGS)
            kinds = [update.kind async for update in server.watch(job.id)]
            await server.wait(job.id)
            await server.download(job.id, tmp_path / "d")
            names = [one.id for one in await server.processes()]
            lines = [line async for line in server.logs(job.id)]
            frames = await server.trajectory(job.id, (await server.trajectories(job.id))[0].name)
            return [kinds[-1], len(lines) > 0, frames["step"].size, names, (await server.cluster()).kind]

    found = asyncio.run(run())
    assert found[:3] == ["end", True, 10]
    assert set(found[3]) == {"fit", "rollout", "evaluate", "ingest", "simulate"}
    assert found[4] == "local"
    Dataset.open(tmp_path / "d").verify()


@pytest.mark.faults
def test_watching_goes_on_through_the_death_of_a_service(live_server: Served, tmp_path: Path) -> None:
    served = Served(tmp_path / "root", tmp_path, "--workers", "1", "--threads", "1")
    served.start()
    try:
        with Client(served.url) as server:
            job = server.submit(SimulateInputs(system="lj", options={"n_frames": 30, "every": 20}))
            kinds = []
            for update in server.watch(job.id):
                kinds.append(update.kind)
                if update.status == "running" and "away" not in kinds:
                    kinds.append("away")
                    served.kill()
                    served.start()
            assert server.job(job.id).status == "succeeded"
            assert kinds.count("away") >= 2
            assert kinds[-1] == "end"
    finally:
        served.http.close()
        served.stop()


def test_a_port_where_nobody_listens_is_said() -> None:
    with Client("http://127.0.0.1:9", retry_seconds=0.1) as server, pytest.raises(ServerAway, match="see whether the"):
        server.ready()
