"""What the data commands read from their flags, without running anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hamfit.errors import SpecError
from hamfit.systems import SYSTEMS
from hamfit_service.cli.data import read_axes, read_flags

Cli = Callable[..., Result]

YES_OR_NO = [
    (name, option.flag) for name, system in SYSTEMS.items() for option in system.options if option.kind == "bool"
]


def test_simulate_alone_lists_the_systems(cli: Cli) -> None:
    result = cli("simulate")
    assert result.exit_code == 2
    assert all(name in result.stdout for name in SYSTEMS)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_help_of_a_system_lists_its_options(cli: Cli, name: str) -> None:
    result = cli("simulate", name, "--help")
    assert result.exit_code == 0
    assert all(option.flag in result.stdout for option in SYSTEMS[name].options)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ([], {}),
        (["--seed", "7"], {"seed": "7"}),
        (["--seed=7", "--dt", "-1.5"], {"seed": "7", "dt": "-1.5"}),
        (["--trajectories", "3"], {"n_trajectories": "3"}),
    ],
)
def test_flags_of_a_system_become_its_options(arguments: list[str], values: dict[str, str]) -> None:
    assert read_flags(SYSTEMS["spring"], arguments) == values


@pytest.mark.parametrize(
    ("name", "flag"), [(n, o.flag) for n, s in SYSTEMS.items() for o in s.options if o.kind == "bool"]
)
def test_a_yes_or_no_option_needs_no_value(name: str, flag: str) -> None:
    option = next(option for option in SYSTEMS[name].options if option.flag == flag)
    negative = flag.replace("--", "--no-", 1)
    assert read_flags(SYSTEMS[name], [flag]) == {option.name: "true"}
    assert read_flags(SYSTEMS[name], [negative]) == {option.name: "false"}
    assert read_flags(SYSTEMS[name], [flag, "false"]) == {option.name: "false"}


@pytest.mark.parametrize("arguments", [["--sede", "7"], ["7"], ["--seed"], ["--seed", "--dt", "1"]])
def test_flags_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SpecError):
        read_flags(SYSTEMS["spring"], arguments)


def test_axes_are_read() -> None:
    assert read_axes("T, f,1") == (True, False, True)


def _parts(command: Any) -> list[Any]:
    return list(getattr(command, "commands", {}).values())


def test_the_reference_page_names_every_flag_of_every_command() -> None:
    import typer.main

    from hamfit_service.cli import app

    page = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    group = typer.main.get_command(app)
    commands = [*group.commands.values(), *(one for part in group.commands.values() for one in _parts(part))]
    flags = {
        flag
        for command in commands
        for parameter in command.params
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("--")
    }
    assert len(flags) > 30
    assert {flag for flag in flags - {"--help"} if f"`{flag}`" not in page and f"{flag} " not in page} == set()
