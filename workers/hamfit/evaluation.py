"""How good a model is on data: errors of forces, velocities and energies, and how far it had to extrapolate.

Frames are judged in pieces of neighbouring ones, each by one thread or one task, which keeps a few frames in memory
whatever the length of the data. What a frame leaves behind are a dozen sums; they are added in the order of the frames,
so the answer is the same to the last bit whoever judged them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hamfit.checked_options import available_cores
from hamfit.data import Dataset, as_datasets
from hamfit.data.dataset import reopened
from hamfit.data.units import check_units_of_model
from hamfit.errors import DataError, located
from hamfit.frames import Frame
from hamfit.model import Model
from hamfit.processes import PROCESS_BYTES, peak_bytes, prepare_worker, single_blas_thread
from hamfit.progress import Event, Progress, silent
from hamfit.tasks import ClusterTasks, Task, ThreadTasks
from hamfit.types import FloatArray

if TYPE_CHECKING:
    from distributed import Client


def evaluate(
    model: Model | str | Path,
    data: Dataset | str | Path | Sequence[Dataset | str | Path],
    *,
    threads: int | None = None,
    client: Client | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Compare a model with every frame of some datasets.

    Args:
        model: a fitted model or its path.
        data: one or many datasets, or their paths.
        threads: threads of this process that judge frames side by side; by default the cores there are.
        client: judge on this Dask cluster instead, whose workers see the same files. The bits are the same.
        progress: listens to events of the phase ``evaluating``, in frames.

    Returns:
        A JSON-able dict. ``force`` and ``velocity`` are relative errors ||pred - true|| / ||true|| over all components
        of all frames; ``force_mae`` and ``force_rmse`` are per component in the data's units;
        ``energy_mae_per_particle`` is after the constant was fixed by these data; ``extrapolated_share`` is the share
        of edges outside the range seen in training. A value is None where the data cannot tell.

    Raises:
        ModelError: the data hold species, bond types or dimensions that the model does not know.
        DataError: they hold neither forces nor velocities, or are in other units.
        ClusterError, TaskError: the cluster was lost, or a worker failed for a reason that is not the data's.

    """
    opened = model if isinstance(model, Model) else Model.open(model)
    datasets = as_datasets(data)
    for dataset in datasets:
        check_units_of_model(dataset.path, dataset.units, opened.units)
    pieces, total = list(_pieces(datasets)), sum(dataset.n_frames for dataset in datasets)
    began, done = time.perf_counter(), 0
    judged: dict[int, FloatArray] = {}

    def tell() -> None:
        progress(Event("evaluating", done, total, done, time.perf_counter() - began, peak_bytes(), "frames"))

    tell()
    for index, found in _judge_all(opened, pieces, threads or available_cores(), client):
        judged[index] = found
        done += len(found)
        tell()
    rows = [judged[index] for index in range(len(pieces))]
    return _summary(np.concatenate([np.zeros((0, _WORDS + len(opened.labels))), *rows]), opened, datasets)


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """The size of an evaluation before it runs."""

    frames: int
    particles: int
    """Of all frames together."""
    peak_bytes: int
    """Memory of the process, or of a worker, at most."""


def plan_evaluation(
    model: Model | str | Path,
    data: Dataset | str | Path | Sequence[Dataset | str | Path],
    *,
    threads: int | None = None,
) -> EvaluationPlan:
    """What an evaluation would take; reads metadata only, and the model."""
    opened = model if isinstance(model, Model) else Model.open(model)
    trajectories = [t for dataset in as_datasets(data) for t in dataset.trajectories]
    most, n = 0, threads or available_cores()
    for t in trajectories:
        # read: positions, velocities, momenta, forces, their chunks; made: cells, gradients, differences
        read = min(t.n_frames, t.frames_at_once) * (5 * t.dim + 2)
        most = max(most, 8 * t.n_particles * (read + 12 * t.dim + 24))
    # what every frame leaves behind, and a copy of it
    left = 2 * 8 * (_WORDS + len(opened.labels)) * sum(t.n_frames for t in trajectories)
    coefficients = sum(array.nbytes for array in (*opened.theta, *opened.factors.values()))
    return EvaluationPlan(
        frames=sum(t.n_frames for t in trajectories),
        particles=sum(t.n_frames * t.n_particles for t in trajectories),
        peak_bytes=PROCESS_BYTES + 2 * coefficients + n * (most + 64 * 2**20) + left,
    )


class _Piece(NamedTuple):
    """Frames ``start`` .. ``stop`` - 1 of one trajectory."""

    dataset: str
    digest: str
    trajectory: int
    start: int
    stop: int


def _pieces(datasets: Sequence[Dataset]) -> Iterator[_Piece]:
    for dataset in datasets:
        for number, trajectory in enumerate(dataset.trajectories):
            step = trajectory.frames_at_once
            for start in range(0, trajectory.n_frames, step):
                stop = min(start + step, trajectory.n_frames)
                yield _Piece(str(dataset.path), dataset.digest, number, start, stop)


def _judge_all(
    model: Model, pieces: Sequence[_Piece], threads: int, client: Client | None
) -> Iterator[tuple[int, FloatArray]]:
    """What each piece leaves, as they end."""
    slim: Any = replace(model, factors={}, provenance={})
    if client is None:
        with single_blas_thread(), ThreadTasks[int](min(threads, max(1, len(pieces)))) as here:
            yield from here.results(Task(k, "judge", str(k), _judge, (slim, p)) for k, p in enumerate(pieces))
        return
    with ClusterTasks[int](client, "evaluation", resumes=False) as there:
        known = there.held(slim)
        yield from there.results(Task(k, "judge", str(k), _judge_there, (known, p)) for k, p in enumerate(pieces))


#: What a frame leaves behind: of forces and of velocities the number of components compared, sums of the squared and
#: the absolute differences and of the squared true values; the energy predicted less the true one, nan where it is not
#: known; edges outside the range of training, and all; then the particles of each species.
_FORCE, _VELOCITY, _ENERGY, _OUTSIDE, _EDGES, _WORDS = 0, 4, 8, 9, 10, 11
_COUNT, _SQUARE, _ABSOLUTE, _SIZE = range(4)


def _judge(model: Model, piece: _Piece) -> FloatArray:
    """Judge the frames of a piece, in their order, (frames, _WORDS + S)."""
    dataset = reopened(piece.dataset, piece.digest)
    trajectory = dataset.trajectories[piece.trajectory]
    found = np.zeros((piece.stop - piece.start, _WORDS + len(model.labels)))
    for row, stored in enumerate(trajectory.frames(piece.start, piece.stop)):
        with located(dataset.path, trajectory.name, piece.start + row):
            _judge_frame(model, model.adapt(stored), found[row])
    return found


def _judge_frame(model: Model, frame: Frame, row: FloatArray) -> None:
    # forces, energy and edges out of range in one go: each edge is found once
    potential = model.potential(frame, virial=False)
    if frame.pdot is not None and any(block.part == "force" for block in model.blocks):
        row[_FORCE:_VELOCITY] = _sums(potential.forces, frame.pdot)
    if frame.qdot is not None and frame.p is not None:
        row[_VELOCITY:_ENERGY] = _sums(model.velocities(frame), frame.qdot)
    row[_ENERGY] = np.nan if frame.potential_energy is None else potential.energy - frame.potential_energy
    row[_OUTSIDE:_WORDS] = potential.outside, potential.edges
    row[_WORDS:] = np.bincount(frame.species, minlength=len(model.labels))


def _sums(predicted: FloatArray, true: FloatArray) -> tuple[float, float, float, float]:
    difference = predicted - true
    return difference.size, float(np.sum(difference**2)), float(np.sum(np.abs(difference))), float(np.sum(true**2))


def _judge_there(model: Model, piece: _Piece) -> FloatArray:
    """Runs on a worker."""
    prepare_worker()
    return _judge(model, piece)


def _summary(found: FloatArray, model: Model, datasets: Sequence[Dataset]) -> dict[str, Any]:
    force, velocity = found[:, _FORCE:_VELOCITY].sum(axis=0), found[:, _VELOCITY:_ENERGY].sum(axis=0)
    outside, edges = found[:, _OUTSIDE:_WORDS].sum(axis=0)
    if force[_COUNT] == 0 and velocity[_COUNT] == 0:
        raise DataError(f"{datasets[0].path} holds neither forces nor velocities to compare with: ingest them")
    return {
        "frames": len(found),
        "units": dict(model.units),
        "force": _relative(force),
        "velocity": _relative(velocity),
        "force_mae": float(force[_ABSOLUTE] / force[_COUNT]) if force[_COUNT] else None,
        "force_rmse": float(np.sqrt(force[_SQUARE] / force[_COUNT])) if force[_COUNT] else None,
        "energy_mae_per_particle": _energy_error(found[~np.isnan(found[:, _ENERGY])]),
        "extrapolated_share": float(outside / edges) if edges else None,
    }


def _relative(sums: FloatArray) -> float | None:
    if sums[_COUNT] == 0:
        return None
    return float(np.sqrt(sums[_SQUARE] / sums[_SIZE] if sums[_SIZE] > 0.0 else sums[_SQUARE]))


def _energy_error(known: FloatArray) -> float | None:
    """Mean absolute difference per particle, once one constant for each species is taken from the differences."""
    if not len(known):
        return None
    difference, counts = known[:, _ENERGY], known[:, _WORDS:]
    shift = counts @ np.linalg.lstsq(counts, difference, rcond=None)[0]
    return float(np.mean(np.abs(difference - shift) / counts.sum(axis=1)))
