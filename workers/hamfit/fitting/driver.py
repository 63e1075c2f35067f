"""The fit from beginning to end: survey, sample, whiten, stream, solve, publish."""

from __future__ import annotations

import hashlib
import json
import platform
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hamfit.data import Dataset, as_datasets
from hamfit.devices import device_for
from hamfit.errors import FitError, FitWarning, SpecError, StoreError
from hamfit.features.survey import Survey
from hamfit.fitting.caveats import caveats
from hamfit.fitting.clock import Clock
from hamfit.fitting.cluster import on_cluster
from hamfit.fitting.executors import Executor, on_threads
from hamfit.fitting.first_look import few_energy_frames
from hamfit.fitting.frame_rows import Energies
from hamfit.fitting.partial import PartialState, joined_extents
from hamfit.fitting.prediction import Prediction, columns_of, predict
from hamfit.fitting.preparing import Prepared, most_particles, prepare
from hamfit.fitting.problem import Problem, frame_weights, pose
from hamfit.fitting.refining import refine, with_steps
from hamfit.fitting.shards import FrameTable, plan_shards
from hamfit.fitting.solving import SolvedPart, constants_from_energies, solve_part
from hamfit.fitting.workspace import workspace
from hamfit.model import Model, is_model, theta_of_blocks
from hamfit.options import FitOptions, FitSpec
from hamfit.processes import single_blas_thread
from hamfit.progress import Progress, silent
from hamfit.reductions import solver_named
from hamfit.tasks import check_client

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, slots=True, eq=False)
class FitResult:
    """A fitted model and the report of how it came about."""

    model: Model
    """The model."""
    report: dict[str, Any]
    """Seconds per phase, ranks, condition numbers, errors, memory; JSON-able."""


def plan(data: Dataset | str | Path | Sequence[Dataset | str | Path], options: FitOptions | None = None) -> Prediction:
    """What a fit would cost; reads metadata only.

    Raises DataError or SpecError when data and options contradict each other.
    """
    options = options or FitOptions()
    problem = pose(as_datasets(data), options)
    table = FrameTable.of(problem.datasets)
    columns = columns_of(problem, options)
    shards = plan_shards(table, options.groups, most_particles(problem.dim, max(columns.values())))
    return predict(problem, options, table, shards)


def fit(
    data: Dataset | str | Path | Sequence[Dataset | str | Path],
    *,
    out: str | Path | None = None,
    options: FitOptions | None = None,
    client: Client | None = None,
    progress: Progress = silent,
    overwrite: bool = True,
    **changes: Any,
) -> FitResult:
    """Learn a Hamiltonian from trajectories.

    Args:
        data: one or many datasets, or their paths.
        out: where the model is stored; None keeps it in memory.
        options: how to fit; further keyword arguments replace single options.
        client: run on this Dask cluster; None runs on threads of this process. The bits are the same.
        progress: listens to events.
        overwrite: replace a model already at ``out``.

    Raises:
        DataError, SpecError: data and options contradict each other.
        FitError, FeatureError, GraphError: the numbers cannot be fitted.
        DeviceError: a GPU is asked for that cannot be used (without a cluster said before anything is read), or has no
            room; what was done is kept.
        StoreError: ``out`` cannot be written, holds something else than a model, or another fit is writing it.
        ClusterError: the client is closed, or the cluster was lost; repeating the call takes up where it was.
        TaskError: a worker failed for a reason that is not the data's.

    """
    options = (options or FitOptions()).with_changes(**changes)
    if options.workers is not None and client is None:
        raise SpecError("workers run on a cluster: give client=, or leave workers out to use threads of this process")
    if client is None:
        # a GPU asked for by name is missed before anything is read or written; workers look for their own
        device_for(0, options.device)
    clock = Clock(progress)
    with clock.phase("reading"):
        problem = pose(as_datasets(data), options)
        target = None if out is None else Path(out).absolute()
        if target is not None and target.exists():
            if not overwrite:
                raise StoreError(f"{target} exists: choose another place, or allow overwriting")
            if not is_model(target):
                raise StoreError(f"{target} exists and is no model of hamfit: choose another place")
    if client is not None:
        check_client(client, "fit")
    executor: Executor = partial(on_threads, options.threads) if client is None else partial(on_cluster, client)
    keep = client is not None or options.checkpoint
    fingerprint = _fingerprint(problem, options)
    with workspace(target, fingerprint, resume=options.resume, keep=keep) as home:
        try:
            result = _run(problem, options, executor, home, clock, fingerprint)
        except np.linalg.LinAlgError as error:
            raise FitError(
                f"LAPACK gave up ({error}): the data hold extreme values; check them, or give --ridge"
            ) from error
        if target is not None:
            with clock.phase("publishing"):
                result.model.save(target)
    result.report["seconds"] = clock.seconds
    result.report["seconds"]["total"] = clock.total
    return result


def _run(
    problem: Problem,
    options: FitOptions,
    executor: Executor,
    home: Path | None,
    clock: Clock,
    fingerprint: str,
) -> FitResult:
    prepared = prepare(problem, options, executor, home, clock)
    stage, shards, basis = prepared.stage, prepared.shards, prepared.stage.basis
    solver, weights = solver_named(options.solver), frame_weights(problem, options)
    solve = partial(solve_part, solver=solver, ridge=options.ridge, weights=weights)
    passes = 2 if options.precision == "mixed" else 1
    with clock.phase("features", passes * len(shards), passes * prepared.n_rows) as done:
        roots = executor(stage, shards, done)
        groups = [roots[g] for g in sorted(roots)]
        if options.precision == "mixed":
            basis, groups = refine(stage, shards, groups, executor, done, partial(solve, basis), solver)
    with clock.phase("solving"), single_blas_thread():
        solved = [solve(basis, part, groups) for part in basis.parts]
        if options.precision == "mixed":
            solved = [
                with_steps(part, first, groups, solver) for part, first in zip(solved, stage.basis.parts, strict=True)
            ]
        model = _model(problem, options, prepared.found, solved, groups, fingerprint)
    report = _report(problem, options, solved, prepared, groups)
    return FitResult(replace(model, provenance={**model.provenance, "report": report}), report)


def _model(
    problem: Problem,
    options: FitOptions,
    found: Survey,
    solved: Sequence[SolvedPart],
    groups: Sequence[PartialState],
    fingerprint: str,
) -> Model:
    blocks = tuple(block for part in solved for block in part.basis.blocks)
    theta = tuple(t for part in solved for t in theta_of_blocks(part.basis.blocks, part.theta))
    constants = next((part.own[Energies.name] for part in solved if Energies.name in part.own), None)
    model = Model(
        blocks=blocks,
        theta=theta,
        constants=np.full(len(problem.labels), np.nan) if constants is None else constants,
        labels=problem.labels,
        bond_labels=problem.bond_labels,
        dim=problem.dim,
        units=problem.datasets[0].units.to_attrs(),
        extents=joined_extents(groups),
        provenance={
            "options": _json_options(options),
            "data": [{"digest": d.digest, "frames": d.n_frames} for d in problem.datasets],
            "fingerprint": fingerprint,
            "versions": dict(_versions()),
        },
        factors={part.basis.part: part.factor for part in solved},
    )
    if constants is None:
        model = replace(model, constants=constants_from_energies(model, few_energy_frames(found)))
    return model


def _report(
    problem: Problem,
    options: FitOptions,
    solved: Sequence[SolvedPart],
    prepared: Prepared,
    groups: Sequence[PartialState],
) -> dict[str, Any]:
    parts: dict[str, dict[str, Any]] = {part.basis.part: dict(part.report) for part in solved}
    notes = caveats(parts, options.solver) + sorted({note for group in groups for note in group.notes})
    for note in notes:
        warnings.warn(note, FitWarning, stacklevel=4)
    return {
        "warnings": notes,
        "blocks": [block.kind for block in problem.blocks],
        "precision": options.precision,
        "rows": sum(p["rows"] for p in parts.values()),
        "columns": sum(p["columns"] for p in parts.values()),
        "rank": {name: p["rank"] for name, p in parts.items()},
        "condition": {name: p["condition"] for name, p in parts.items()},
        "train": {name: p["train"] for name, p in parts.items()},
        "held_out": {name: p["held_out"] for name, p in parts.items()},
        "parts": parts,
        "choices": {name: value for b in prepared.built for name, value in b.choices.items()},
        "shards": len(prepared.shards),
        "devices": sorted({name for group in groups for name in group.devices}),
        "compute_seconds": sum(group.seconds for group in groups),
        "peak_bytes_per_worker": max(group.peak_bytes for group in groups),
    }


def _json_options(options: FitOptions) -> dict[str, Any]:
    # where the fit ran is no part of what was fitted
    values: dict[str, Any] = options.model_dump(mode="json", include=set(FitSpec.model_fields))
    return values


@cache
def _versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("numpy", "scipy", "numba", "hamfit")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _fingerprint(problem: Problem, options: FitOptions) -> str:
    content = {
        "options": _json_options(options),
        "data": [d.digest for d in problem.datasets],
        "versions": _versions(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
