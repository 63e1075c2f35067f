"""Datasets written as parts by several writers, each of which may be taken up where another one left it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_cases import trajectory, write_dataset
from hypothesis import given
from hypothesis import strategies as st

from hamfit.data import Dataset, DatasetWriter
from hamfit.data.trajectory_writer import TrajectoryWriter
from hamfit.data.units import LJ
from hamfit.errors import DataError, StoreError
from hamfit.stores import zarr_array

FIXED = ("species", "masses", "periodic", "bonds", "bond_types")
BONDS = {"bonds": [[0, 1], [3, 4]], "bond_types": [1, 0]}

# Every kind of field that a trajectory may have.
KINDS: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "bonded": BONDS,
    "momenta": {"momentum": np.random.default_rng(3).normal(size=(7, 5, 3))},
    "timeless": {"time": None},
    "positions only": {"velocity": None, "force": None, "potential_energy": None},
    "breathing box": {"box": np.eye(3) * np.linspace(5, 6, 7)[:, None, None]},
}


def part(root: Path, path: Path) -> DatasetWriter:
    root.mkdir(exist_ok=True)
    return DatasetWriter.create(path, units=LJ, labels=("A", "B"), bond_labels=("soft", "hard")).below(root)


def opened(writer: DatasetWriter, name: str, arguments: dict[str, Any]) -> TrajectoryWriter:
    box = np.asarray(arguments["box"])
    fixed = {key: arguments[key] for key in FIXED if key in arguments}
    return writer.open_trajectory(name, dim=3, box=None if box.ndim == 3 else box, **fixed)


def append(writer: TrajectoryWriter, arguments: dict[str, Any], start: int, stop: int) -> None:
    if start == stop:
        return
    moving = {key: value for key, value in arguments.items() if key not in (*FIXED, "box") and value is not None}
    if np.asarray(arguments["box"]).ndim == 3:
        moving["box"] = arguments["box"]
    steps = {"step": 10 * np.arange(start, stop)}
    writer.append(**{key: np.asarray(value)[start:stop] for key, value in moving.items()}, **steps)


def written_at_once(path: Path, arguments: dict[str, Any]) -> Dataset:
    return write_dataset(path, {**arguments, "step": 10 * np.arange(7)})


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_trajectory_taken_up_any_number_of_times_is_what_one_writer_writes(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    arguments = trajectory(1, **KINDS[kind])
    cuts = sorted(data.draw(st.lists(st.integers(0, 7), max_size=4)))
    folder = tmp_path_factory.mktemp("parts")
    expected = written_at_once(folder / "d", arguments)
    root = folder / "root"
    with pytest.MonkeyPatch.context() as patch:
        # two frames of positions to a chunk
        patch.setattr(zarr_array, "TARGET_CHUNK_BYTES", 240)
        writer = part(root, folder / "d")
        current = opened(writer, "run-0", arguments)
        for start, stop in zip([0, *cuts], [*cuts, 7], strict=True):
            append(current, arguments, start, stop)
            # as it goes through a file
            attrs, arrays = current.checkpoint()
            attrs = json.loads(json.dumps(attrs))
            append(current, arguments, stop, 7)
            writer = part(root, folder / "d")
            current = opened(writer, "run-0", arguments)
            current.resume(attrs, arrays)
        current.close()
        parts = json.loads(json.dumps(writer.written()))
    part(root, folder / "d").assemble([parts])
    dataset = Dataset.open(root)
    dataset.verify()
    assert dataset.digest == expected.digest
    assert dataset.trajectories[0].fields == expected.trajectories[0].fields
    assert dataset.trajectories[0].step.tolist() == list(range(0, 70, 10))


def test_parts_make_the_dataset_that_one_writer_makes_in_the_order_in_which_they_are_given(tmp_path: Path) -> None:
    all_arguments = [trajectory(seed, n=n) for seed, n in ((1, 5), (2, 3), (3, 5))]
    expected = write_dataset(tmp_path / "d", *({**a, "step": 10 * np.arange(7)} for a in all_arguments))
    root = tmp_path / "root"
    parts = {}
    for number in (2, 0, 1):
        writer = part(root, tmp_path / "d")
        with opened(writer, f"run-{number}", all_arguments[number]) as current:
            append(current, all_arguments[number], 0, 7)
        parts[number] = writer.written()
    last = part(root, tmp_path / "d")
    last.attrs["origin"] = "parts"
    last.assemble(parts[k] for k in range(3))
    dataset = Dataset.open(root)
    dataset.verify()
    assert dataset.digest == expected.digest
    assert dataset.attrs == {"origin": "parts"}
    assert [t.name for t in dataset.trajectories] == ["run-0", "run-1", "run-2"]


def one_part(root: Path, name: str = "run-0", d: int = 3) -> dict[str, Any]:
    writer = part(root, root)
    with writer.open_trajectory(name, dim=d, species=[0], masses=1.0) as current:
        current.append(q=np.zeros((1, 1, d)))
    return writer.written()


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    found = one_part(tmp_path)
    with pytest.raises(DataError, match="run-0: two parts hold this trajectory: name each once"):
        part(tmp_path, tmp_path).assemble([found, found])
    with pytest.raises(DataError, match="run-1: has 2 dimensions, needed are 3: write two datasets"):
        part(tmp_path, tmp_path).assemble([found, one_part(tmp_path, "run-1", 2)])
    with pytest.raises(DataError, match="the dataset has no trajectory"):
        part(tmp_path, tmp_path).assemble([])


def test_a_checkpoint_before_the_first_frame_begins_at_nothing(tmp_path: Path) -> None:
    arguments = trajectory(1)
    attrs, arrays = opened(part(tmp_path / "root", tmp_path), "run-0", arguments).checkpoint()
    assert (attrs["n_frames"], arrays) == (0, {})
    writer = part(tmp_path / "root", tmp_path)
    current = opened(writer, "run-0", arguments)
    current.resume(attrs, arrays)
    append(current, arguments, 0, 7)
    current.close()
    assert writer.written()["trajectories"][0]["n_frames"] == 7


def test_frames_go_on_where_they_were_taken_up(tmp_path: Path) -> None:
    arguments = trajectory(1)
    first = opened(part(tmp_path / "root", tmp_path), "run-0", arguments)
    append(first, arguments, 0, 4)
    attrs, arrays = first.checkpoint()
    again = opened(part(tmp_path / "root", tmp_path), "run-0", arguments)
    again.resume(attrs, arrays)
    assert again.n_frames == 4
    with pytest.raises(DataError, match=r"step does not increase \(30 is followed by 10\)"):
        append(again, arguments, 1, 2)
    with pytest.raises(DataError, match="force is given for some frames only"):
        again.append(q=arguments["q"][4:5], velocity=arguments["velocity"][4:5], potential_energy=[0.0], time=[9.0])


def test_a_failed_write_of_a_part_says_what_is_left(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("no folder")
    whole = DatasetWriter.create(tmp_path / "d", units=LJ, labels=("A",))
    writer = whole.below(tmp_path / "root", "half of it is kept")
    with pytest.raises(StoreError, match=r"d: cannot be written \(.*\): choose another place; half of it is kept"):
        writer.open_trajectory("run-0", dim=3, species=[0], masses=1.0)
