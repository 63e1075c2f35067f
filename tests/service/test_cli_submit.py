"""`hamfit submit` and what follows it, against a real server; and without one, where it is the local command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from typer.testing import Result

from hamfit.data import Dataset
from hamfit.model import Model
from hamfit.systems import simulate
from hamfit_service.cli import app
from hamfit_service.cli.catalogue import COMMANDS
from hamfit_service.cli.submit import with_absolute_paths
from hamfit_service.processes import PROCESSES
from hamfit_service.processes.fit import FitInputs
from serving import COMMAND, Served

Cli = Callable[..., Result]

SERVER_FLAGS = {"server", "token_file", "wait", "idempotency_key"}
FIT = ("--features", "16", "--seed", "3")
NAME = f"rings-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def rings(live_server: Served) -> Path:
    path = live_server.data_root / "cli-rings.zarr"
    simulate("nspring", path, n_trajectories=3, n_frames=10, seed=5)
    return path


@pytest.fixture
def remote(cli: Cli, live_server: Served, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line with HAMFIT_SERVER set."""
    monkeypatch.setenv("HAMFIT_SERVER", live_server.url)
    return cli


@pytest.fixture(scope="module")
def fitted(live_server: Served, rings: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A published model: the id of its job, and where it was downloaded to."""
    out = tmp_path_factory.mktemp("fitted") / "m"
    result = subprocess.run(
        [COMMAND, "submit", "fit", rings, *FIT, "--out", out, "--publish", NAME, "--server", live_server.url],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr.split()[1], out


def only_json(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def refused(result: Result, words: str) -> None:
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_submit_has_exactly_the_flags_of_the_local_command_and_those_about_the_server(name: str) -> None:
    group = typer.main.get_command(app)
    local, submit = group.commands[name], group.commands["submit"].commands[name]
    flags = {parameter.name: parameter.opts for parameter in local.params}
    sent = {parameter.name: parameter.opts for parameter in submit.params}
    extra = SERVER_FLAGS | ({"publish"} if "publish" in PROCESSES[name].inputs.model_fields else set())
    assert set(sent) - set(flags) == extra
    assert {flag: sent[flag] for flag in flags} == flags


def test_every_process_is_a_command() -> None:
    assert set(COMMANDS) == set(PROCESSES)


def test_without_a_server_it_is_the_local_command(
    cli: Cli, rings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HAMFIT_SERVER", raising=False)
    local = only_json(cli("fit", rings, *FIT, "--threads", "1", "--out", tmp_path / "a", "--json"))
    sent = only_json(cli("submit", "fit", rings, *FIT, "--threads", "1", "--out", tmp_path / "b", "--json"))
    assert list(sent) == list(local)
    assert sent["held_out"] == local["held_out"]
    for one, other in zip(Model.open(tmp_path / "a").theta, Model.open(tmp_path / "b").theta, strict=True):
        np.testing.assert_array_equal(one, other)
    refused(cli("submit", "fit", rings, "--out", tmp_path / "c", "--publish", "x"), "--publish: these are for a server")
    refused(cli("submit", "fit", rings, "--no-wait", "--out", tmp_path / "c"), "--no-wait: these are for a server")
    refused(cli("submit", "fit", rings), "give --out MODEL")
    refused(cli("submit", "fit", rings, "--features", "0"), "'features' cannot be 0")


def test_with_a_server_and_a_place_the_result_is_that_of_the_local_command(
    cli: Cli, fitted: tuple[str, Path], rings: Path, tmp_path: Path
) -> None:
    assert cli("fit", rings, *FIT, "--threads", "1", "--out", tmp_path / "local").exit_code == 0
    for one, other in zip(Model.open(tmp_path / "local").theta, Model.open(fitted[1]).theta, strict=True):
        np.testing.assert_array_equal(one, other)
    assert cli("info", fitted[1]).exit_code == 0


def test_without_a_place_only_the_id_is_printed(remote: Cli, rings: Path) -> None:
    result = remote("submit", "simulate", "spring", "--frames", "3")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    job = result.stdout.strip()
    watched = remote("watch", job)
    assert watched.exit_code == 0, watched.output
    assert f"Dataset job:{job}" in watched.stdout
    assert only_json(remote("submit", "simulate", "spring", "--json"))["process"] == "simulate"


def test_waiting_prints_the_report_of_the_local_command(remote: Cli, rings: Path, fitted: tuple[str, Path]) -> None:
    local = only_json(remote("evaluate", fitted[1], rings, "--json"))
    sent = only_json(remote("submit", "evaluate", NAME, rings, "--wait", "--json"))
    assert sent.keys() == local.keys()
    assert sent["force"] == pytest.approx(local["force"])
    table = remote("submit", "evaluate", f"{NAME}@1", rings, "--wait")
    assert f"{NAME}@1 on " in table.stdout


def test_a_rollout_and_a_report_are_downloaded(
    remote: Cli, rings: Path, fitted: tuple[str, Path], tmp_path: Path
) -> None:
    run = ("--steps", "20", "--dt", "0.01", "--every", "5")
    report = only_json(remote("submit", "rollout", NAME, "-i", rings, *run, "--out", tmp_path / "r", "--json"))
    assert (report["dataset"], report["steps"]) == (str(tmp_path / "r"), 20)
    Dataset.open(tmp_path / "r").verify()
    page = tmp_path / "pages" / "report.html"
    result = remote("submit", "evaluate", NAME, rings, "--rollout", "--report", page)
    assert result.exit_code == 0, result.output
    assert "<svg" in page.read_text(encoding="utf-8")


def test_a_place_that_is_taken_is_refused_before_anything_is_sent(remote: Cli, rings: Path, tmp_path: Path) -> None:
    before = only_json(remote("jobs", "--json"))["jobs"]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.tex").touch()
    refused(remote("submit", "fit", rings, "--out", tmp_path / "m"), "is not a Zarr store")
    refused(remote("submit", "fit", rings, "--out", tmp_path / "x", "--no-wait"), "leave --no-wait out")
    refused(remote("submit", "fit", rings, "--plan"), "leave --server out")
    refused(remote("submit", "fit", "nowhere.zarr"), "nowhere.zarr")
    refused(remote("submit", "fit", rings, "--publish", "No Name"), "'publish' cannot be 'No Name'")
    assert only_json(remote("jobs", "--json"))["jobs"] == before


def test_flags_about_this_machine_are_said_not_to_be_sent(remote: Cli, rings: Path) -> None:
    result = remote("submit", "fit", rings, "--threads", "2", "--no-checkpoint", "--features", "8")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("hamfit: warning: --threads, --checkpoint: not sent")


def test_the_same_key_is_the_same_job(remote: Cli) -> None:
    key = uuid.uuid4().hex
    one = remote("submit", "simulate", "spring", "--idempotency-key", key)
    assert remote("submit", "simulate", "spring", "--idempotency-key", key).stdout == one.stdout
    refused(remote("submit", "simulate", "spring", "--seed", "9", "--idempotency-key", key), "dempotency")


def test_paths_that_are_here_are_sent_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("liquid@3").mkdir()
    sent = with_absolute_paths(FitInputs(data=("here", "there", "liquid@3", "job:0123456789abcdef", "file:///x")))
    assert isinstance(sent, FitInputs)
    assert sent.data == (str(tmp_path / "here"), "there", "liquid@3", "job:0123456789abcdef", "file:///x")


def test_a_job_that_fails_is_exit_code_3_and_one_sentence(remote: Cli, rings: Path, tmp_path: Path) -> None:
    wrong = ("submit", "fit", rings, "--cutoff", "7-8=2.5")
    result = remote(*wrong, "--out", tmp_path / "m")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "failed: " in result.stderr
    assert "7-8" in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
    told = remote(*wrong, "--wait", "--json")
    assert told.exit_code == 3
    assert json.loads(told.stdout)["failure"]["kind"] == "user"
    job = json.loads(told.stdout)["id"]
    watched = remote("watch", job, "--json")
    assert watched.exit_code == 3
    lines = [json.loads(line) for line in watched.stdout.splitlines()]
    assert lines[-1]["kind"] == "end"
    assert lines[-1]["job"]["status"] == "failed"
    assert [line["status"] for line in lines if line["kind"] == "state"] == ["accepted", "running", "failed"]
    refused(remote("dismiss", job), "failed")


def test_ctrl_c_leaves_the_job_running_and_says_so(
    live_server: Served, remote: Cli, fitted: tuple[str, Path], rings: Path
) -> None:
    process = subprocess.Popen(
        [COMMAND, "submit", "rollout", NAME, "-i", rings, "--steps", "1000000000", "--dt", "0.0001",
         "--every", "1000000", "--wait", "--server", live_server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    job = process.stderr.readline().split()[1]
    live_server.wait_until(lambda: live_server.job(job)["status"] == "running", 60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith(f"hamfit: interrupted; job {job} goes on")
    assert "Traceback" not in err
    assert live_server.job(job)["status"] == "running"
    assert remote("dismiss", job).stdout.startswith(f"job {job} is ")
    assert live_server.finished(job)["status"] == "dismissed"
    ended = remote("watch", job)
    assert ended.exit_code == 3
    assert ended.stderr.splitlines()[-1] == f"hamfit: job {job} was dismissed"


def test_jobs_logs_and_results_are_listed(remote: Cli, fitted: tuple[str, Path], tmp_path: Path) -> None:
    job, _ = fitted
    assert job in {one["id"] for one in only_json(remote("jobs", "--process", "fit", "--json"))["jobs"]}
    assert len(only_json(remote("jobs", "--limit", "1", "--json"))["jobs"]) == 1
    assert job in remote("jobs", "--status", "succeeded,failed", "--limit", "500").stdout
    refused(remote("jobs", "--status", "sleeping"), "'accepted', 'running'")
    lines = remote("logs", job, "--follow", "--json").stdout.splitlines()
    assert "features begins" in [json.loads(line)["message"] for line in lines]
    assert len(remote("logs", job).stdout.splitlines()) == len(lines)
    found = only_json(remote("results", job, "--json"))
    assert (found["model"], found["reference"]) == (f"{NAME}@1", f"job:{job}")
    table = remote("results", job, "--out", tmp_path / "m")
    assert "error, held out" in table.stdout
    assert "downloaded to" in table.stdout
    refused(remote("results", job, "--out", tmp_path / "m"), "something is there already")
    assert remote("results", job, "--name", "report.json", "--out", tmp_path / "r.json").exit_code == 0
    refused(remote("watch", "0000000000000000"), "0000000000000000")


def test_models_are_listed_shown_downloaded_and_published(
    remote: Cli, fitted: tuple[str, Path], tmp_path: Path
) -> None:
    assert f"{NAME}@1" in {one["reference"] for one in only_json(remote("models", "--json"))["models"]}
    assert f"{NAME}@1" in remote("models").stdout
    assert only_json(remote("models", NAME, "--json"))["job"] == fitted[0]
    assert remote("models", f"{NAME}@1", "--out", tmp_path / "m").exit_code == 0
    assert Model.open(tmp_path / "m").theta
    again = only_json(remote("models", "publish", f"{NAME}-2", fitted[0], "--json"))
    assert again["reference"] == f"{NAME}-2@1"
    refused(remote("models", f"{NAME}@7"), NAME)
    refused(remote("models", "publish", NAME), "is not understood")
    refused(remote("models", "--out", tmp_path / "x"), "downloads one model")


def test_a_server_that_is_not_there_is_one_sentence(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamfit_service.cli.server.ANSWER_SECONDS", 0.1)
    for command in (("jobs",), ("models",), ("dismiss", "0000000000000000")):
        refused(cli(*command, "--server", "http://127.0.0.1:9"), "http://127.0.0.1:9 does not answer")
    refused(cli("jobs", "--server", "127.0.0.1:9"), "is no address of a server")


def test_without_httpx_a_command_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("hamfit_service.client")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx", None)
    refused(cli("jobs", "--server", "http://127.0.0.1:9"), "pip install hamfit[client]")
