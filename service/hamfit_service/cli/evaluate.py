"""`hamfit evaluate`: how well a model predicts a dataset, frame by frame or by running along with it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hamfit.checked_options import threads_per_process
from hamfit.device_choice import DeviceChoice
from hamfit.errors import SpecError
from hamfit.rollouts.options import IntegratorName, RolloutOptions
from hamfit_service.cli.console import JsonFlag, flat_rows, print_json, print_table
from hamfit_service.cli.option_flags import flag
from hamfit_service.cli.running import ClusterFlag, Here, Run, RunCommand, SchedulerFlag
from hamfit_service.processes.evaluate import EvaluateInputs

_option = partial(flag, EvaluateInputs)


def evaluate(
    model: Annotated[str, typer.Argument(help="Model made by `hamfit fit`.")],
    data: Annotated[str, typer.Argument(help="Dataset to predict.")],
    rollout: Annotated[
        bool, typer.Option("--rollout", help="Run the model from each first frame and compare with the later ones.")
    ] = False,
    trajectories: Annotated[
        str | None,
        typer.Option("--trajectories", help="Compare these trajectories of `hamfit rollout` instead of running."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Keep the trajectories of --rollout here; else they are dropped.")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write plots and numbers as one HTML file.")] = None,
    dt: Annotated[float | None, typer.Option("--dt", help="Largest step of --rollout; proposed by default.")] = None,
    integrator: Annotated[IntegratorName | None, _option("integrator")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Worker processes.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of this process, or each.")] = None,
    device: Annotated[DeviceChoice | None, flag(RolloutOptions, "device")] = None,
    scheduler: SchedulerFlag = None,
    cluster: ClusterFlag = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out or --report.")] = False,
    as_json: JsonFlag = False,
) -> Run:
    """Measure the errors of a model on a dataset."""
    where = {
        "workers": workers,
        "threads": threads,
        "device": device,
        "scheduler": scheduler,
        "cluster": cluster,
    }
    about_running: dict[str, Any] = {"out": out, "dt": dt, "integrator": integrator, "device": device}
    if trajectories is not None:
        # what was run elsewhere is compared by this process
        about_running |= where
    needless = [f"--{name}" for name, value in about_running.items() if value is not None]
    if rollout and trajectories is not None:
        raise SpecError("--trajectories are compared instead of running; leave --rollout out")
    if not rollout and needless:
        raise SpecError(f"{', '.join(needless)}: these say how a rollout is run; add --rollout")
    if not rollout and trajectories is None and report is not None:
        raise SpecError("--report is about rollouts; add --rollout, or --trajectories with those that there are")
    if rollout and scheduler is not None and out is None:
        raise SpecError("workers of a running scheduler write where this process reads; give --out on a shared disk")
    inputs = EvaluateInputs.build(
        {
            "model": model,
            "data": data,
            "rollout": rollout,
            "trajectories": trajectories,
            "dt": dt,
            "integrator": integrator,
        }
    )
    if report is not None:
        _check_report(report, overwrite)
    return Run(
        inputs=inputs,
        out=out,
        report=report,
        overwrite=overwrite,
        as_json=as_json,
        here=Here(
            threads=threads or threads_per_process({"workers": workers}),
            scheduler=scheduler,
            cluster=cluster,
            execution={"workers": workers} | ({} if device is None else {"device": device}),
            asked=tuple(name for name, value in where.items() if value is not None),
        ),
    )


def _check_report(report: Path, overwrite: bool) -> None:
    """SpecError for a report that cannot be written: said before anything runs, not after."""
    from importlib.util import find_spec

    if report.is_dir():
        raise SpecError(f"{report} is a folder; give --report the path of an HTML file")
    if report.exists() and not overwrite:
        raise SpecError(f"{report} exists; choose another path, or give --overwrite")
    if find_spec("matplotlib") is None:
        raise SpecError("reports are drawn by matplotlib, which is not installed: pip install hamfit[report]")


def _show(report: Mapping[str, Any], run: Run, place: str | None) -> None:
    inputs = run.inputs
    assert isinstance(inputs, EvaluateInputs)
    result = dict(report)
    if inputs.rollout and place is None:
        # they lay in a scratch folder
        result["rollouts"] = {**result["rollouts"], "path": None}
    if run.as_json:
        print_json(result)
        return
    rows = [(name, value) for name, value in flat_rows(result) if not _is_bulky(value)]
    print_table(f"{inputs.model} {'run along' if inputs.compares else 'on'} {inputs.data}", rows)


def _is_bulky(value: object) -> bool:
    """Curves and lists of rollouts: for --json and --report."""
    return isinstance(value, list | tuple) and (len(value) > 6 or any(isinstance(v, Mapping | list) for v in value))


EVALUATE = RunCommand(name="evaluate", flags=evaluate, show=_show)
