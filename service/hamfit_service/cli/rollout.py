"""`hamfit rollout`: from a model and initial states to trajectories, or with `--plan` to what that would cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hamfit.device_choice import DeviceChoice
from hamfit.rollouts.options import IntegratorName, RolloutOptions, RolloutSpec
from hamfit_service.cli.console import JsonFlag, format_bytes, format_seconds, print_json, print_table
from hamfit_service.cli.option_flags import flag, split_options
from hamfit_service.cli.running import ClusterFlag, ConfigFlag, Run, RunCommand, SchedulerFlag
from hamfit_service.processes.rollout import RolloutInputs

_option = partial(flag, RolloutOptions)


def rollout(
    model: Annotated[str, typer.Argument(help="Model made by `hamfit fit`.")],
    initial: Annotated[str, typer.Option("--initial", "-i", help="Dataset that holds the initial states.")],
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
    device: Annotated[DeviceChoice | None, _option("device")] = None,
    scheduler: SchedulerFlag = None,
    cluster: ClusterFlag = None,
    seed: Annotated[int | None, _option("seed")] = None,
    resume: Annotated[bool | None, _option("resume", "--resume/--no-resume")] = None,
    checkpoint_seconds: Annotated[float | None, _option("checkpoint_seconds")] = None,
    config: ConfigFlag = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Print what the rollout would cost, and run nothing.")] = False,
    as_json: JsonFlag = False,
) -> Run:
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
            "device": device,
            "seed": seed,
            "resume": resume,
            "checkpoint_seconds": checkpoint_seconds,
        },
    )
    spec, here = split_options(options, RolloutSpec, scheduler=scheduler, cluster=cluster)
    return Run(
        inputs=RolloutInputs.build({**spec, "model": model, "initial": initial}),
        out=out,
        overwrite=overwrite,
        as_json=as_json,
        plan=plan,
        here=here,
    )


def _plan(run: Run) -> Mapping[str, Any]:
    from hamfit.rollouts import plan_rollout
    from hamfit_service.processes.references import local_path

    inputs = run.inputs
    assert isinstance(inputs, RolloutInputs)
    options = inputs.options(threads=run.here.threads, **run.here.execution)
    return plan_rollout(local_path("model", inputs.model), local_path("dataset", inputs.initial), options)


def _show(report: Mapping[str, Any], run: Run, place: str | None) -> None:
    if run.as_json:
        print_json({"dataset": place, **report})
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
    print_table(f"Trajectories {place}{' (there already)' if report['seconds'] is None else ''}", rows)


def _rounded(value: float) -> str:
    """A speed in three digits, without an exponent where it can be read without."""
    return f"{value:,.0f}" if 100.0 <= value < 1e9 else f"{value:.3g}"


_PER_HOUR = ("ns_per_hour", "tau_per_hour")


ROLLOUT = RunCommand(
    name="rollout",
    flags=rollout,
    show=_show,
    plan=_plan,
    needs_out="a rollout needs a place for its trajectories; give --out FOLDER, or --plan to run nothing",
)
