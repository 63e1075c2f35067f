"""The whole way through the installed command: simulate, describe, plan, fit, evaluate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from hamfit.model import Model

Cli = Callable[..., Result]
Command = Callable[..., subprocess.CompletedProcess[str]]

FIT = ("--features", "32", "--cutoff", "2.5", "--input-map", "1/r", "--sampler", "elm", "--threads", "1")


def _only_json(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


@pytest.fixture(scope="module")
def liquid(tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """Six frames of 108 Lennard-Jones atoms."""
    path = tmp_path_factory.mktemp("liquid") / "lj.zarr"
    flags = ("--shape", "3x3x3", "--frames", "6", "--every", "20", "--melt-steps", "100", "--seed", "3")
    description = _only_json(command("simulate", "lj", *flags, "--out", path, "--json"))
    assert description["labels"] == ["1"]
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory, command: Command, liquid: Path) -> tuple[Path, dict[str, Any]]:
    """A model of the liquid, and what the fit reported."""
    path = tmp_path_factory.mktemp("fitted") / "lj.model"
    return path, _only_json(command("fit", liquid, "--out", path, *FIT, "--json"))


def test_the_report_of_a_fit_has_what_programs_need(fitted: tuple[Path, dict[str, Any]]) -> None:
    path, report = fitted
    assert report["model"] == str(path)
    assert set(report["train"]) == set(report["held_out"]) == {"force", "velocity"}
    assert report["train"]["force"] < 1e-3
    assert report["train"]["velocity"] < 1e-6
    assert report["rank"]["force"] > 0
    assert report["condition"]["force"] > 1.0
    assert report["peak_bytes_per_worker"] > 0
    assert report["seconds"]["total"] >= report["seconds"]["solving"]


def test_a_model_is_evaluated(command: Command, liquid: Path, fitted: tuple[Path, dict[str, Any]]) -> None:
    result = _only_json(command("evaluate", fitted[0], liquid, "--json"))
    keys = {"force", "velocity", "force_mae", "force_rmse", "energy_mae_per_particle", "extrapolated_share"}
    assert keys <= set(result)
    assert result["force"] < 1e-3
    assert result["extrapolated_share"] == 0.0


@pytest.mark.parametrize("kind", ["dataset", "model"])
def test_info_tells_datasets_from_models(
    cli: Cli, liquid: Path, fitted: tuple[Path, dict[str, Any]], kind: str
) -> None:
    path = liquid if kind == "dataset" else fitted[0]
    result = cli("info", path, "--json")
    assert json.loads(result.stdout)["kind"] == kind
    assert cli("info", path).exit_code == 0


def test_a_plan_runs_nothing(cli: Cli, liquid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("fit", liquid, "--plan", "--out", "planned.model", *FIT, "--json")
    plan = json.loads(result.stdout)
    assert {"rows", "columns", "tasks", "peak_bytes_per_worker", "expected_seconds"} <= set(plan)
    assert plan["rows"] == 2 * 6 * 108 * 3
    assert list(tmp_path.iterdir()) == []
    assert "expected_seconds" in cli("fit", liquid, "--plan", *FIT).stdout


def test_workers_give_the_same_bits_as_threads(
    command: Command, liquid: Path, fitted: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    report = _only_json(command("fit", liquid, "--out", tmp_path / "m", *FIT, "--workers", "2", "--json"))
    assert report["rank"] == fitted[1]["rank"]
    threads, workers = Model.open(fitted[0]), Model.open(tmp_path / "m")
    for one, other in zip(threads.theta, workers.theta, strict=True):
        np.testing.assert_array_equal(one, other)


def test_flags_may_come_from_a_file(cli: Cli, liquid: Path, tmp_path: Path) -> None:
    config = tmp_path / "fit.toml"
    config.write_text('features = 16\ncutoff = 2.5\nblocks = ["pair"]\ninput_map = "1/r"\nsampler = "elm"\n')
    result = cli("fit", liquid, "--out", tmp_path / "m", "--config", config, "--threads", "1", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["blocks"] == ["pair"]


def test_tables_are_printed_for_people(
    cli: Cli, liquid: Path, fitted: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    fit = cli("fit", liquid, "--out", tmp_path / "m", *FIT)
    assert "error, held out" in fit.stdout
    assert "rows/s" in fit.stderr
    assert "extrapolated_share" in cli("evaluate", fitted[0], liquid).stdout


def test_a_model_is_kept_where_overwriting_is_not_allowed(
    cli: Cli, liquid: Path, fitted: tuple[Path, dict[str, Any]]
) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in fitted[0].rglob("*"))
    result = cli("fit", liquid, "--out", fitted[0], *FIT, "--no-overwrite")
    assert result.exit_code == 2
    assert "exists" in result.stderr
    assert sorted((path, path.stat().st_mtime_ns) for path in fitted[0].rglob("*")) == before


def test_something_that_is_no_model_is_never_replaced(cli: Cli, liquid: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    result = cli("fit", liquid, "--out", tmp_path / "thesis", *FIT)
    assert result.exit_code == 2
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--blocks", "pair", "--cutoff", "1-2=2.5"), "1-2"),
        (("--blocks", "pair", "--cutoff", "He-He=2.5"), "He"),
    ],
)
def test_options_that_contradict_the_data_are_bad_input(
    cli: Cli, liquid: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    result = cli("fit", liquid, "--out", tmp_path / "m", *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_is_not_a_model_and_the_reverse(
    cli: Cli, liquid: Path, fitted: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    for result in (
        cli("evaluate", liquid, liquid),
        cli("evaluate", fitted[0], fitted[0]),
        cli("fit", fitted[0], "--out", tmp_path / "m"),
    ):
        assert result.exit_code == 2, result.output
        assert result.stderr.count("\n") == 1


def test_a_simulation_does_not_replace_a_dataset_unasked(cli: Cli, tmp_path: Path) -> None:
    flags = ("--trajectories", "1", "--frames", "2", "--out", tmp_path / "s.zarr")
    assert cli("simulate", "spring", *flags).exit_code == 0
    refused = cli("simulate", "spring", *flags)
    assert refused.exit_code == 2
    assert "s.zarr" in refused.stderr
    assert cli("simulate", "spring", *flags, "--overwrite").exit_code == 0


def test_ctrl_c_is_exit_code_130_and_leaves_nothing(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("hamfit")
    process = subprocess.Popen(
        [str(command), "simulate", "lj", "--frames", "100000", "--out", str(tmp_path / "d.zarr")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=5.0)  # long enough to be inside the simulation, far too short to end it
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, err.splitlines()[-1]) == ("", "hamfit: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_a_dump_is_ingested_with_its_energies(command: Command, tmp_path: Path) -> None:
    data = Path(__file__).parents[1] / "data"
    out = tmp_path / "lj.zarr"
    flags = ("--units", "lj", "--energies", data / "lj-500.energies.csv", "--species", "1=Ar", "--out", out)
    description = _only_json(command("ingest", data / "lj-500.lammpstrj.gz", *flags, "--json"))
    assert description["labels"] == ["Ar"]
    assert command("ingest", data / "lj-500.lammpstrj.gz", *flags).returncode == 2
    assert command("ingest", data / "lj-500.lammpstrj.gz", *flags, "--overwrite").returncode == 0
