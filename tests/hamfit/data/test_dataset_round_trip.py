from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from dataset_cases import trajectory, write_dataset
from hypothesis import given
from hypothesis import strategies as st

from hamfit.data import Dataset, DatasetWriter, Trajectory, describe
from hamfit.data.units import ASE, LJ
from hamfit.errors import DataError
from hamfit.stores import zarr_array


@given(
    seed=st.integers(0, 99),
    n_frames=st.integers(1, 6),
    n=st.integers(1, 5),
    d=st.integers(1, 3),
    target=st.sampled_from([40, 200, 2**23]),
)
def test_every_field_reads_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n_frames: int, n: int, d: int, target: int
) -> None:
    arguments = trajectory(seed, n_frames=n_frames, n=n, d=d)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr_array, "TARGET_CHUNK_BYTES", target)
        dataset = write_dataset(tmp_path_factory.mktemp("store") / "d.zarr", arguments)
    (read,) = dataset.trajectories
    assert (read.n_frames, read.n_particles, read.dim, dataset.dim) == (n_frames, n, d, d)
    assert np.array_equal(read.species, arguments["species"])
    assert np.array_equal(read.masses, arguments["masses"])
    assert np.array_equal(read.time, arguments["time"])
    assert read.step.tolist() == list(range(n_frames))
    for t, frame in enumerate(read.frames()):
        assert np.array_equal(frame.q, arguments["q"][t])
        assert np.array_equal(frame.qdot, arguments["velocity"][t])
        assert np.array_equal(frame.p, arguments["velocity"][t] * arguments["masses"][:, None])
        assert np.array_equal(frame.pdot, arguments["force"][t])
        assert np.array_equal(frame.box, arguments["box"])
        assert frame.periodic == (True,) * d
        assert frame.potential_energy == arguments["potential_energy"][t]
        assert frame.labels == ("A", "B")
    dataset.verify()


def test_a_frame_equals_the_same_frame_of_a_range(tmp_path: Path) -> None:
    read = write_dataset(tmp_path / "d.zarr", trajectory(1, n_frames=9)).trajectories[0]
    for t, frame in enumerate(read.frames(2, 5), start=2):
        assert np.array_equal(frame.q, read.frame(t).q)
    assert np.array_equal(read.frame(-1).q, read.frame(8).q)
    assert [len(block) for block in read.blocks(4)] == [4, 4, 1]
    for start, stop in ((-1, 2), (3, 10), (5, 4)):
        with pytest.raises(DataError, match="do not exist: it has 9"):
            read.frames(start, stop)


def test_trajectories_of_different_sizes_species_and_cells_live_together(tmp_path: Path) -> None:
    boxes = np.stack([np.eye(3) * 6, np.eye(3) * 7 + np.eye(3, k=1)])
    dataset = write_dataset(
        tmp_path / "d.zarr",
        trajectory(1, n=4),
        trajectory(2, n=6, n_frames=2, box=boxes, periodic=(True, False, True)),
        trajectory(3, n=3, box=None, periodic=False, velocity=None, potential_energy=None, time=None),
    )
    assert [t.n_particles for t in dataset.trajectories] == [4, 6, 3]
    assert dataset.n_frames == 7 + 2 + 7
    first, second, third = dataset.trajectories
    assert np.array_equal(second.frame(1).box, boxes[1])
    assert second.periodic == (True, False, True)
    assert (first.has_velocities, first.has_momenta, first.has_forces, first.has_energies) == (True,) * 4
    assert (third.has_velocities, third.has_momenta, third.has_forces, third.has_energies) == (
        False,
        False,
        True,
        False,
    )
    frame = third.frame(0)
    assert (frame.p, frame.qdot, frame.box, frame.potential_energy) == (None,) * 4
    assert not third.has_time
    assert np.isnan(third.time).all()
    assert dataset.trajectory("run-1").n_particles == 6
    with pytest.raises(DataError, match="no trajectory 'run-9'"):
        dataset.trajectory("run-9")


def test_stored_momenta_and_their_rates_precede_masses_times_velocities(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    p, rate = rng.normal(size=(2, 7, 5, 3))
    read = write_dataset(tmp_path / "d.zarr", trajectory(1, momentum=p, momentum_rate=rate, force=None)).trajectories[0]
    assert np.array_equal(read.frame(3).p, p[3])
    assert np.array_equal(read.frame(3).pdot, rate[3])
    assert read.has_forces


def test_bonds_and_their_types_are_kept(tmp_path: Path) -> None:
    bonds, types = np.array([[0, 1], [3, 2]]), np.array([1, 0])
    dataset = write_dataset(
        tmp_path / "d.zarr",
        trajectory(1, bonds=bonds, bond_types=types),
        trajectory(2, bonds=bonds),
        trajectory(3, bonds=np.zeros((0, 2))),
        trajectory(4),
    )
    first, second, third, fourth = (t.frame(0) for t in dataset.trajectories)
    assert np.array_equal(first.bonds, bonds)
    assert np.array_equal(first.bond_types, types)
    assert first.bond_labels == ("soft", "hard") == dataset.bond_labels
    assert second.bond_types is not None
    assert second.bond_types.tolist() == [0, 0]
    assert third.bonds is not None
    assert third.bonds.shape == (0, 2)
    assert fourth.bonds is None


def test_appending_in_blocks_equals_writing_at_once(tmp_path: Path) -> None:
    arguments = trajectory(5, n_frames=11)
    whole = write_dataset(tmp_path / "whole.zarr", arguments)
    fixed = {key: arguments.pop(key) for key in ("species", "masses", "box", "periodic")}
    with DatasetWriter.create(tmp_path / "blocks.zarr", units=LJ, labels=("A", "B"), bond_labels=("soft", "hard")) as w:
        with w.open_trajectory("run-0", dim=3, **fixed) as run:
            for start, stop in ((0, 1), (1, 1), (1, 7), (7, 11)):
                run.append(**{key: value[start:stop] for key, value in arguments.items()})
        assert run.n_frames == 11
    assert Dataset.open(tmp_path / "blocks.zarr").digest == whole.digest


def test_the_digest_tells_different_content_apart(tmp_path: Path) -> None:
    same = [write_dataset(tmp_path / f"{k}.zarr", trajectory(1), attrs={"run": k}) for k in range(2)]
    assert same[0].digest == same[1].digest
    q = trajectory(1)["q"].copy()
    q[3, 2, 1] = np.nextafter(q[3, 2, 1], np.inf)
    others = [
        write_dataset(tmp_path / "bit.zarr", trajectory(1, q=q)),
        write_dataset(tmp_path / "units.zarr", trajectory(1), units=ASE),
        write_dataset(tmp_path / "labels.zarr", trajectory(1), labels=("B", "A")),
        write_dataset(tmp_path / "mass.zarr", trajectory(1, masses=2.0)),
    ]
    assert len({d.digest for d in [same[0], *others]}) == 5


def test_datasets_and_trajectories_pickle_as_their_path(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d.zarr", trajectory(1), trajectory(2, n=400))
    raw = pickle.dumps(dataset)
    assert len(raw) < 300
    assert pickle.loads(raw).digest == dataset.digest
    copy = pickle.loads(pickle.dumps(dataset.trajectories[1]))
    assert isinstance(copy, Trajectory)
    assert np.array_equal(copy.frame(2).q, dataset.trajectories[1].frame(2).q)


def test_zarr_and_its_consolidated_metadata_show_h5md_names(tmp_path: Path) -> None:
    arguments = trajectory(1, bonds=np.array([[0, 1]]), bond_types=np.array([1]))
    write_dataset(tmp_path / "d.zarr", arguments, attrs={"made_by": "a test"})
    group = zarr.open_consolidated(tmp_path / "d.zarr")
    assert group.attrs["labels"] == ["A", "B"]
    assert group.attrs["made_by"] == "a test"
    assert group.attrs["h5md"]["version"] == [1, 1]
    run = group["run-0"]
    for path, key in (("position", "q"), ("velocity", "velocity"), ("force", "force")):
        value = run[f"particles/all/{path}/value"]
        assert np.array_equal(value[...], arguments[key])
        assert value.metadata.dimension_names == ("time", "particle", "axis")
        assert np.isnan(value.fill_value)
        assert np.array_equal(run[f"particles/all/{path}/time"][...], arguments["time"])
        assert run[f"particles/all/{path}/step"][...].tolist() == list(range(7))
    assert np.array_equal(run["particles/all/box/edges"][...], arguments["box"])
    assert run["particles/all/box"].attrs["boundary"] == ["periodic"] * 3
    assert np.array_equal(run["particles/all/species"][...], arguments["species"])
    assert np.array_equal(run["particles/all/mass"][...], arguments["masses"])
    assert run["particles/all/force/value"].attrs["unit"] == "epsilon/sigma"
    assert np.array_equal(run["observables/potential_energy/value"][...], arguments["potential_energy"])
    assert run["connectivity/bonds"].attrs["particles_group"] == "run-0/particles/all"
    # the same without consolidated metadata: every zarr.json is in its place
    plain = zarr.open_group(tmp_path / "d.zarr", mode="r", use_consolidated=False)
    assert np.array_equal(plain["run-0/connectivity/bond_types"][...], [1])
    # how 'unlike' other readers see a moving box: a group of value, step, time
    write_dataset(tmp_path / "e.zarr", trajectory(1, box=np.tile(np.eye(3) * 9, (7, 1, 1))))
    assert zarr.open_group(tmp_path / "e.zarr", mode="r")["run-0/particles/all/box/edges/value"].shape == (7, 3, 3)


def test_a_large_frame_is_split_over_particles(tmp_path: Path) -> None:
    n = 400_000
    q = np.random.default_rng(0).normal(size=(2, n, 3))
    arguments = trajectory(1, n=n, n_frames=2, q=q, velocity=None, force=None, box=None, periodic=False)
    dataset = write_dataset(tmp_path / "d.zarr", arguments)
    assert zarr.open_group(tmp_path / "d.zarr", mode="r")["run-0/particles/all/position/value"].chunks == (1, 349525, 3)
    assert np.array_equal(dataset.trajectories[0].frame(1).q, q[1])


def test_opening_many_trajectories_is_quick(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d.zarr", *(trajectory(k, n=2 + k, n_frames=1) for k in range(250)))
    seconds = []
    for _ in range(5):
        started = time.process_time()  # not the wall clock: other tests may share the cores
        Dataset.open(tmp_path / "d.zarr")
        seconds.append(time.process_time() - started)
    assert min(seconds) < 0.1


def test_describe_sums_up_and_is_json(tmp_path: Path) -> None:
    import json

    write_dataset(tmp_path / "d.zarr", *(trajectory(k, n=3 + k) for k in range(22)))
    summary = json.loads(json.dumps(describe(tmp_path / "d.zarr"), allow_nan=False))
    assert summary["n_trajectories"] == 22
    assert len(summary["trajectories"]) + summary["n_trajectories_not_listed"] == 22
    assert summary["n_particles"] == [3, 24]
    assert summary["has"]["forces"] == 22
    assert sum(summary["trajectories"][4]["species"].values()) == 7
    assert summary["units"]["name"] == "lj"
