"""`hamfit rollout` at the door: flags, files, tables, JSON, exit codes."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from hamfit.data import Dataset
from hamfit.fitting import fit
from hamfit.options import FitOptions
from hamfit.rollouts.options import RolloutOptions
from hamfit.systems import simulate
from hamfit_service.cli import rollout as command_module
from worlds import liquids, write

Cli = Callable[..., Result]
Command = Callable[..., subprocess.CompletedProcess[str]]

OWN_FLAGS = {"model", "initial", "out", "scheduler", "cluster", "config", "overwrite", "plan", "as_json"}
RUN = ("--steps", "30", "--dt", "0.01", "--every", "10", "--threads", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of rings of springs and two calm rings that it has not seen."""
    folder = tmp_path_factory.mktemp("rings")
    seen = simulate("nspring", folder / "seen", n_trajectories=8, n_frames=30, width=2.2)
    fit(seen, options=FitOptions(features=32, threads=1, checkpoint=False), out=folder / "model")
    simulate("nspring", folder / "data", n_trajectories=2, n_frames=6, seed=7, width=1.6)
    return folder


def only_json(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def test_the_flags_are_the_fields_of_the_options() -> None:
    assert set(inspect.signature(command_module.rollout).parameters) - OWN_FLAGS == set(RolloutOptions.model_fields)


def test_help_says_what_each_flag_does_and_its_default(cli: Cli) -> None:
    text = " ".join(cli("rollout", "--help").stdout.replace("│", " ").split())
    for words in (
        "Steps of each rollout.",
        "Default verlet.",
        "Frames of each trajectory to start from",
        "Default 120.0.",
    ):
        assert words in text
    assert "Print what the rollout would cost" in text


def test_the_result_is_a_dataset_and_one_json_object(cli: Cli, place: Path, tmp_path: Path) -> None:
    result = cli("rollout", place / "model", "--initial", place / "data", "--out", tmp_path / "r", *RUN, "--json")
    report = only_json(result)
    keys = {"dataset", "rollouts", "steps", "dt", "integrator", "energy_drift", "momentum_drift", "extrapolated_share",
            "first_non_finite", "resumed", "warnings", "seconds", "steps_per_second", "tau_per_hour"}  # fmt: skip
    assert keys <= set(report)
    assert (report["dataset"], report["rollouts"], report["first_non_finite"]) == (str(tmp_path / "r"), 2, [])
    dataset = Dataset.open(tmp_path / "r")
    dataset.verify()
    assert [t.step.tolist() for t in dataset.trajectories] == [[0, 10, 20, 30]] * 2
    assert cli("info", tmp_path / "r").exit_code == 0


def test_the_table_is_for_people_and_progress_goes_to_stderr(cli: Cli, place: Path, tmp_path: Path) -> None:
    arguments = ("rollout", place / "model", "-i", place / "data", "-o", tmp_path / "r", *RUN)
    result = cli(*arguments)
    assert result.exit_code == 0, result.output
    for words in ("rollouts", "energy drift", "steps/second", "tau/hour", "peak memory", "verlet"):
        assert words in result.stdout
    assert result.stderr.splitlines()[0].startswith("rollout 60/60 · ")
    assert "steps/s" in result.stderr
    assert result.stderr.count("\n") == 1
    again = cli(*arguments)
    assert again.exit_code == 0
    assert "(there already)" in again.stdout
    assert again.stderr == ""


def test_warnings_are_said_on_stderr_and_told_in_json(cli: Cli, place: Path, tmp_path: Path) -> None:
    # the same rings, shaken until their springs are longer than any seen
    hot = ("--temperature", "900", "--replicas", "2", "--dt", "0.002")
    steps = ("--steps", "200", "--every", "20", "--threads", "1")
    result = cli("rollout", place / "model", "-i", place / "data", "-o", tmp_path / "r", *hot, *steps, "--json")
    report = only_json(result)
    assert report["extrapolated_share"] > 0.01
    assert f"hamfit: warning: {report['warnings'][0]}\n" in result.stderr
    assert "outside the distances seen in training" in report["warnings"][0]


def test_a_plan_runs_nothing_and_needs_no_place(
    cli: Cli, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ("rollout", place / "model", "--initial", place / "data", "--steps", "400", "--plan")
    plan = only_json(cli(*arguments, "--json"))
    assert (plan["rollouts"], plan["steps"], plan["frames"]) == (2, 400, 101)
    assert plan["dt_proposed"] is True
    assert 1e-3 < plan["dt"] < 0.1
    assert plan["peak_bytes_per_process"] > plan["disk_bytes"] > 0
    only_json(cli(*arguments, "--out", "r", "--json"))
    assert list(tmp_path.iterdir()) == []
    assert "disk_bytes" in cli(*arguments).stdout


def test_flags_may_come_from_a_file_and_win_over_it(cli: Cli, place: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text('steps = 20\ndt = 0.02\nevery = 5\nframes = "0,3"\nintegrator = "yoshida4"\nthreads = 1\n')
    arguments = ("rollout", place / "model", "-i", place / "data", "--config", config, "--json")
    report = only_json(cli(*arguments, "-o", tmp_path / "a"))
    assert (report["rollouts"], report["steps"], report["dt"], report["integrator"]) == (4, 20, 0.02, "yoshida4")
    report = only_json(cli(*arguments, "-o", tmp_path / "b", "--steps", "10", "--frames", "-1"))
    assert (report["rollouts"], report["steps"]) == (2, 10)
    assert Dataset.open(tmp_path / "b").trajectories[0].name.endswith("-frame-5")


def test_backwards_is_a_negative_step(cli: Cli, place: Path, tmp_path: Path) -> None:
    forth = ("--steps", "30", "--dt", "0.01", "--threads", "1", "--json")
    back = ("--steps", "30", "--dt", "-0.01", "--threads", "1", "--frames", "-1", "--json")
    only_json(cli("rollout", place / "model", "-i", place / "data", "-o", tmp_path / "forth", *forth))
    only_json(cli("rollout", place / "model", "-i", tmp_path / "forth", "-o", tmp_path / "back", *back))
    start, end = (Dataset.open(p).trajectories[0] for p in (place / "data", tmp_path / "back"))
    np.testing.assert_allclose(end.frame(-1).q, start.frame(0).q, atol=1e-11)


def test_workers_give_the_same_bits_as_threads(command: Command, place: Path, tmp_path: Path) -> None:
    arguments = ("rollout", place / "model", "-i", place / "data", "--steps", "30", "--dt", "0.01", "--json")
    digests = set()
    for name, flags in {"a": ("--threads", "2"), "b": ("--workers", "2", "--threads", "1")}.items():
        result = command(*arguments, "-o", tmp_path / name, *flags)
        assert result.returncode == 0, result.stderr
        assert result.stderr.startswith("rollout 60/60")
        digests.add(Dataset.open(tmp_path / name).digest)
    assert len(digests) == 1


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "no steps": (("--dt", "0.01"), "'steps' is missing"),
    "no place": (("--steps", "3"), "a rollout needs a place for its trajectories; give --out FOLDER, or --plan"),
    "zero steps": (("--steps", "0", "--out", "r"), "'steps' cannot be 0"),
    "zero dt": (("--steps", "3", "--dt", "0", "--out", "r"), "dt is 0, which is no step"),
    "nan dt": (("--steps", "3", "--dt", "nan", "--out", "r"), "'dt' cannot be nan"),
    "infinite dt": (("--steps", "3", "--dt", "inf", "--out", "r"), "'dt' cannot be inf"),
    "dt too long": (("--steps", "3", "--dt", "30", "--out", "r"), "dt 30 blows up in the first step"),
    "replicas alike": (("--steps", "3", "--replicas", "2", "--out", "r"), "2 replicas without a temperature"),
    "no such frame": (("--steps", "3", "--dt", "0.01", "--frames", "0,9", "--out", "r"), "frame 9 does not exist"),
    "no frames": (("--steps", "3", "--frames", "x", "--out", "r"), "frames 'x' cannot be read"),
    "two clusters": (
        ("--steps", "3", "--out", "r", "--workers", "2", "--scheduler", "tcp://h:1"),
        "--workers starts processes and --scheduler uses running ones",
    ),
    "no such file": (("--config", "none.toml", "--out", "r"), "none.toml cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_input_is_one_sentence_and_exit_code_2(
    case: str, as_json: bool, cli: Cli, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags, words = BAD[case]
    refused(cli("rollout", place / "model", "-i", place / "data", *flags, *(["--json"] if as_json else [])), words)
    assert list(tmp_path.iterdir()) == []


def refused(result: Result, words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_wrong_words_are_wrong_usage(cli: Cli, place: Path) -> None:
    for flags in (("--integrator", "euler"), ("--steps", "many"), ("--bogus",)):
        result = cli("rollout", place / "model", "-i", place / "data", *flags)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr != ""


def test_what_is_no_model_or_no_dataset_is_refused(cli: Cli, place: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "r", *RUN)
    refused(cli("rollout", place / "data", "-i", place / "data", *out), "is not a complete model")
    refused(cli("rollout", tmp_path / "none", "-i", place / "data", *out), "none does not exist")
    refused(cli("rollout", place / "model", "-i", place / "model", *out), "not a hamfit dataset")
    still = write(tmp_path / "still", [Dataset.open(place / "data").trajectories[0].frames()], velocities=False)
    refused(
        cli("rollout", place / "model", "-i", still.path, *out), "has no velocities to start with: give a temperature"
    )
    other = write(tmp_path / "other", [liquids(1, 1)])
    refused(cli("rollout", place / "model", "-i", other.path, *out), "3-dimensional, the model 2-dimensional")


def test_a_place_is_kept_unless_overwriting_is_asked_for(cli: Cli, place: Path, tmp_path: Path) -> None:
    arguments = (
        "rollout",
        place / "model",
        "-i",
        place / "data",
        "-o",
        tmp_path / "r",
        "--dt",
        "0.01",
        "--threads",
        "1",
    )
    only_json(cli(*arguments, "--steps", "10", "--json"))
    refused(cli(*arguments, "--steps", "20"), "something is there already")
    report = only_json(cli(*arguments, "--steps", "20", "--overwrite", "--json"))
    assert (report["steps"], report["resumed"]) == (20, False)
    assert only_json(cli(*arguments, "--steps", "20", "--json"))["resumed"] is True
    refused(cli(*arguments, "--steps", "20", "--no-resume"), "something is there already")


def test_the_command_line_starts_without_numpy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from hamfit_service.cli import app;"
        " assert CliRunner().invoke(app, ['rollout', '--help']).exit_code == 0;"
        " print([name for name in ('numpy', 'zarr', 'dask', 'distributed', 'numba', 'scipy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
