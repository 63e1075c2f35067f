from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamfit.errors import ClusterError, DataError, GraphError, ModelError
from hamfit.evaluation import evaluate
from hamfit.fitting import FitResult
from hamfit.frames import Frame
from hamfit.graphs import Edges
from hamfit.graphs.cutoff import PreparedCells
from hamfit.progress import Event
from hamfit.types import IntArray
from worlds import MASSES, force_of, liquids, write


def test_errors_equal_their_definitions(binary_fit: FitResult, tmp_path: Path) -> None:
    model = binary_fit.model
    frames = liquids(3, 5, n_species=2, jitter=0.09)
    rng = np.random.default_rng(2)
    wrong = [
        replace(f, pdot=force_of(f) + rng.normal(size=f.q.shape), qdot=1.01 * f.qdot, potential_energy=e)
        for f, e in zip(frames, (3.0, 1.0, 4.0, 1.5, 9.0), strict=True)
    ]
    told = evaluate(model, write(tmp_path / "a.zarr", [wrong]))
    assert json.loads(json.dumps(told)) == told
    difference = np.array([model.forces(f) - force_of(f) for f in wrong])
    size = np.linalg.norm([force_of(f) for f in wrong])
    assert told["frames"] == 5
    assert told["force"] == pytest.approx(np.linalg.norm(difference) / size, rel=1e-12)
    assert told["force_mae"] == pytest.approx(np.mean(np.abs(difference)), rel=1e-12)
    assert told["force_rmse"] == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-12)
    # momenta are m v of the stored velocities, so the model agrees with them
    assert told["velocity"] < 1e-8
    energies = np.array([model.potential_energy(f) - f.potential_energy for f in wrong])
    # equal compositions: the constants can only shift all frames alike
    expected = np.mean(np.abs(energies - energies.mean())) / 27
    assert told["energy_mae_per_particle"] == pytest.approx(expected, rel=1e-9)


def test_a_path_or_many_are_as_good_as_a_dataset(binary_fit: FitResult, tmp_path: Path) -> None:
    binary_fit.model.save(tmp_path / "a.model")
    paths = []
    for seed in (3, 4):
        write(tmp_path / f"{seed}.zarr", [liquids(seed, 3, n_species=2)])
        paths.append(tmp_path / f"{seed}.zarr")
    told = evaluate(tmp_path / "a.model", paths)
    assert told["frames"] == 6
    assert told == evaluate(binary_fit.model, [str(p) for p in paths])


def test_what_the_data_cannot_tell_is_none(binary_fit: FitResult, tmp_path: Path) -> None:
    frames = liquids(3, 3, n_species=2)
    told = evaluate(binary_fit.model, write(tmp_path / "a.zarr", [frames], velocities=False, energies=False))
    assert told["force"] < 1e-6
    assert told["velocity"] is None
    assert told["energy_mae_per_particle"] is None
    told = evaluate(binary_fit.model, write(tmp_path / "b.zarr", [frames], forces=False))
    assert told["force"] is None
    assert told["force_mae"] is None
    assert told["velocity"] < 1e-8


def test_distances_never_seen_in_training_are_counted(binary_fit: FitResult, tmp_path: Path) -> None:
    calm = evaluate(binary_fit.model, write(tmp_path / "a.zarr", [liquids(3, 4, n_species=2, jitter=0.05)]))
    hot = evaluate(binary_fit.model, write(tmp_path / "b.zarr", [liquids(3, 4, n_species=2, jitter=0.25)]))
    # a few edges lie between the longest one seen and the cutoff
    assert calm["extrapolated_share"] < 0.005
    assert 0.01 < hot["extrapolated_share"] < 1.0


def test_data_that_the_model_cannot_judge_are_refused(binary_fit: FitResult, tmp_path: Path) -> None:
    frames = liquids(3, 3, n_species=2)
    renamed = [replace(f, labels=("A", "X")) for f in frames]
    with pytest.raises(ModelError, match=r"species X is unknown here \(known: A, B\)"):
        evaluate(binary_fit.model, write(tmp_path / "a.zarr", [renamed]))
    with pytest.raises(DataError, match=r"b\.zarr is in ase units, the model in lj"):
        evaluate(binary_fit.model, write(tmp_path / "b.zarr", [frames], units="ase"))
    flat = write(tmp_path / "c.zarr", [liquids(3, 3, n_species=2, dim=2)])
    with pytest.raises(ModelError, match="3-dimensional"):
        evaluate(binary_fit.model, flat)
    bare = write(tmp_path / "d.zarr", [frames], forces=False, velocities=False)
    with pytest.raises(DataError, match=r"d\.zarr holds neither forces nor velocities"):
        evaluate(binary_fit.model, bare)
    with pytest.raises(DataError, match="no dataset is given"):
        evaluate(binary_fit.model, [])


def test_threads_and_workers_give_the_same_bits(binary_fit: FitResult, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    data = write(tmp_path / "a.zarr", [liquids(seed, 7, n_species=2) for seed in range(3)])
    alone = evaluate(binary_fit.model, data, threads=1)
    assert evaluate(binary_fit.model, data, threads=3) == alone
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster, Client(cluster) as client:
        assert evaluate(binary_fit.model, data, client=client) == alone
    with pytest.raises(ClusterError, match="client of the cluster is closed: connect another one and repeat"):
        evaluate(binary_fit.model, data, client=client)


def test_workers_may_come_later(binary_fit: FitResult, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    data = write(tmp_path / "a.zarr", [liquids(1, 7, n_species=2)])
    with LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        late = threading.Timer(1.0, cluster.scale, (1,))
        late.start()
        assert evaluate(binary_fit.model, data, client=client) == evaluate(binary_fit.model, data)
        late.join()


def test_pieces_of_any_size_leave_the_same(
    binary_fit: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path / "a.zarr", [liquids(1, 9, n_species=2)])
    told = evaluate(binary_fit.model, data)
    for particles in (1, 60, 10**9):
        monkeypatch.setattr("hamfit.data.dataset._PARTICLES_AT_ONCE", particles)
        assert evaluate(binary_fit.model, data) == told


def test_a_frame_is_asked_for_its_forces_and_energy_at_once(
    binary_fit: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edges of a particle are looked for once: forces, energy and edges out of range come of the same."""
    data = write(tmp_path / "a.zarr", [liquids(1, 4, n_species=2)])
    asked: list[int] = []
    edges = PreparedCells.edges

    def counted(self: PreparedCells, centres: IntArray) -> Edges:
        asked.append(centres.size)
        return edges(self, centres)

    monkeypatch.setattr(PreparedCells, "edges", counted)
    evaluate(binary_fit.model, data, threads=1)
    assert sum(asked) == 4 * 27


def test_frames_are_counted_as_they_are_judged(binary_fit: FitResult, tmp_path: Path) -> None:
    data = write(tmp_path / "a.zarr", [liquids(1, 4, n_species=2), liquids(2, 5, n_species=2)])
    events: list[Event] = []
    evaluate(binary_fit.model, data, threads=2, progress=events.append)
    assert {(event.phase, event.total, event.unit) for event in events} == {("evaluating", 9, "frames")}
    assert [event.done for event in events] == sorted(event.done for event in events)
    assert (events[0].done, events[-1].done) == (0, 9)


def test_the_frame_that_cannot_be_judged_is_named(binary_fit: FitResult, tmp_path: Path) -> None:
    good, bad = liquids(1, 2, n_species=2)
    q = bad.q.copy()
    q[3] = q[4]
    data = write(tmp_path / "a.zarr", [[good, replace(bad, q=q)]])
    with pytest.raises(GraphError, match=r"a.zarr, trajectory run-0, frame 1: particles 3 and 4 are at the same place"):
        evaluate(binary_fit.model, data)


def crowd(side: int) -> Frame:
    """A shaken lattice of side^3 particles of two species, with forces of any values."""
    rng = np.random.default_rng(side)
    grid = np.stack(np.meshgrid(*[np.arange(float(side))] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    species = np.arange(len(grid), dtype=np.int64) % 2
    p = rng.normal(size=grid.shape)
    return Frame(
        q=1.2 * (grid + rng.uniform(-0.1, 0.1, grid.shape)),
        species=species,
        labels=("A", "B"),
        masses=MASSES[species],
        box=1.2 * side * np.eye(3),
        periodic=(True, True, True),
        p=p,
        qdot=p / MASSES[species][:, None],
        pdot=rng.normal(size=grid.shape),
        potential_energy=1.0,
    )


_MEASURED = """
import json, sys
from hamfit.evaluation import evaluate, plan_evaluation
from hamfit.processes import peak_bytes
evaluate(sys.argv[1], sys.argv[2], threads=2)
print(json.dumps([peak_bytes(), plan_evaluation(sys.argv[1], sys.argv[2], threads=2).peak_bytes]))
"""


def test_memory_does_not_grow_with_the_frames_and_is_as_predicted(binary_fit: FitResult, tmp_path: Path) -> None:
    binary_fit.model.save(tmp_path / "a.model")
    frames = [crowd(24)]
    peaks = []
    # the cache of chunks, 32 MiB, is full from the first on
    for count in (48, 144):
        write(tmp_path / f"{count}.zarr", [frames * count])
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, tmp_path / "a.model", tmp_path / f"{count}.zarr"],
            capture_output=True,
            text=True,
            check=True,
        )
        peak, predicted = json.loads(done.stdout)
        assert peak <= predicted
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 16 * 2**20
