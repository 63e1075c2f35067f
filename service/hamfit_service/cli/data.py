"""`hamfit simulate` and `hamfit ingest`: the two ways to a dataset.

Each built-in system has options of its own. They are read from the library's catalogue when the command runs,
so that a new system or option needs no word here: `hamfit simulate SYSTEM --help` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from hamfit.errors import SpecError
from hamfit_service.cli.console import JsonFlag, print_json, print_table, progress_on_stderr
from hamfit_service.cli.info import print_dataset

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
) -> None:
    """Simulate a built-in system and keep its trajectories as a dataset."""
    if show_help:
        typer.echo(context.get_help())
    if show_help or system is None:
        _list_systems() if system is None else _list_options(system)
        raise typer.Exit(0 if show_help else 2)
    values = read_flags(_find(system), context.args)
    if out is None:
        raise SpecError("a simulation needs a place for its dataset; give --out FOLDER")
    _show_dataset(_simulate(system, out, values, overwrite=overwrite), out, as_json=as_json)


def ingest(
    files: Annotated[
        list[Path],
        typer.Argument(help="LAMMPS dumps, extended XYZ (both also .gz), ASE .traj or NumPy .npz files."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the dataset.")],
    units: Annotated[
        str | None,
        typer.Option("--units", help="Units of the files: lj, metal, real, ase, si or electron."),
    ] = None,
    energies: Annotated[
        Path | None, typer.Option("--energies", help="CSV of potential energies, one line per frame.")
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
) -> None:
    """Read trajectories of other programs, convert their units and keep them as a dataset."""
    options: dict[str, Any] = {
        "units": units,
        "energies": energies,
        "energies_per": energies_per,
        "species": species,
        "masses": masses,
        "dt": dt,
        "derivatives": derivatives,
        "pbc": None if pbc is None else read_axes(pbc),
        "overwrite": overwrite,
    }
    _show_dataset(_ingest(files, out, options), out, as_json=as_json)


def read_flags(system: System, arguments: Sequence[str]) -> dict[str, str]:
    """Values of a system's own options from the rest of the command line, as text the library then checks.

    Raises:
        SpecError: a flag is unknown to the system, or has no value.

    """
    from hamfit.systems.options import suggest

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
            raise SpecError(f"{system.name} has no option {flag}; {suggest(flag, [*known, *_SHARED_FLAGS])}")
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


def _simulate(system: str, out: Path, values: Mapping[str, str], *, overwrite: bool) -> Mapping[str, Any]:
    from hamfit.data import describe
    from hamfit.systems import simulate as simulate_system

    with progress_on_stderr() as progress:
        simulate_system(system, out, overwrite=overwrite, progress=progress, **values)
    return describe(out)


def _ingest(files: list[Path], out: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    from hamfit.data import describe
    from hamfit.data import ingest as ingest_files

    with progress_on_stderr() as progress:
        ingest_files(files, out, progress=progress, **options)
    return describe(out)


def _show_dataset(description: Mapping[str, Any], out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(description)
        return
    print_dataset(description, out)


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


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        "simulate",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )(simulate)
    app.command("ingest")(ingest)
