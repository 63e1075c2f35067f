"""`hamfit export`: a model as LAMMPS files, a dataset as extended XYZ or H5MD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hamfit.errors import SpecError
from hamfit_service.cli.console import JsonFlag, format_bytes, print_json, print_table, progress_on_stderr


def export(
    source: Annotated[Path, typer.Argument(help="A model (for lammps) or a dataset (for extxyz and h5md).")],
    to: Annotated[
        Literal["lammps", "extxyz", "h5md"],
        typer.Option("--to", help="lammps: a folder of table or eam files with an include file; else one file."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write: a folder for lammps, else a file.")],
    points: Annotated[
        int | None,
        typer.Option("--points", help="lammps: points of each function; by default as many as accuracy needs."),
    ] = None,
    masses: Annotated[
        str | None,
        typer.Option("--masses", help="lammps: masses by species, for models fitted without velocities, such as A=1."),
    ] = None,
    symbols: Annotated[
        str | None, typer.Option("--symbols", help="extxyz: other names for species, such as 1=Cu.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Hand a model or a dataset to other programs."""
    _check_flags(to, {"--points": points, "--masses": masses, "--symbols": symbols})
    if to == "lammps":
        result = _export_model(source, out, points, _numbers(masses), overwrite=overwrite)
        rows = [
            ("files", [Path(file).name for file in result["files"]]),
            ("before the box", "; ".join(result["settings"])),
            ("then", "include hamfit.in.lmp"),
            ("error of the forces", result["error"]),
            ("masses", result["masses"]),
            ("energies left out", result["missing_energies"]),
        ]
    else:
        result = _export_dataset(source, to, out, _pairs("--symbols", symbols), overwrite=overwrite)
        rows = [("frames", result["frames"]), ("size", format_bytes(result["bytes"]))]
    if as_json:
        print_json(result)
        return
    print_table(f"{source} as {to} in {out}", rows)


def _check_flags(to: str, flags: Mapping[str, object]) -> None:
    """SpecError for a flag that the format has no use for: it would be silently without effect."""
    used = {"lammps": ("--points", "--masses"), "extxyz": ("--symbols",), "h5md": ()}[to]
    for flag, value in flags.items():
        if value is not None and flag not in used:
            raise SpecError(f"{flag} means nothing with --to {to}; leave it out")


def _pairs(flag: str, text: str | None) -> dict[str, str]:
    """Names and values of `1=Cu,2=Zr`; SpecError for anything else."""
    pairs = {}
    for part in filter(None, (text or "").split(",")):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not (name and equals and value) or name in pairs:
            raise SpecError(f"{flag} '{text}' is not a list of names and values; write it such as 1=Cu,2=Zr")
        pairs[name] = value
    return pairs


def _numbers(text: str | None) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in _pairs("--masses", text).items()}
    except ValueError as error:
        raise SpecError(f"--masses '{text}' holds a word that is no number; write it such as A=1.0,B=2.5") from error


def _export_model(
    source: Path, out: Path, points: int | None, masses: Mapping[str, float], *, overwrite: bool
) -> dict[str, Any]:
    from hamfit.exports import export_lammps
    from hamfit.model import Model, is_model

    if not is_model(source) and _is_dataset(source):
        raise SpecError(
            f"{source} is a dataset, and LAMMPS takes the forces of a model; give a model made by hamfit fit"
        )
    done = export_lammps(Model.open(source), out, n_points=points, masses=masses, overwrite=overwrite)
    return {"source": str(source), "to": "lammps", "out": str(out), **asdict(done)}


def _export_dataset(
    source: Path, to: Literal["extxyz", "h5md"], out: Path, symbols: Mapping[str, str], *, overwrite: bool
) -> dict[str, Any]:
    from hamfit.data import Dataset
    from hamfit.exports import export_extxyz, export_h5md
    from hamfit.model import is_model

    if is_model(source):
        raise SpecError(
            f"{source} is a model, and {to} holds trajectories; give a dataset, such as one made by hamfit rollout"
        )
    dataset = Dataset.open(source)
    with progress_on_stderr() as progress:
        if to == "extxyz":
            path = export_extxyz(dataset, out, symbols=symbols, overwrite=overwrite, progress=progress)
        else:
            path = export_h5md(dataset, out, overwrite=overwrite, progress=progress)
    facts = {"frames": dataset.n_frames, "bytes": path.stat().st_size}
    return {"source": str(source), "to": to, "out": str(out), **facts}


def _is_dataset(source: Path) -> bool:
    from hamfit.data import Dataset
    from hamfit.errors import StoreError

    try:
        Dataset.open(source)
    except StoreError:
        return False
    return True


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("export")(export)
