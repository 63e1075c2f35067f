"""A rollout from beginning to end: plan, run every state, assemble the dataset, report."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamfit.data import Dataset
from hamfit.errors import HamfitError, RolloutError, RolloutWarning, SpecError, StoreError
from hamfit.inference import CompiledModel
from hamfit.model import Model
from hamfit.processes import peak_bytes, single_blas_thread
from hamfit.progress import Event, Progress, silent
from hamfit.rollouts.endings import finished_rollout
from hamfit.rollouts.executors import run_on_cluster, run_on_threads
from hamfit.rollouts.options import RolloutOptions
from hamfit.rollouts.plan import RolloutPlan, fingerprint, make_plan, without_history
from hamfit.rollouts.report import per_hour, report_of, speed_of
from hamfit.rollouts.running import device_of
from hamfit.rollouts.starts import InitialStates, initial_states
from hamfit.rollouts.workspace import Abandoned, Workspace, opened
from hamfit.stores.publish import publish_folder
from hamfit.tasks import check_client

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, slots=True, eq=False)
class RolloutResult:
    """The trajectories of a rollout, and how it went."""

    dataset: Dataset
    """One trajectory for each initial state, frame 0 being the state itself."""
    report: dict[str, Any]
    """Speed, drifts, pairs out of range, states that blew up, memory; JSON-able."""


def plan_rollout(
    model: Model | str | Path,
    initial: Dataset | str | Path,
    options: RolloutOptions | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """What a rollout would do and cost, as tried on the processor; raises as `rollout` does, but needs no GPU."""
    options = _options(options, changes)
    model = model if isinstance(model, Model) else Model.open(model)
    return make_plan(model, initial_states(model, initial, options), options)[0].to_dict()


def rollout(
    model: Model | str | Path,
    initial: Dataset | str | Path,
    *,
    out: str | Path,
    options: RolloutOptions | None = None,
    client: Client | None = None,
    progress: Progress = silent,
    overwrite: bool = False,
    **changes: Any,
) -> RolloutResult:
    """Run a model from the states of a dataset, into a dataset.

    Args:
        model: a fitted model or its path.
        initial: where the initial states are; systems of any size that the model knows the species of.
        out: where the trajectories go. An interrupted rollout with the same plan is taken up there, on any device.
        options: how to run; further keyword arguments replace single options. ``steps`` has no default.
        client: run on this Dask cluster, whose workers see the same files; None runs on threads. The bits are the same,
            on the same device.
        progress: listens to events of the phase ``rollout``, in steps: ``done`` counts those of all rollouts, whenever
            they were made, ``rows`` those of this call.
        overwrite: replace what is at ``out``.

    Raises:
        SpecError: options contradict each other, no step can be proposed, the first step blows up, or ``out`` is the
            model or the dataset of the initial states.
        DataError, ModelError, GraphError: model and data do not fit each other, or no state is one to start from. Where
            some are, the others are left out, and the report says why.
        StoreError: ``out`` is taken or cannot be written, or what lies there is of another plan.
        ClusterError: the client is closed, or the cluster was lost; repeating the call goes on where it was.
        RolloutError: another driver took over.
        TaskError: a worker failed for a reason that is not the data's.
        DeviceError: a GPU is asked for that cannot be used, or has no room.

    """
    options = _options(options, changes)
    if options.workers is not None and client is None:
        raise SpecError("workers run on a cluster: give client=, or leave workers out to use threads of this process")
    began = time.perf_counter()
    target = Path(out).absolute()
    with single_blas_thread():
        opened_model = model if isinstance(model, Model) else Model.open(model)
        states = initial_states(opened_model, initial, options)
        sources = [states.dataset.path, *([] if isinstance(model, Model) else [Path(model)])]
        if any(target.resolve() == source.resolve() for source in sources):
            raise SpecError(f"{target}: the trajectories would replace what they are made from: choose another path")
        asked = fingerprint(opened_model, states, options)
        if options.resume and not overwrite and (complete := _complete(target, asked, states)) is not None:
            _warn(complete.report)
            return complete
        if client is not None:
            check_client(client, "rollout")
        else:
            # a GPU that is not there is missed before anything is written; workers look for their own
            device_of(max(t.n_particles for t in states.dataset.trajectories), options.device)
        with opened(target, asked, resume=options.resume, overwrite=overwrite) as (workspace, resumed):
            plan, compiled = _planned(opened_model, states, options, workspace, progress)
            if not workspace.model.exists():
                without_history(compiled.model).save(workspace.model)
            names = [plan.states.name(start) for start in plan.states]
            todo = {
                index: workspace.steps_and_frames(name)[0]
                for index, name in enumerate(names)
                if finished_rollout(workspace, name) is None
            }
            clock = _StepCount(progress, plan, todo)
            clock.tell(sum(todo.values()))
            try:
                if client is None:
                    ran = run_on_threads(plan, compiled, workspace, todo, clock.tell)
                else:
                    ran = run_on_cluster(client, plan, workspace, todo, clock.tell)
            except Abandoned as error:
                raise RolloutError(
                    f"{target}: another rollout took over: wait for it, or choose another path"
                ) from error
            seconds = clock.seconds
            clock.tell(len(todo) * options.steps)
            made = sum(summary["steps"] - summary["taken_up"] for summary in ran)
            done = [_finished(workspace, name) for name in names]
            summaries = [d["summary"] for d in done]
            if all(summary["first_non_finite"] == 0 for summary in summaries):
                # though the plan found one that can
                reason = summaries[0]["reason"]
                raise RolloutError(f"{target}: no rollout could begin, the first for this reason: {reason}")
            report = report_of(plan, summaries, resumed)
            has_bonds = any("bonds" in t.fields for t in states.dataset.trajectories)
            writer = workspace.writer(states.dataset.units, compiled.model, bonds=has_bonds)
            writer.attrs["rollout"] = {
                "fingerprint": plan.fingerprint,
                "source": states.dataset.digest,
                "options": plan.options.physics(),
                # where it ran and how often it was interrupted is no part of what was computed
                "report": {key: value for key, value in report.items() if key != "resumed"},
            }
            writer.assemble(d["written"] for d in done)
            publish_folder(workspace.store, target, overwrite=overwrite)
            workspace.discard()
    report["seconds"] = {"rollout": round(seconds, 4), "total": round(time.perf_counter() - began, 4)}
    report |= speed_of(plan, made, seconds)
    # on a cluster the driver holds next to nothing
    report["peak_bytes"] = max([summary["peak_bytes"] for summary in ran], default=0) or peak_bytes()
    _warn(report)
    return RolloutResult(Dataset.open(target), report)


def _options(options: RolloutOptions | None, changes: Mapping[str, Any]) -> RolloutOptions:
    return RolloutOptions.build(changes) if options is None else options.with_changes(**changes)


def _planned(
    model: Model, states: InitialStates, options: RolloutOptions, workspace: Workspace, progress: Progress
) -> tuple[RolloutPlan, CompiledModel]:
    """The plan, its step as it was proposed before where there is one; a plan that fails leaves no workspace."""
    began = time.perf_counter()
    known = workspace.proposed_dt()
    proposing = options.dt is None and known is None
    if proposing:
        progress(Event("proposing", 0, 1, 0, 0.0, 0))
    try:
        plan, compiled = make_plan(model, states, options, proposed_dt=known)
    except HamfitError:
        if not workspace.model.exists():
            workspace.discard()
        raise
    if proposing:
        progress(Event("proposing", 1, 1, 0, time.perf_counter() - began, 0))
        workspace.keep_proposed_dt(plan.dt)
    return plan, compiled


def _complete(target: Path, asked: str, states: InitialStates) -> RolloutResult | None:
    """The result that is there already, when it is that of this plan; nothing is known of how fast it was made."""
    if not target.exists():
        return None
    try:
        dataset = Dataset.open(target)
    except StoreError:
        return None
    known = dataset.attrs.get("rollout")
    if not isinstance(known, Mapping) or known.get("fingerprint") != asked:
        return None
    unknown = dict.fromkeys(("seconds", "steps_per_second", per_hour(states)[0], "peak_bytes"))
    return RolloutResult(dataset, {**known["report"], "resumed": True, **unknown})


def _finished(workspace: Workspace, name: str) -> dict[str, Any]:
    done = finished_rollout(workspace, name)
    if done is None:
        raise RolloutError(f"{workspace.out}: {name} left no result: repeat the rollout, which goes on where it was")
    return done


class _StepCount:
    """Tells the listener how many steps are made of those of all rollouts, whenever they were made, and how many of
    them in this run, so that speed and time to go are of this run."""

    def __init__(self, progress: Progress, plan: RolloutPlan, todo: Mapping[int, int]) -> None:
        self._progress = progress
        self._total = len(plan.states) * plan.options.steps
        self._finished = self._total - len(todo) * plan.options.steps
        self._before = self._finished + sum(todo.values())
        self._began = time.perf_counter()
        self._ended = False

    @property
    def seconds(self) -> float:
        """Time since the rollouts began."""
        return time.perf_counter() - self._began

    def tell(self, steps: int) -> None:
        """The rollouts of this run have come to ``steps`` together, counted from their starts."""
        # below where they were taken up, when a checkpoint turned out to be damaged
        done = min(max(self._finished + steps, self._before), self._total)
        if self._ended:
            return
        # the end is told once, whoever sees it first
        self._ended = done == self._total
        made = done - self._before
        self._progress(Event("rollout", done, self._total, made, self.seconds, peak_bytes(), "steps"))


def _warn(report: Mapping[str, Any]) -> None:
    for note in report["warnings"]:
        warnings.warn(note, RolloutWarning, stacklevel=3)
