"""Commands that compute: flags become one value (`Run`), which runs here or is sent to a server.

A module such as `fit` declares its flags once, in a function that returns a `Run`, and says how its report is shown.
`RunCommand` makes `hamfit fit` of that here; `submit` makes `hamfit submit fit` of the same.
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from hamfit.errors import FitWarning, RolloutWarning, SpecError
from hamfit_service.cli.console import flat_rows, format_with_unit, print_json, print_table, progress_on_stderr, warn
from hamfit_service.clusters import ClusterName, choose_cluster
from hamfit_service.processes import AbstractInputs, Outputs, Workplace, find_process
from hamfit_service.processes.references import local_path

T = TypeVar("T")

SchedulerFlag: TypeAlias = Annotated[
    str | None, typer.Option("--scheduler", help="Use the running Dask scheduler at this address.")
]
ClusterFlag: TypeAlias = Annotated[
    ClusterName | None,
    typer.Option("--cluster", help="Start workers: local (processes), or local-cuda (one for each GPU)."),
]
ConfigFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--config", help="TOML file of options; flags given here win.")
]


@dataclass(frozen=True, slots=True)
class Here:
    """Where and how carefully a run works on this machine; nothing of it changes a number."""

    threads: int = 1
    """Threads of this process, or of each worker."""
    scheduler: str | None = None
    """Address of a running Dask scheduler."""
    cluster: ClusterName | None = None
    """Kind of cluster that is started; None for processes where `workers` are given, and threads elsewhere."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    """Further options of the library, `workers` among them."""
    asked: tuple[str, ...] = ()
    """Names of all these that the user gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one command line asks for, checked."""

    inputs: AbstractInputs
    """What decides the result."""
    out: Path | None
    """Where its main output goes."""
    report: Path | None = None
    """Where its HTML report goes."""
    overwrite: bool
    """Whether outputs that are there are replaced."""
    as_json: bool
    """Whether the result is printed as JSON."""
    plan: bool = False
    """Whether only the costs are asked for."""
    here: Here = Here()
    """How it is run without a server."""


@dataclass(frozen=True, slots=True)
class RunCommand:
    """A process as a command."""

    name: str
    """Of the command and of its process."""
    flags: Callable[..., Run]
    """Declares the flags, and makes one value of them."""
    show: Callable[[Mapping[str, Any], Run, str | None], None]
    """Prints a report; the text says where the main output is, None when it was not kept."""
    plan: Callable[[Run], Mapping[str, Any]] | None = None
    """What a run would cost."""
    needs_out: str | None = None
    """What is said when there is no `--out`; None where outputs need not be kept."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the command, for typer."""

    def register(self, app: typer.Typer) -> None:
        """Add the command that runs here to `app`."""

        def run(**flags: Any) -> None:
            self.run_here(self.flags(**flags))

        app.command(self.name, **self.settings)(with_flags_of(run, self.flags))

    def run_here(self, run: Run) -> None:
        """Run on this machine, or on the cluster that the flags name, and show the report."""
        if run.plan and self.plan is not None:
            self._show_plan(self.plan(run), as_json=run.as_json)
            return
        if run.out is None and self.needs_out is not None:
            raise SpecError(self.needs_out)
        with tempfile.TemporaryDirectory(prefix="hamfit-") as scratch:
            report = _run(run, run.out or Path(scratch) / find_process(self.name).output)
        self.tell(report, run, None if run.out is None else str(run.out))

    def tell(self, report: Mapping[str, Any], run: Run, place: str | None) -> None:
        """Warnings of a report on standard error, and the report itself."""
        for sentence in report.get("warnings") or ():
            warn(sentence)
        self.show(report, run, place)

    def _show_plan(self, plan: Mapping[str, Any], *, as_json: bool) -> None:
        if as_json:
            print_json(plan)
            return
        rows = ((name, format_with_unit(name, value)) for name, value in flat_rows(plan))
        print_table(f"Plan of the {self.name}", rows)


def _run(run: Run, out: Path) -> Mapping[str, Any]:
    here = run.here
    cluster = choose_cluster(
        workers=here.execution.get("workers"),
        threads=here.threads if "threads" in here.asked or here.cluster is None else None,
        scheduler=here.scheduler,
        cluster=here.cluster,
    )
    with cluster.connect() as client, progress_on_stderr() as progress, warnings.catch_warnings():
        # they are in the report too, and shown from there
        warnings.simplefilter("ignore", FitWarning)
        warnings.simplefilter("ignore", RolloutWarning)
        workplace = Workplace(
            outputs=Outputs(out, run.report),
            resolve=local_path,
            client=client,
            progress=progress,
            threads=here.threads,
            overwrite=run.overwrite,
            execution=here.execution,
        )
        return find_process(run.inputs.process).run(run.inputs, workplace)


def with_flags_of(run: Callable[..., None], *declared: Callable[..., Any]) -> Callable[..., None]:
    """``run`` with the flags of all these functions, and the words of the first, as typer reads them."""
    signatures = [inspect.signature(function, eval_str=True) for function in declared]
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for signature in signatures
        for parameter in signature.parameters.values()
    ]
    run.__doc__ = declared[0].__doc__
    run.__name__ = declared[0].__name__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def taken_from(flags: dict[str, Any], declared: Callable[..., T]) -> T:
    """What ``declared`` makes of its own among ``flags``, which are taken out."""
    return declared(**{name: flags.pop(name) for name in inspect.signature(declared).parameters})
