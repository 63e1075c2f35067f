"""`hamfit evaluate --rollout`: a model run along a reference, in numbers and as a page."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from hamfit.data import Dataset, DatasetWriter
from hamfit.fitting import fit
from hamfit.options import FitOptions
from hamfit.systems import simulate
from worlds import write

Cli = Callable[..., Result]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of rings of springs and two rings that it has not seen."""
    folder = tmp_path_factory.mktemp("rings")
    seen = simulate("nspring", folder / "seen", n_trajectories=10, n_frames=30, width=2.2)
    fit(seen, options=FitOptions(features=64, threads=1, checkpoint=False), out=folder / "model")
    simulate("nspring", folder / "data", n_trajectories=2, n_frames=12, seed=7)
    return folder


def only_json(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def refused(result: Result, words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_model_is_run_along_a_reference(
    cli: Cli, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("evaluate", place / "model", place / "data", "--rollout", "--threads", "1", "--json")
    numbers = only_json(result)
    assert numbers["errors"]["zerr"] < 1e-5
    assert numbers["errors"]["herr"] < 1e-6
    assert result.stderr.startswith("rollout ")
    # the trajectories were for this once
    assert list(tmp_path.iterdir()) == []


def test_trajectories_can_be_kept_and_compared_again(cli: Cli, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "r"
    flags = ("--rollout", "--dt", "0.02", "--integrator", "kahanli6", "--threads", "1", "--out", out, "--json")
    first = only_json(cli("evaluate", place / "model", place / "data", *flags))
    dataset = Dataset.open(out)
    assert [t.n_frames for t in dataset.trajectories] == [12, 12]
    assert dataset.attrs["rollout"]["options"]["integrator"] == "kahanli6"
    again = only_json(cli("evaluate", place / "model", place / "data", "--trajectories", out, "--json"))
    assert again == first
    # what is there already is taken
    assert only_json(cli("evaluate", place / "model", place / "data", *flags)) == first


def test_a_table_is_for_people(cli: Cli, place: Path) -> None:
    result = cli("evaluate", place / "model", place / "data", "--rollout", "--threads", "1")
    assert result.exit_code == 0, result.output
    assert "errors.zerr" in result.stdout
    assert "run along" in result.stdout


def test_a_report_is_one_page(cli: Cli, place: Path, tmp_path: Path) -> None:
    flags = ("--rollout", "--threads", "1", "--report", tmp_path / "pages" / "report.html")
    assert cli("evaluate", place / "model", place / "data", *flags).exit_code == 0
    page = (tmp_path / "pages" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<svg") >= 3
    assert "<script" not in page
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["report.html"]


def test_a_report_is_not_replaced_unasked_and_that_is_said_before_anything_runs(
    cli: Cli, place: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    report.write_text("precious")
    out = tmp_path / "r"
    flags = ("--rollout", "--threads", "1", "--report", report, "--out", out)
    refused(cli("evaluate", place / "model", place / "data", *flags), "report.html exists; choose another path")
    assert report.read_text() == "precious"
    assert not out.exists()
    assert cli("evaluate", place / "model", place / "data", *flags, "--overwrite").exit_code == 0
    assert "<svg" in report.read_text()
    refused(cli("evaluate", place / "model", place / "data", "--rollout", "--report", tmp_path), "is a folder; give")


def test_without_matplotlib_a_report_is_refused_before_anything_runs(
    cli: Cli, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else find_spec(name, *rest)
    )
    flags = ("--rollout", "--report", tmp_path / "report.html", "--out", tmp_path / "r")
    refused(cli("evaluate", place / "model", place / "data", *flags), "matplotlib, which is not installed: pip install")
    assert list(tmp_path.iterdir()) == []


FLAGS: dict[str, tuple[tuple[str, ...], str]] = {
    "out": (("--out", "r"), "--out: these say how a rollout is run; add --rollout"),
    "dt": (("--dt", "0", "--device", "cpu"), "--dt, --device: these say how a rollout is run; add --rollout"),
    "report": (("--report", "p.html"), "--report is about rollouts; add --rollout"),
    "both": (("--rollout", "--trajectories", "r"), "--trajectories are compared instead of running"),
    "trajectories run": (("--trajectories", "r", "--workers", "2"), "--workers: these say how a rollout is run"),
    "device": (("--device", "cpu"), "--device: these say how a rollout is run; add --rollout"),
    "scheduler": (("--rollout", "--scheduler", "tcp://127.0.0.1:1"), "give --out on a shared disk"),
    "dt of nothing": (("--rollout", "--dt", "0"), "'dt' cannot be 0.0: input should be greater than 0"),
    "dt of nan": (("--rollout", "--dt", "nan"), "'dt' cannot be nan: input should be a finite number"),
    "no trajectories": (("--trajectories", "none"), "none: does not exist"),
}


@pytest.mark.parametrize("case", FLAGS)
def test_flags_that_make_no_sense_together_are_refused(
    case: str, cli: Cli, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags, words = FLAGS[case]
    refused(cli("evaluate", place / "model", place / "data", *flags), words)
    assert list(tmp_path.iterdir()) == []


def test_a_reference_that_cannot_be_followed_is_refused(cli: Cli, place: Path, tmp_path: Path) -> None:
    frames = Dataset.open(place / "data").trajectories[0].frames()
    timeless = write(tmp_path / "timeless", [frames])
    still = write(tmp_path / "still", [frames], velocities=False)
    with DatasetWriter.create(
        tmp_path / "uneven", units="lj", labels=frames[0].labels, bond_labels=frames[0].bond_labels
    ) as writer:
        writer.add_trajectory(
            "run-0",
            q=[f.q for f in frames[:3]],
            velocity=[f.qdot for f in frames[:3]],
            species=frames[0].species,
            masses=frames[0].masses,
            bonds=frames[0].bonds,
            time=np.array([0.0, 0.1, 0.3]),
        )
    for path, words in (
        (timeless.path, "the times of its frames are unknown: ingest it with --dt"),
        (still.path, "has no velocities to start with: use data that have them"),
        (tmp_path / "uneven", "frames are 0.1 to 0.2 apart in time, where a rollout needs one interval"),
        (tmp_path / "none", "does not exist"),
    ):
        refused(cli("evaluate", place / "model", path, "--rollout"), words)


def test_errors_frame_by_frame_need_no_rollout(cli: Cli, place: Path) -> None:
    numbers = only_json(cli("evaluate", place / "model", place / "data", "--json"))
    assert numbers["force"] < 1e-4
    assert "errors" not in numbers
