"""`hamfit rollout`: from a model and initial states to trajectories, or with `--plan` to what that would cost."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hamfit.errors import RolloutWarning, SpecError
from hamfit.rollouts.options import IntegratorName, RolloutOptions
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

_option = partial(flag, RolloutOptions)


def rollout(
    model: Annotated[Path, typer.Argument(help="Model made by `hamfit fit`.")],
    initial: Annotated[Path, typer.Option("--initial", "-i", help="Dataset that holds the initial states.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the trajectories.")] = None,
    steps: Annotated[int | None, _option("steps")] = None,
    dt: Annotated[float | None, _option("dt")] = None,
    every: Annotated[int | None, _option("every")] = None,
    frames: Annotated[str | None, _option("frames")] = None,
    replicas: Annotated[int | None, _option("replicas")] = None,
    temperature: Annotated[float | None, _option("temperature")] = None,
    integrator: Annotated[IntegratorName | None, _option("integrator")] = None,
    forces: Annotated[bool | None, _option("forces", "--forces/--no-forces")] = None,
    workers: Annotated[int | None, _option("workers")] = None,
    threads: Annotated[int | None, _option("threads")] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Use the running Dask scheduler at this address.")
    ] = None,
    seed: Annotated[int | None, _option("seed")] = None,
    resume: Annotated[bool | None, _option("resume", "--resume/--no-resume")] = None,
    checkpoint_seconds: Annotated[float | None, _option("checkpoint_seconds")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file of options; flags given here win.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Print what the rollout would cost, and run nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run a model from initial states and keep the trajectories as a dataset."""
    options = RolloutOptions.load(
        config,
        {
            "steps": steps,
            "dt": dt,
            "every": every,
            "frames": frames,
            "replicas": replicas,
            "temperature": temperature,
            "integrator": integrator,
            "forces": forces,
            "workers": workers,
            "threads": threads,
            "seed": seed,
            "resume": resume,
            "checkpoint_seconds": checkpoint_seconds,
        },
    )
    if plan:
        _show_plan(_plan(model, initial, options), as_json=as_json)
        return
    if out is None:
        raise SpecError("a rollout needs a place for its trajectories; give --out FOLDER, or --plan to run nothing")
    report = run_rollouts(model, initial, out, options, scheduler=scheduler, overwrite=overwrite)
    _show_report(report, out, as_json=as_json)


def _plan(model: Path, initial: Path, options: RolloutOptions) -> Mapping[str, Any]:
    from hamfit.rollouts import plan_rollout

    return plan_rollout(model, initial, options)


def run_rollouts(
    model: Path, initial: Path, out: Path, options: RolloutOptions, *, scheduler: str | None, overwrite: bool
) -> Mapping[str, Any]:
    """Run on threads, local processes or a running cluster, with progress on standard error; returns the report."""
    from hamfit.rollouts import rollout as run
    from hamfit_service.clusters import choose_cluster

    cluster = choose_cluster(workers=options.workers, threads=options.threads, scheduler=scheduler)
    with cluster.connect() as client, progress_on_stderr() as progress, warnings.catch_warnings():
        # they are in the report too, and shown from there
        warnings.simplefilter("ignore", RolloutWarning)
        report = run(
            model, initial, out=out, options=options, client=client, progress=progress, overwrite=overwrite
        ).report
    for sentence in report["warnings"]:
        warn(sentence)
    return report


def _show_plan(plan: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(plan)
        return
    print_table("Plan of the rollout", ((name, format_with_unit(name, value)) for name, value in flat_rows(plan)))


def _show_report(report: Mapping[str, Any], out: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"dataset": str(out), **report})
        return
    speed = [(name, value) for name, value in report.items() if name in ("steps_per_second", *_PER_HOUR) and value]
    rows: list[tuple[str, object]] = [
        ("rollouts", report["rollouts"]),
        ("steps", report["steps"]),
        ("dt", f"{report['dt']:g}{' (proposed)' if report['dt_proposed'] else ''}"),
        ("integrator", report["integrator"]),
        ("forces", report["engine"]),
        ("compilation error", report["compilation_error"]),
        ("energy drift", report["energy_drift"]),
        ("momentum drift", report["momentum_drift"]),
        ("pairs out of range", report["extrapolated_share"]),
        ("stopped", [f"{s['name']} at step {s['step']:,}" for s in report["first_non_finite"]]),
        *((name.replace("_", " ").replace(" per ", "/"), _rounded(value)) for name, value in speed),
    ]
    if report["seconds"] is not None:
        rows += [
            ("seconds", format_seconds(report["seconds"]["total"])),
            ("peak memory", format_bytes(report["peak_bytes"])),
        ]
    print_table(f"Trajectories {out}{' (there already)' if report['seconds'] is None else ''}", rows)


def _rounded(value: float) -> str:
    """A speed in three digits, without an exponent where it can be read without."""
    return f"{value:,.0f}" if 100.0 <= value < 1e9 else f"{value:.3g}"


_PER_HOUR = ("ns_per_hour", "tau_per_hour")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("rollout")(rollout)
