"""How good a model is on data: errors of forces, velocities and energies, and how far it had to extrapolate.

Frames are judged in pieces of neighbouring ones, each by one thread or one task, which keeps a few frames in memory
whatever the length of the data. What a frame leaves behind are a dozen sums; they are added in the order of the frames,
so the answer is the same to the last bit whoever judged them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from hamfit.tasks import ClusterTasks, Task, ThreadTasks, check_client
from hamfit.types import FloatArray, IntArray

if TYPE_CHECKING:
    from distributed import Client

#: Particles of the frames that one thread reads at a time, at least one frame.
_PIECE_PARTICLES = 50_000


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
    judged: dict[int, list[_Judged]] = {}

    def tell() -> None:
        progress(Event("evaluating", done, total, done, time.perf_counter() - began, peak_bytes(), "frames"))

    tell()
    for index, found in _judge_all(opened, pieces, threads or available_cores(), client):
        judged[index] = found
        done += len(found)
        tell()
    return _summary([one for index in range(len(pieces)) for one in judged[index]], opened, datasets)


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
        read = min(t.n_frames, max(1, _PIECE_PARTICLES // t.n_particles)) * (5 * t.dim + 2)
        most = max(most, 8 * t.n_particles * (read + 12 * t.dim + 24))
    coefficients = sum(array.nbytes for array in (*opened.theta, *opened.factors.values()))
    return EvaluationPlan(
        frames=sum(t.n_frames for t in trajectories),
        particles=sum(t.n_frames * t.n_particles for t in trajectories),
        peak_bytes=PROCESS_BYTES + 2 * coefficients + n * (most + 64 * 2**20),
    )


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some consecutive frames of one trajectory."""

    path: str
    digest: str
    trajectory: int
    start: int
    stop: int


def _pieces(datasets: Sequence[Dataset]) -> Iterator[_Piece]:
    for dataset in datasets:
        for number, trajectory in enumerate(dataset.trajectories):
            step = max(1, _PIECE_PARTICLES // max(1, trajectory.n_particles))
            for start in range(0, trajectory.n_frames, step):
                stop = min(start + step, trajectory.n_frames)
                yield _Piece(str(dataset.path), dataset.digest, number, start, stop)


def _judge_all(
    model: Model, pieces: Sequence[_Piece], threads: int, client: Client | None
) -> Iterator[tuple[int, list[_Judged]]]:
    """What each piece leaves, as they end."""
    slim: Any = replace(model, factors={}, provenance={})
    if client is None:
        with single_blas_thread(), ThreadTasks[int](min(threads, max(1, len(pieces)))) as here:
            yield from here.results(Task(k, "judge", str(k), _judge, (slim, p)) for k, p in enumerate(pieces))
        return
    check_client(client, "evaluation")
    with ClusterTasks[int](client, "evaluation") as there:
        known = client.scatter(slim)
        yield from there.results(Task(k, "judge", str(k), _judge_there, (known, p)) for k, p in enumerate(pieces))


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """Sums over the components of a vector field of one frame."""

    count: int
    square: float
    """Of the differences."""
    size: float
    """Of the true values, squared."""
    absolute: float
    """Of the differences."""

    @classmethod
    def of(cls, predicted: FloatArray, true: FloatArray) -> _Sums:
        difference = predicted - true
        square, size = float(np.sum(difference**2)), float(np.sum(true**2))
        return cls(difference.size, square, size, float(np.sum(np.abs(difference))))


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """What one frame leaves behind."""

    force: _Sums | None
    velocity: _Sums | None
    energy: float | None
    """Predicted less true."""
    counts: IntArray
    """Particles of each species, (S,)."""
    outside: int
    edges: int


def _judge(model: Model, piece: _Piece) -> list[_Judged]:
    """Judge the frames of a piece, in their order."""
    dataset = reopened(piece.path, piece.digest)
    trajectory = dataset.trajectories[piece.trajectory]
    found = []
    for index, stored in enumerate(trajectory.frames(piece.start, piece.stop), piece.start):
        with located(dataset.path, trajectory.name, index):
            found.append(_judge_frame(model, model.adapt(stored)))
    return found


def _judge_frame(model: Model, frame: Frame) -> _Judged:
    # forces, energy and edges out of range in one go: each edge is found once
    potential = model.potential(frame, virial=False)
    has_forces = frame.pdot is not None and any(block.part == "force" for block in model.blocks)
    has_velocities = frame.qdot is not None and frame.p is not None
    energy = None if frame.potential_energy is None else potential.energy - frame.potential_energy
    return _Judged(
        _Sums.of(potential.forces, frame.pdot) if has_forces and frame.pdot is not None else None,
        _Sums.of(model.velocities(frame), frame.qdot) if has_velocities and frame.qdot is not None else None,
        energy,
        np.bincount(frame.species, minlength=len(model.labels)),
        potential.outside,
        potential.edges,
    )


def _judge_there(model: Model, piece: _Piece) -> list[_Judged]:
    """Runs on a worker."""
    _ready()
    return _judge(model, piece)


@lru_cache(maxsize=1)
def _ready() -> None:
    prepare_worker()


def _summary(found: Sequence[_Judged], model: Model, datasets: Sequence[Dataset]) -> dict[str, Any]:
    forces = [one.force for one in found if one.force is not None]
    velocities = [one.velocity for one in found if one.velocity is not None]
    if not forces and not velocities:
        raise DataError(f"{datasets[0].path} holds neither forces nor velocities to compare with: ingest them")
    edges, count = sum(one.edges for one in found), sum(one.count for one in forces)
    return {
        "frames": len(found),
        "units": dict(model.units),
        "force": _relative(forces),
        "velocity": _relative(velocities),
        "force_mae": sum(one.absolute for one in forces) / count if count else None,
        "force_rmse": float(np.sqrt(sum(one.square for one in forces) / count)) if count else None,
        "energy_mae_per_particle": _energy_error(found),
        "extrapolated_share": sum(one.outside for one in found) / edges if edges else None,
    }


def _relative(sums: Sequence[_Sums]) -> float | None:
    if not sums:
        return None
    square, size = sum(one.square for one in sums), sum(one.size for one in sums)
    return float(np.sqrt(square / size)) if size > 0.0 else float(np.sqrt(square))


def _energy_error(found: Sequence[_Judged]) -> float | None:
    """Mean absolute difference per particle, once one constant for each species is taken from the differences."""
    known = [(one.energy, one.counts) for one in found if one.energy is not None]
    if not known:
        return None
    difference = np.array([energy for energy, _ in known])
    counts = np.array([composition for _, composition in known], dtype=np.float64)
    shift = counts @ np.linalg.lstsq(counts, difference, rcond=None)[0]
    return float(np.mean(np.abs(difference - shift) / counts.sum(axis=1)))
