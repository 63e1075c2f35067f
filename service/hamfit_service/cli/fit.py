"""`hamfit fit`: from datasets to a model, or with `--plan` to what that would cost."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hamfit.errors import FitWarning, SpecError
from hamfit.options import FitOptions, InputMap, Sampler, Solver, Taper
from hamfit_service.cli.console import (
    JsonFlag,
    flat_rows,
    format_bytes,
    format_seconds,
    format_with_unit,
    print_json,
    print_table,
    progress_on_stderr,
    warn,
)
from hamfit_service.cli.option_flags import flag

_option = partial(flag, FitOptions)


def fit(
    data: Annotated[list[Path], typer.Argument(help="Datasets made by `hamfit ingest` or `hamfit simulate`.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the model.")] = None,
    cutoff: Annotated[str | None, _option("cutoff")] = None,
    features: Annotated[int | None, _option("features")] = None,
    blocks: Annotated[str | None, _option("blocks")] = None,
    sampler: Annotated[Sampler | None, _option("sampler")] = None,
    input_map: Annotated[InputMap | None, _option("input_map")] = None,
    taper: Annotated[Taper | None, _option("taper")] = None,
    solver: Annotated[Solver | None, _option("solver")] = None,
    workers: Annotated[int | None, _option("workers")] = None,
    threads: Annotated[int | None, _option("threads")] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Use the running Dask scheduler at this address.")
    ] = None,
    seed: Annotated[int | None, _option("seed")] = None,
    ridge: Annotated[float | None, _option("ridge")] = None,
    rank_cutoff: Annotated[float | None, _option("rank_cutoff")] = None,
    groups: Annotated[int | None, _option("groups")] = None,
    energy_weight: Annotated[float | None, _option("energy_weight")] = None,
    l_max: Annotated[int | None, _option("l_max")] = None,
    radial: Annotated[int | None, _option("radial")] = None,
    direct_links: Annotated[bool | None, _option("direct_links", "--direct-links/--no-direct-links")] = None,
    resume: Annotated[bool | None, _option("resume", "--resume/--no-resume")] = None,
    checkpoint: Annotated[bool | None, _option("checkpoint", "--checkpoint/--no-checkpoint")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file of options; flags given here win.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace a model that is already at --out.")
    ] = True,
    plan: Annotated[bool, typer.Option("--plan", help="Print what the fit would cost, and run nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Fit a model to trajectories."""
    options = FitOptions.load(
        config,
        {
            "cutoff": cutoff,
            "features": features,
            "blocks": blocks,
            "sampler": sampler,
            "input_map": input_map,
            "taper": taper,
            "solver": solver,
            "workers": workers,
            "threads": threads,
            "seed": seed,
            "ridge": ridge,
            "rank_cutoff": rank_cutoff,
            "groups": groups,
            "energy_weight": energy_weight,
            "l_max": l_max,
            "radial": radial,
            "direct_links": direct_links,
            "resume": resume,
            "checkpoint": checkpoint,
        },
    )
    if plan:
        _show_plan(_plan(data, options), as_json=as_json)
        return
    if out is None:
        raise SpecError("a fit needs a place for its model; give --out MODEL, or --plan to run nothing")
    _show_report(_fit(data, out, options, scheduler=scheduler, overwrite=overwrite), out, as_json=as_json)


def _plan(data: list[Path], options: FitOptions) -> Mapping[str, Any]:
    from hamfit.data import Dataset
    from hamfit.fitting import plan

    return plan([Dataset.open(path) for path in data], options).to_dict()


def _fit(
    data: list[Path], out: Path, options: FitOptions, *, scheduler: str | None, overwrite: bool
) -> Mapping[str, Any]:
    from hamfit.data import Dataset
    from hamfit.fitting import fit as fit_datasets
    from hamfit_service.clusters import choose_cluster

    cluster = choose_cluster(workers=options.workers, threads=options.threads, scheduler=scheduler)
    datasets = [Dataset.open(path) for path in data]
    with cluster.connect() as client, progress_on_stderr() as progress, warnings.catch_warnings():
        # they are in the report too, and shown from there
        warnings.simplefilter("ignore", FitWarning)
        report = fit_datasets(
            datasets, out=out, options=options, client=client, progress=progress, overwrite=overwrite
        ).report
    for sentence in report["warnings"]:
        warn(sentence)
    return report


def _show_plan(report: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    print_table("Plan of the fit", ((name, format_with_unit(name, value)) for name, value in flat_rows(report)))


def _show_report(report: Mapping[str, Any], out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"model": str(out), **report})
        return
    seconds = report["seconds"]
    phases = ", ".join(f"{name} {format_seconds(time)}" for name, time in seconds.items() if name != "total")
    print_table(
        f"Model {out}",
        [
            ("blocks", report["blocks"]),
            ("rows", report["rows"]),
            ("columns", report["columns"]),
            ("rank", report["rank"]),
            ("condition", report["condition"]),
            ("error, training", report["train"]),
            ("error, held out", report["held_out"]),
            ("seconds", f"{format_seconds(seconds['total'])} ({phases})"),
            ("peak memory per worker", format_bytes(report["peak_bytes_per_worker"])),
        ],
    )


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("fit")(fit)
