"""The door itself: help, version, exit codes, and what goes to which stream."""

from __future__ import annotations

import errno
import inspect
import json
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import hamfit
from hamfit.errors import FitError
from hamfit.options import FitOptions
from hamfit_service.cli import doctor, fit

Cli = Callable[..., Result]
Command = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = ("simulate", "ingest", "fit", "evaluate", "info", "doctor")
DUMP = str(Path(__file__).parents[1] / "data" / "lj-500.lammpstrj.gz")
OWN_FLAGS_OF_FIT = {"data", "cluster", "out", "scheduler", "config", "overwrite", "plan", "as_json"}


def test_help_lists_every_command(cli: Cli) -> None:
    result = cli("--help")
    assert result.exit_code == 0
    assert all(name in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(cli: Cli, name: str) -> None:
    result = cli(name, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_help_takes_less_than_half_a_second(command: Command) -> None:
    # Processor time, and the best of some runs, so that other work on the machine does not count.
    assert min(_processor_seconds(command, "--help") for _ in range(5)) < 0.5


def _processor_seconds(command: Command, *arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert command(*arguments).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def test_version_is_printed(cli: Cli) -> None:
    assert cli("--version").stdout == f"hamfit {hamfit.__version__}\n"


def test_no_command_shows_help_and_is_wrong_usage(cli: Cli) -> None:
    assert cli().exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("fit",),
        ("fit", "x", "--bogus"),
        ("fit", "x", "--features", "many"),
        ("fit", "x", "--solver", "magic"),
        ("evaluate", "x"),
        ("ingest", "x"),
        ("info",),
        ("doctor", "--bogus"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_nothing_on_stdout(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = cli(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr != ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "x", "--features", "0"), "'features' cannot be 0"),
        (("fit", "x", "--blocks", "pear"), "'blocks' cannot be 'pear'"),
        (("fit", "x", "--cutoff", "far"), "'cutoff' cannot be 'far'"),
        (("fit", "x", "--config", "none.toml"), "none.toml cannot be read"),
        (("fit", "x"), "give --out"),
        (("fit", "x", "--out", "m", "--workers", "2", "--scheduler", "tcp://h:1"), "give one of them"),
        (("fit", "nowhere.zarr", "--out", "m"), "nowhere.zarr"),
        (("fit", "nowhere.zarr", "--plan"), "nowhere.zarr"),
        (("info", "nowhere.zarr"), "nowhere.zarr does not exist"),
        (("evaluate", "nowhere.model", "nowhere.zarr"), "nowhere.model"),
        (("simulate", "perpetuum"), "system 'perpetuum' is unknown"),
        (("simulate", "spring", "--out", "d", "--bogus", "1"), "spring has no option --bogus"),
        (("simulate", "spring", "--seed"), "--seed of spring needs a value"),
        (("simulate", "spring", "--seed", "1"), "give --out"),
        (("ingest", DUMP, "--out", "y", "--units", "lj", "--masses", "A"), "NAME=VALUE"),
        (("ingest", DUMP, "--out", "y", "--units", "lj", "--masses", "A=heavy"), "'heavy'"),
        (("ingest", DUMP, "--out", "y", "--units", "lj", "--species", "1=A,1=B"), "each name once"),
        (("ingest", DUMP, "--out", "y", "--units", "parsec"), "parsec"),
        (("ingest", "x", "--out", "y", "--units", "lj", "--pbc", "yes"), "--pbc 'yes'"),
        (("ingest", "nowhere.dump", "--out", "y", "--units", "lj"), "nowhere.dump"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_input_is_one_sentence_on_stderr_and_exit_code_2(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    words: str,
    as_json: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*arguments, *(["--json"] if as_json else []))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_is_exit_code_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> list[doctor.Check]:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)
    result = cli("doctor")
    assert result.exit_code == 130
    assert result.stderr == "hamfit: interrupted\n"


def test_a_message_of_several_lines_becomes_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path) -> list[doctor.Check]:
        raise FitError("too few rows:\n  add frames")

    monkeypatch.setattr(doctor, "examine", failing)
    result = cli("doctor")
    assert (result.exit_code, result.stderr) == (2, "hamfit: too few rows: add frames\n")


def test_a_full_disk_names_the_file(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> list[doctor.Check]:
        raise OSError(errno.ENOSPC, "No space left on device", "model.zarr")

    monkeypatch.setattr(doctor, "examine", full)
    result = cli("doctor")
    assert result.exit_code == 2
    assert "model.zarr: no space left on device" in result.stderr


def test_other_exceptions_are_not_hidden(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> list[doctor.Check]:
        raise ZeroDivisionError

    monkeypatch.setattr(doctor, "examine", broken)
    assert isinstance(cli("doctor").exception, ZeroDivisionError)


def test_the_flags_of_fit_are_the_fields_of_the_options() -> None:
    assert set(inspect.signature(fit.fit).parameters) - OWN_FLAGS_OF_FIT == set(FitOptions.model_fields)


def test_the_installed_command_prints_one_json_object_and_nothing_else(command: Command) -> None:
    result = command("doctor", "--json")
    assert result.returncode == 0
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout)["healthy"] is True
    assert result.stderr == ""


def test_the_installed_command_reports_bad_input_with_exit_code_2(command: Command) -> None:
    result = command("info", "nowhere.zarr", "--json")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("hamfit: nowhere.zarr does not exist")
