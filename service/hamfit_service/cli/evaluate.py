"""`hamfit evaluate`: how well a model predicts a dataset, frame by frame or by running along with it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hamfit.checked_options import threads_per_process
from hamfit.errors import RolloutWarning, SpecError
from hamfit.rollouts.options import IntegratorName
from hamfit_service.cli.console import JsonFlag, flat_rows, print_json, print_table, progress_on_stderr, warn

if TYPE_CHECKING:
    from hamfit.comparison import RolloutComparison


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model made by `hamfit fit`.")],
    data: Annotated[Path, typer.Argument(help="Dataset to predict.")],
    rollout: Annotated[
        bool, typer.Option("--rollout", help="Run the model from each first frame and compare with the later ones.")
    ] = False,
    trajectories: Annotated[
        Path | None,
        typer.Option("--trajectories", help="Compare these trajectories of `hamfit rollout` instead of running."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Keep the trajectories of --rollout here; else they are dropped.")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write plots and numbers as one HTML file.")] = None,
    dt: Annotated[float | None, typer.Option("--dt", help="Largest step of --rollout; proposed by default.")] = None,
    integrator: Annotated[
        IntegratorName | None,
        typer.Option("--integrator", help="Of --rollout; kahanli8 by default, verlet where forces are cut off."),
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Worker processes of --rollout.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of --rollout.")] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Use the running Dask scheduler at this address.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is at --out or --report.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure the errors of a model on a dataset."""
    running = rollout or trajectories is not None
    about_running = {
        "--out": out,
        "--dt": dt,
        "--integrator": integrator,
        "--workers": workers,
        "--threads": threads,
        "--scheduler": scheduler,
    }
    needless = [name for name, value in about_running.items() if value is not None]
    if rollout and trajectories is not None:
        raise SpecError("--trajectories are compared instead of running; leave --rollout out")
    if not rollout and needless:
        raise SpecError(f"{', '.join(needless)}: these say how a rollout is run; add --rollout")
    if not running and report is not None:
        raise SpecError("--report is about rollouts; add --rollout, or --trajectories with those that there are")
    if scheduler is not None and out is None:
        raise SpecError("workers of a running scheduler write where this process reads; give --out on a shared disk")
    if not running:
        result = _evaluate(model, data)
        if as_json:
            print_json(result)
        else:
            print_table(f"{model} on {data}", flat_rows(result))
        return
    if report is not None:
        _check_report(report, overwrite)
    if trajectories is not None:
        comparison = _compare(model, data, trajectories)
    else:
        options = {
            "dt": dt,
            "integrator": integrator,
            "overwrite": overwrite,
            "workers": workers,
            "threads": threads or threads_per_process({"workers": workers}),
        }
        comparison = _roll_and_compare(model, data, out, scheduler, options)
    for sentence in comparison.warnings:
        warn(sentence)
    if report is not None:
        from hamfit.reports import write_report

        write_report(comparison, report, title=f"{model.name} on {data.name}")
    result = comparison.to_dict()
    if trajectories is None and out is None:
        # they lay in a scratch folder
        result["rollouts"]["path"] = None
    _show(result, model, data, as_json=as_json)


def _check_report(report: Path, overwrite: bool) -> None:
    """SpecError for a report that cannot be written: said before anything runs, not after."""
    from importlib.util import find_spec

    if report.is_dir():
        raise SpecError(f"{report} is a folder; give --report the path of an HTML file")
    if report.exists() and not overwrite:
        raise SpecError(f"{report} exists; choose another path, or give --overwrite")
    if find_spec("matplotlib") is None:
        raise SpecError("reports are drawn by matplotlib, which is not installed: pip install hamfit[report]")


def _evaluate(model: Path, data: Path) -> Mapping[str, Any]:
    from hamfit.data import Dataset
    from hamfit.evaluation import evaluate as evaluate_model
    from hamfit.model import Model

    return evaluate_model(Model.open(model), Dataset.open(data))


def _compare(model: Path, data: Path, trajectories: Path) -> RolloutComparison:
    from hamfit.comparison import compare_rollouts

    return compare_rollouts(model, data, trajectories)


def _roll_and_compare(
    model: Path, data: Path, out: Path | None, scheduler: str | None, options: Mapping[str, Any]
) -> RolloutComparison:
    from hamfit.rollouts.following import follow
    from hamfit_service.clusters import choose_cluster

    cluster = choose_cluster(workers=options["workers"], threads=options["threads"], scheduler=scheduler)
    with tempfile.TemporaryDirectory(prefix="hamfit-") as scratch:
        place = out or Path(scratch) / "rollout.zarr"
        with cluster.connect() as client, progress_on_stderr() as progress, warnings.catch_warnings():
            # the comparison says the same of its own accord
            warnings.simplefilter("ignore", RolloutWarning)
            follow(model, data, out=place, client=client, progress=progress, **options)
        return _compare(model, data, place)


def _show(result: Mapping[str, Any], model: Path, data: Path, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    rows = [(name, value) for name, value in flat_rows(result) if not _is_bulky(value)]
    print_table(f"{model} run along {data}", rows)


def _is_bulky(value: object) -> bool:
    """Curves and lists of rollouts: for --json and --report."""
    return isinstance(value, list | tuple) and (len(value) > 6 or any(isinstance(v, Mapping | list) for v in value))


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("evaluate")(evaluate)
