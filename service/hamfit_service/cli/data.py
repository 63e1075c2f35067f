"""`hamfit simulate` and `hamfit ingest`: the two ways to a dataset.

Each built-in system has options of its own. They are read from the library's catalogue when the command runs,
so that a new system or option needs no word here: `hamfit simulate SYSTEM --help` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hamfit.errors import SpecError, suggestion
from hamfit_service.cli.console import JsonFlag, print_json, print_table
from hamfit_service.cli.info import print_dataset
from hamfit_service.cli.running import Run, RunCommand
from hamfit_service.processes.ingest import IngestInputs
from hamfit_service.processes.simulate import SimulateInputs

if TYPE_CHECKING:
    from hamfit.systems import Option, System

_SHARED_FLAGS = ("--out", "--overwrite", "--json", "--help")


def simulate(
    context: typer.Context,
    system: Annotated[str | None, typer.Argument(help="Name of a built-in system.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the dataset.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the dataset at --out.")] = False,
    as_json: JsonFlag = False,
    show_help: Annotated[
        bool, typer.Option("--help", "-h", help="Show the systems, or the options of SYSTEM, and stop.")
    ] = False,
) -> Run:
    """Simulate a built-in system and keep its trajectories as a dataset."""
    if show_help:
        typer.echo(context.get_help())
    if show_help or system is None:
        _list_systems() if system is None else _list_options(system)
        raise typer.Exit(0 if show_help else 2)
    found = _find(system)
    values = read_flags(found, context.args)
    found.spec(values)  # says what is wrong in the words of the system
    inputs = SimulateInputs.build({"system": system, "options": values})
    return Run(inputs=inputs, out=out, overwrite=overwrite, as_json=as_json)


def ingest(
    files: Annotated[
        list[str],
        typer.Argument(help="LAMMPS dumps, extended XYZ (both also .gz), ASE .traj or NumPy .npz files."),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the dataset.")] = None,
    units: Annotated[
        str | None,
        typer.Option("--units", help="Units of the files: lj, metal, real, ase, si or electron."),
    ] = None,
    energies: Annotated[
        str | None, typer.Option("--energies", help="CSV of potential energies, one line per frame.")
    ] = None,
    energies_per: Annotated[
        Literal["atom", "frame"] | None, typer.Option("--energies-per", help="What one energy belongs to.")
    ] = None,
    species: Annotated[
        str | None, typer.Option("--species", help="Names of the files' types, such as 1=Si,2=O.")
    ] = None,
    masses: Annotated[
        str | None, typer.Option("--masses", help="Masses by species, such as Si=28.085,O=15.999.")
    ] = None,
    dt: Annotated[float | None, typer.Option("--dt", help="Time of one step, in the files' unit.")] = None,
    derivatives: Annotated[
        bool, typer.Option("--derivatives", help="Fill in missing velocities and forces from the time series.")
    ] = False,
    pbc: Annotated[
        str | None, typer.Option("--pbc", help="Periodic axes where the files do not say, such as T,T,F.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the dataset at --out.")] = False,
    as_json: JsonFlag = False,
) -> Run:
    """Read trajectories of other programs, convert their units and keep them as a dataset."""
    inputs = IngestInputs.build(
        {
            "files": files,
            "units": units,
            "energies": energies,
            "energies_per": energies_per,
            "species": species,
            "masses": masses,
            "dt": dt,
            "derivatives": derivatives,
            "pbc": None if pbc is None else read_axes(pbc),
        }
    )
    return Run(inputs=inputs, out=out, overwrite=overwrite, as_json=as_json)


def read_flags(system: System, arguments: Sequence[str]) -> dict[str, str]:
    """Values of a system's own options from the rest of the command line, as text the library then checks.

    Raises:
        SpecError: a flag is unknown to the system, or has no value.

    """
    known = {option.flag: option for option in system.options}
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        option = known.get(flag)
        denied = known.get(flag.replace("--no-", "--", 1)) if flag.startswith("--no-") else None
        if option is None and denied is not None and denied.kind == "bool" and not equals:
            values[denied.name] = "false"
            continue
        if option is None:
            raise SpecError(f"{system.name} has no option {flag}: {suggestion(flag, [*known, *_SHARED_FLAGS])}")
        if not equals:
            if rest and not _is_flag(rest[0]):
                value = rest.pop(0)
            elif option.kind == "bool":
                value = "true"
            else:
                raise SpecError(f"{flag} of {system.name} needs a value; write {flag} {option.default}")
        values[option.name] = value
    return values


def _is_flag(text: str) -> bool:
    return text.startswith("--")


def read_axes(text: str) -> tuple[bool, ...]:
    """Which axes are periodic from `T,T,F`; SpecError for other letters."""
    axes = {"t": True, "true": True, "1": True, "f": False, "false": False, "0": False}
    letters = [part.strip().lower() for part in text.split(",")]
    if not all(letter in axes for letter in letters):
        raise SpecError(f"--pbc '{text}' is not a list of T and F; write one letter per axis, such as T,T,F")
    return tuple(axes[letter] for letter in letters)


def _find(name: str) -> System:
    from hamfit.systems import system

    return system(name)


def _show(report: Mapping[str, Any], run: Run, place: str | None) -> None:
    if run.as_json:
        print_json(report)
        return
    print_dataset(report, str(place))


def _list_systems() -> None:
    from hamfit.systems import SYSTEMS

    print_table("Systems", ((entry.name, entry.summary) for entry in SYSTEMS.values()))


def _list_options(name: str) -> None:
    system = _find(name)
    print_table(f"Options of {name}", ((option.flag, _help_of(option)) for option in system.options))


def _help_of(option: Option) -> str:
    choices = f" One of {', '.join(option.choices)}." if option.choices else ""
    value = "x".join(map(str, option.default)) if option.kind == "shape" and option.default else option.default
    default = "" if option.default is None else f" Default {value}."
    return f"{option.help}{choices}{default}"


SIMULATE = RunCommand(
    name="simulate",
    flags=simulate,
    show=_show,
    needs_out="a simulation needs a place for its dataset; give --out FOLDER",
    settings={
        "add_help_option": False,
        "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    },
)
INGEST = RunCommand(
    name="ingest",
    flags=ingest,
    show=_show,
    needs_out="an ingest needs a place for its dataset; give --out FOLDER",
)
