"""What jobs made, over HTTP: files, stores as archives, frames of trajectories while they run."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from api_server import served

from hamfit.data import Dataset
from hamfit.fitting import fit
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.rollouts import rollout, running
from hamfit.systems import simulate
from hamfit_service.jobs import trajectories
from hamfit_service.jobs.store import Submission
from hamfit_service.service import Service
from hamfit_service.wire import ResultsDocument, TrajectoryList

HOW: dict[str, Any] = {"steps": 40, "dt": 0.01, "every": 4, "threads": 1, "checkpoint_seconds": 0.0}
ROLLOUT = {
    "model": "liquid@1",
    "initial": "starts.zarr",
    "steps": 40,
    "dt": 0.01,
    "every": 4,
    "frames": "0",
    "replicas": 1,
    "temperature": None,
    "seed": 0,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and initial states for it."""
    place = tmp_path_factory.mktemp("downloads")
    seen = simulate("spring", place / "seen.zarr", shape="6", n_trajectories=4, n_frames=12, seed=1)
    simulate("spring", place / "starts.zarr", shape="8", n_trajectories=3, n_frames=2, seed=2)
    fit(seen, out=place / "model", options=FitOptions(features=16, threads=1, checkpoint=False))
    return place / "model", place / "starts.zarr"


def running_job(service: Service, process: str, inputs: dict[str, Any]) -> tuple[str, Path]:
    job, _ = service.store.submit(Submission(process, inputs, "local"))
    service.folders.job(job.id).make()
    service.store.claim(job.id)
    return job.id, service.folders.job(job.id).results


def arrays(answer: httpx.Response) -> dict[str, np.ndarray]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as found:
        return dict(found)


def test_a_store_comes_as_an_archive_that_opens_again(
    client: httpx.Client, service: Service, world: tuple[Path, Path], tmp_path: Path
) -> None:
    job_id, results = running_job(service, "fit", {"data": ["seen.zarr"]})
    os.rename(_copied(world[0], tmp_path / "model"), results / "model")
    service.store.succeed(job_id, {"rank": 3})
    document = ResultsDocument.model_validate_json(client.get(f"/v1/jobs/{job_id}/results").content)
    assert (document.complete, document.reference, document.report) == (True, f"job:{job_id}", {"rank": 3})
    assert [(output.name, output.kind) for output in document.outputs] == [("model", "model")]
    answer = client.get(document.outputs[0].href)
    assert answer.headers["content-type"] == "application/x-tar"
    assert "model.tar" in answer.headers["content-disposition"]
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        assert {(member.uid, member.gid, member.uname) for member in archive} == {(0, 0, "")}
        archive.extractall(tmp_path / "got", filter="data")
    got, was = Model.open(tmp_path / "got" / "model"), Model.open(world[0])
    np.testing.assert_array_equal(got.theta[0], was.theta[0])
    single = client.get(f"/v1/jobs/{job_id}/results/files/model/zarr.json")
    assert single.content == (world[0] / "zarr.json").read_bytes()


def _copied(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../inputs.json",
        "../../../hamfit.sqlite",
        "%2e%2e/%2e%2e/hamfit.sqlite",
        "..%2f..%2f..%2fhamfit.sqlite",
        "link",
        "link/passwd",
        "folder/link",
        ".hidden",
        "pipe",
        "none",
        "folder//file.json",
        "file.json/x",
        "a%00b",
        "%5c..%5c",
        "",
    ],
)
def test_nothing_but_results_can_be_fetched(client: httpx.Client, service: Service, path: str) -> None:
    job_id, results = running_job(service, "fit", {})
    (results / "folder").mkdir()
    (results / "file.json").write_text("{}")
    (results / ".hidden").write_text("secret")
    (results / "link").symlink_to("/etc")
    (results / "folder" / "link").symlink_to("/etc/passwd")
    (results / "folder" / "file.json").write_text("{}")
    os.mkfifo(results / "pipe")
    url = f"http://{client.base_url.host}:{client.base_url.port}/v1/jobs/{job_id}/results/files/{path}"
    answer = client.send(client.build_request("GET", url, extensions={"target": url.encode()}))
    assert answer.status_code in (404, 405), answer.text
    assert "root:" not in answer.text
    assert "secret" not in answer.text
    archive = client.get(f"/v1/jobs/{job_id}/results/files/folder").content
    with tarfile.open(fileobj=io.BytesIO(archive)) as found:
        assert found.getnames() == ["folder/file.json"]


def test_a_report_is_no_result_before_its_job_is_recorded_as_ended(client: httpx.Client, service: Service) -> None:
    job_id, results = running_job(service, "fit", {})
    report = {"path": f"{results}/model", "rank": 3}
    (results / "report.json").write_text(json.dumps(report))
    at = f"/v1/jobs/{job_id}/results/files/report.json"
    answer = client.get(at)
    assert (answer.status_code, "once it has ended" in answer.json()["detail"]) == (404, True)
    service.store.succeed(job_id, report)
    assert client.get(at).json() == {"path": f"job:{job_id}/model", "rank": 3}
    (results / "report.json").unlink()
    assert client.get(at).status_code == 404


def test_a_report_runs_nothing_and_is_framed_by_nobody_else(client: httpx.Client, service: Service) -> None:
    job_id, results = running_job(service, "evaluate", {})
    (results / "report.html").write_text("<script>alert(1)</script>")
    answer = client.get(f"/v1/jobs/{job_id}/results/files/report.html")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox;")
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "allow-scripts" not in policy


def test_trajectories_are_read_while_the_rollout_runs_and_after(
    client: httpx.Client,
    service: Service,
    world: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, starts = world
    data = service.settings.data_roots[0]
    _copied(starts, data / "starts.zarr")
    job_id, results = running_job(service, "rollout", ROLLOUT)
    at = f"/v1/jobs/{job_id}/results/trajectories"
    assert client.get(at).json()["trajectories"] == []
    names = [f"{trajectory.name}-frame-0" for trajectory in Dataset.open(starts).trajectories]
    keep = running._Rollout.keep
    kept = {"n": 0}

    def keep_and_stop(self: Any) -> None:
        if self.name == names[1] and kept["n"] >= 4:
            raise KeyboardInterrupt
        keep(self)
        kept["n"] += self.name == names[1]

    with monkeypatch.context() as patch:
        patch.setattr(running._Rollout, "keep", keep_and_stop)
        with pytest.raises(KeyboardInterrupt):
            rollout(model, data / "starts.zarr", out=results / "trajectories.zarr", **HOW)
    listed = TrajectoryList.model_validate_json(client.get(at).content).trajectories
    assert [(one.name, one.status, one.frames) for one in listed] == [
        (names[0], "finished", 11),
        (names[1], "running", 5),
        (names[2], "waiting", 0),
    ]
    assert (listed[1].step, listed[1].steps) == (16, 40)
    early = arrays(client.get(listed[1].href))
    assert early["position"].shape == (5, 8, 1)
    waiting = client.get(listed[2].href)
    assert waiting.status_code == 404
    assert "list of trajectories" in waiting.json()["detail"]
    assert [output["name"] for output in client.get(f"/v1/jobs/{job_id}/results").json()["outputs"]] == []

    rollout(model, data / "starts.zarr", out=results / "trajectories.zarr", **HOW)
    service.store.succeed(job_id, {})
    listed = TrajectoryList.model_validate_json(client.get(at).content).trajectories
    assert [(one.name, one.status, one.step, one.frames) for one in listed] == [
        (name, "finished", 40, 11) for name in names
    ]
    assert listed[0].summary is not None
    late = arrays(client.get(listed[1].href))
    np.testing.assert_array_equal(late["position"][:5], early["position"])
    np.testing.assert_array_equal(late["step"], np.arange(0, 41, 4))
    some = arrays(client.get(listed[1].href, params={"start": 2, "stop": 9, "step": 3}))
    np.testing.assert_array_equal(some["velocity"], late["velocity"][2:9:3])


def test_frames_that_are_not_there_or_too_many_name_the_parameter(
    client: httpx.Client, service: Service, world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, results = running_job(service, "simulate", {})
    _copied(world[1], results / "dataset.zarr")
    at = f"/v1/jobs/{job_id}/results/trajectories"
    first = client.get(at).json()["trajectories"][0]
    for query, field, fix in (
        ("stop=3", "stop", "at most 2"),
        ("start=2&stop=1", "start", "at most 1"),
        ("step=0", "step", "greater than or equal to 1"),
        ("start=-1", "start", "greater than or equal to 0"),
    ):
        answer = client.get(f"{first['href']}?{query}")
        assert answer.status_code == 422
        error = answer.json()["errors"][0]
        assert error["field"] == field
        assert fix in error["message"]
    assert client.get(f"{at}/nobody").status_code == 404
    monkeypatch.setattr(trajectories, "MOST_BYTES", 10)
    answer = client.get(first["href"])
    assert answer.status_code == 422
    assert "at a time" in answer.json()["detail"]


def test_a_job_that_makes_no_trajectories_says_so(client: httpx.Client, service: Service) -> None:
    job_id, _ = running_job(service, "fit", {})
    answer = client.get(f"/v1/jobs/{job_id}/results/trajectories")
    assert answer.status_code == 404
    assert "(fit, running) has no trajectories" in answer.json()["detail"]


def test_a_damaged_dataset_is_a_conflict_and_no_failure(
    client: httpx.Client, service: Service, world: tuple[Path, Path]
) -> None:
    job_id, results = running_job(service, "simulate", {})
    dataset = _copied(world[1], results / "dataset.zarr")
    (dataset / "_manifest.json").write_bytes(b"{}")
    answer = client.get(f"/v1/jobs/{job_id}/results/trajectories")
    assert answer.status_code == 409
    assert str(results) not in answer.text


def test_a_file_that_shrinks_while_it_is_sent_is_no_whole_answer(
    make_service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hamfit_service.api import downloads

    service = make_service()
    job_id, results = running_job(service, "fit", {})
    (results / "large").write_bytes(b"x" * 3_000_000)
    pieces = downloads._pieces

    def shrinking(descriptor: int, size: int) -> Any:
        for number, piece in enumerate(pieces(descriptor, size)):
            if number == 1:
                os.truncate(results / "large", 300_000)
            yield piece

    monkeypatch.setattr(downloads, "_pieces", shrinking)
    with served(service) as client, pytest.raises(httpx.TransportError):
        client.get(f"/v1/jobs/{job_id}/results/files/large")


def _open_below(folder: Path) -> list[str]:
    """Files below a folder that this process has open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(os.readlink(entry))
    return [path for path in found if path.startswith(f"{folder}/")]


@pytest.mark.parametrize("name", ["large", "store"])
def test_answers_that_nobody_reads_leave_no_file_open(client: httpx.Client, service: Service, name: str) -> None:
    job_id, results = running_job(service, "fit", {})
    (results / "store").mkdir()
    for path in ("large", "store/large"):
        (results / path).write_bytes(b"x" * 20_000_000)
    at = f"/v1/jobs/{job_id}/results/files/{name}"
    for _ in range(50):
        assert client.head(at).status_code == 200
    for _ in range(10):
        # leaves after the first bytes, as a closed laptop does
        with client.stream("GET", at) as answer:
            next(answer.iter_raw(1000))
    assert client.get("/healthz").status_code == 200
    ends = time.monotonic() + 10
    while _open_below(results) and time.monotonic() < ends:
        time.sleep(0.02)
    assert _open_below(results) == []


def test_a_file_that_is_replaced_before_it_is_sent_is_no_whole_answer(
    client: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hamfit_service.api import downloads

    job_id, results = running_job(service, "fit", {})
    (results / "file").write_bytes(b"old")
    send_file = downloads._file

    def replaced(path: Path, promised: os.stat_result) -> Any:
        (results / "new").write_bytes(b"newer and longer")
        os.replace(results / "new", results / "file")
        yield from send_file(path, promised)

    monkeypatch.setattr(downloads, "_file", replaced)
    with pytest.raises(httpx.TransportError):
        client.get(f"/v1/jobs/{job_id}/results/files/file")


def test_a_disk_that_fails_is_not_the_fault_of_the_service(
    client: httpx.Client, service: Service, world: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, results = running_job(service, "simulate", {})
    _copied(world[1], results / "dataset.zarr")

    def failing(*_: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(results))

    for name in ("_documents", "_open"):
        monkeypatch.setattr(trajectories, name, failing)
    for path in ("", "/run"):
        answer = client.get(f"/v1/jobs/{job_id}/results/trajectories{path}")
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
        assert "Input/output error" in answer.json()["detail"]
        assert str(results) not in answer.text
