"""`hamfit fit`: from datasets to a model, or with `--plan` to what that would cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hamfit.device_choice import DeviceChoice
from hamfit.options import FitOptions, FitSpec, InputMap, Precision, Sampler, Solver, Taper
from hamfit_service.cli.console import JsonFlag, format_bytes, format_seconds, print_json, print_table
from hamfit_service.cli.option_flags import flag, split_options
from hamfit_service.cli.running import ClusterFlag, ConfigFlag, Run, RunCommand, SchedulerFlag
from hamfit_service.processes.fit import FitInputs

_option = partial(flag, FitOptions)


def fit(
    data: Annotated[list[str], typer.Argument(help="Datasets made by `hamfit ingest` or `hamfit simulate`.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the model.")] = None,
    cutoff: Annotated[str | None, _option("cutoff")] = None,
    features: Annotated[int | None, _option("features")] = None,
    blocks: Annotated[str | None, _option("blocks")] = None,
    sampler: Annotated[Sampler | None, _option("sampler")] = None,
    input_map: Annotated[InputMap | None, _option("input_map")] = None,
    taper: Annotated[Taper | None, _option("taper")] = None,
    solver: Annotated[Solver | None, _option("solver")] = None,
    precision: Annotated[Precision | None, _option("precision")] = None,
    workers: Annotated[int | None, _option("workers")] = None,
    threads: Annotated[int | None, _option("threads")] = None,
    device: Annotated[DeviceChoice | None, _option("device")] = None,
    scheduler: SchedulerFlag = None,
    cluster: ClusterFlag = None,
    seed: Annotated[int | None, _option("seed")] = None,
    ridge: Annotated[float | None, _option("ridge")] = None,
    rank_cutoff: Annotated[float | None, _option("rank_cutoff")] = None,
    groups: Annotated[int | None, _option("groups")] = None,
    energy_weight: Annotated[float | None, _option("energy_weight")] = None,
    stress_weight: Annotated[float | None, _option("stress_weight")] = None,
    l_max: Annotated[int | None, _option("l_max")] = None,
    radial: Annotated[int | None, _option("radial")] = None,
    direct_links: Annotated[bool | None, _option("direct_links", "--direct-links/--no-direct-links")] = None,
    resume: Annotated[bool | None, _option("resume", "--resume/--no-resume")] = None,
    checkpoint: Annotated[bool | None, _option("checkpoint", "--checkpoint/--no-checkpoint")] = None,
    config: ConfigFlag = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--no-overwrite", help="Replace a model that is already at --out.")
    ] = True,
    plan: Annotated[bool, typer.Option("--plan", help="Print what the fit would cost, and run nothing.")] = False,
    as_json: JsonFlag = False,
) -> Run:
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
            "precision": precision,
            "workers": workers,
            "threads": threads,
            "device": device,
            "seed": seed,
            "ridge": ridge,
            "rank_cutoff": rank_cutoff,
            "groups": groups,
            "energy_weight": energy_weight,
            "stress_weight": stress_weight,
            "l_max": l_max,
            "radial": radial,
            "direct_links": direct_links,
            "resume": resume,
            "checkpoint": checkpoint,
        },
    )
    spec, here = split_options(options, FitSpec, scheduler=scheduler, cluster=cluster)
    return Run(
        inputs=FitInputs.build({**spec, "data": data}),
        out=out,
        overwrite=overwrite,
        as_json=as_json,
        plan=plan,
        here=here,
    )


def _plan(run: Run) -> Mapping[str, Any]:
    from hamfit.data import Dataset
    from hamfit.fitting import plan
    from hamfit_service.processes.references import local_path

    assert isinstance(run.inputs, FitInputs)
    options = run.inputs.options(threads=run.here.threads, **run.here.execution)
    return plan([Dataset.open(local_path("dataset", path)) for path in run.inputs.data], options).to_dict()


def _show(report: Mapping[str, Any], run: Run, place: str | None) -> None:
    if run.as_json:
        print_json({"model": place, **report})
        return
    seconds = report["seconds"]
    phases = ", ".join(f"{name} {format_seconds(time)}" for name, time in seconds.items() if name != "total")
    print_table(
        f"Model {place}",
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


FIT = RunCommand(
    name="fit",
    flags=fit,
    show=_show,
    plan=_plan,
    needs_out="a fit needs a place for its model; give --out MODEL, or --plan to run nothing",
)
