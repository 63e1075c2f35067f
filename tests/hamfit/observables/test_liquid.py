from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hamfit.data import Dataset, DatasetWriter, ingest
from hamfit.errors import DataError
from hamfit.fitting import FitResult
from hamfit.frames import Frame
from hamfit.observables.liquid import measure_liquid
from hamfit.observables.pressure import pressure, temperature
from hamfit.observables.rdf import pair_distribution
from rolled import roll, write_rollouts
from worlds import liquids

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def rolled(binary_fit: FitResult, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two trajectories of 33 and 31 frames: four blocks of 15, and a rest."""
    path = tmp_path_factory.mktemp("rolled") / "data"
    starts = liquids(5, 2, n_species=2)
    return write_rollouts(
        path,
        [
            roll(binary_fit.model, starts[0], "a", dt=0.004, steps=96, every=3),
            roll(binary_fit.model, starts[1], "b", dt=0.004, steps=90, every=3),
        ],
    )


def blocks_of(data: Dataset, length: int) -> list[Sequence[Frame]]:
    return [
        t.frames(start, start + length)
        for t in data.trajectories
        for start in range(0, t.n_frames - length + 1, length)
    ]


def test_every_block_holds_the_averages_of_its_frames(binary_fit: FitResult, rolled: Dataset) -> None:
    model = binary_fit.model
    found = measure_liquid(rolled.trajectories, model=model, r_max=1.7, n_bins=9)
    blocks = blocks_of(rolled, found.block_frames)
    assert found.block_frames > 4
    assert found.n_frames == found.block_frames * len(blocks)
    assert set(found.curves) == {
        *(("rdf", label) for label in ("A-A", "A-B", "B-B")),
        *((kind, label) for kind in ("msd", "vacf") for label in "AB"),
        ("temperature", "all"),
        ("pressure", "all"),
    }
    for k, frames in enumerate(blocks):
        g = np.mean([pair_distribution(frame, 1.7, 9) for frame in frames], axis=0)
        for channel, label in enumerate(("A-A", "A-B", "B-B")):
            assert found.curves["rdf", label].blocks[k] == pytest.approx(g[channel], rel=1e-12)
        assert found.curves["temperature", "all"].blocks[k, 0] == pytest.approx(
            np.mean([temperature(frame) for frame in frames]), rel=1e-12
        )
        assert found.curves["pressure", "all"].blocks[k, 0] == pytest.approx(
            np.mean([pressure(model, frame) for frame in frames]), rel=1e-12
        )
        for kind, label in enumerate("AB"):
            some = frames[0].species == kind
            for lag in (0, 1, 4):
                pairs = [(frames[t], frames[t + lag]) for t in range(len(frames) - lag)]
                msd = np.mean([np.sum((b.q[some] - a.q[some]) ** 2, axis=1).mean() for a, b in pairs])
                vacf = np.mean(
                    [np.sum(np.asarray(b.qdot)[some] * np.asarray(a.qdot)[some], 1).mean() for a, b in pairs]
                )
                assert found.curves["msd", label].blocks[k, lag] == pytest.approx(msd, rel=1e-12)
                assert found.curves["vacf", label].blocks[k, lag] == pytest.approx(vacf, rel=1e-12)
    assert found.curves["msd", "A"].x == pytest.approx(0.012 * np.arange(found.block_frames))
    assert found.curves["rdf", "A-B"].x == pytest.approx((np.arange(9) + 0.5) * 1.7 / 9)


def test_the_order_of_species_can_be_chosen(rolled: Dataset) -> None:
    one = measure_liquid(rolled.trajectories, r_max=1.7, n_bins=9)
    two = measure_liquid(rolled.trajectories, labels=("B", "A"), r_max=1.7, n_bins=9)
    assert ("pressure", "all") not in one.curves
    assert np.allclose(one.curves["rdf", "A-B"].blocks, two.curves["rdf", "B-A"].blocks, rtol=1e-12)
    assert np.array_equal(one.curves["msd", "B"].blocks, two.curves["msd", "B"].blocks)


def test_folding_the_positions_changes_nothing(rolled: Dataset, tmp_path: Path) -> None:
    with DatasetWriter.create(tmp_path / "folded", units="lj", labels=rolled.labels) as writer:
        for t in rolled.trajectories:
            frames = t.frames()
            edge = np.diag(np.asarray(frames[0].box))
            writer.add_trajectory(
                t.name,
                q=np.array([frame.q % edge for frame in frames]),
                species=t.species,
                masses=t.masses,
                box=np.diag(edge),
                periodic=True,
                velocity=np.array([frame.qdot for frame in frames]),
                time=t.time,
            )
    one = measure_liquid(rolled.trajectories)
    two = measure_liquid(Dataset.open(tmp_path / "folded").trajectories)
    assert one.curves.keys() == two.curves.keys()
    for key, curve in one.curves.items():
        assert np.allclose(curve.blocks, two.curves[key].blocks, rtol=1e-9, atol=1e-12)


def test_a_last_frame_that_comes_too_soon_is_left_out(binary_fit: FitResult, rolled: Dataset, tmp_path: Path) -> None:
    """As rollouts of 100 steps with a frame every 3 have it: 0, 3, .. 96, 99, 100."""
    odd = []
    for k, start in enumerate(liquids(5, 2, n_species=2)):
        steps = (96, 90)[k]
        one = roll(binary_fit.model, start, "ab"[k], dt=0.004, steps=steps, every=3)
        more = roll(binary_fit.model, start, "ab"[k], dt=0.004, steps=steps + 1, every=steps + 1)
        joined = {name: np.concatenate([getattr(one, name), getattr(more, name)[-1:]]) for name in ("q", "v", "energy")}
        odd.append(replace(one, **joined, time=np.append(one.time, one.time[-1] + 0.004)))
    data = write_rollouts(tmp_path / "odd", odd)
    assert [t.n_frames for t in data.trajectories] == [34, 32]
    found = measure_liquid(data.trajectories, model=binary_fit.model)
    expected = measure_liquid(rolled.trajectories, model=binary_fit.model)
    assert not found.missing
    assert found.curves.keys() == expected.curves.keys()
    for key, curve in expected.curves.items():
        assert np.array_equal(found.curves[key].x, curve.x)
        assert np.array_equal(found.curves[key].blocks, curve.blocks)


def test_what_the_data_cannot_tell_is_said(rolled: Dataset, tmp_path: Path) -> None:
    trajectory = rolled.trajectories[0]
    frames = trajectory.frames(0, 12)
    common = {
        "q": np.array([f.q for f in frames]),
        "species": trajectory.species,
        "masses": trajectory.masses,
        "box": frames[0].box,
        "periodic": True,
    }
    late = np.append(np.arange(11.0), 11.5)
    times = {"still": None, "uneven": np.arange(12.0) ** 2, "late": late}
    told = {}
    for name, time in times.items():
        with DatasetWriter.create(tmp_path / name, units="lj", labels=rolled.labels) as writer:
            writer.add_trajectory("a", **common, time=time)
        told[name] = measure_liquid(Dataset.open(tmp_path / name).trajectories)
        assert {kind for kind, _ in told[name].curves} == {"rdf"}
    assert told["still"].missing["msd"] == "the times of the frames are unknown"
    assert told["late"].missing["msd"] == "the frames are not equally spaced in time"
    assert told["uneven"].missing["vacf"] == "the frames are not equally spaced in time"


def test_a_real_liquid_is_seen_as_one(tmp_path: Path) -> None:
    files = [DATA / "lj-500.lammpstrj.gz"]
    data = ingest(files, tmp_path / "lj", units="lj", dt=0.004)
    found = measure_liquid(data.trajectories)
    g = found.curves["rdf", "1-1"]
    peak = int(g.mean.argmax())
    # the first shell of the Lennard-Jones liquid near its triple point
    assert 1.05 < g.x[peak] < 1.15
    assert 2.7 < g.mean[peak] < 3.2
    assert (g.mean[g.x < 0.85] == 0.0).all()
    assert (g.standard_error[peak - 3 : peak + 3] < 0.1).all()
    msd, vacf = found.curves["msd", "1"], found.curves["vacf", "1"]
    assert (np.diff(msd.mean) > 0.0).all()
    kinetic = found.curves["temperature", "all"].mean[0]
    assert vacf.mean[0] == pytest.approx(3 * kinetic * 499 / 500, rel=1e-3)


def test_open_systems_and_single_frames_are_refused(rolled: Dataset, tmp_path: Path) -> None:
    frame = rolled.trajectories[0].frame(0)
    for name, frames, periodic, message in (
        ("open", [frame] * 2, (True, True, False), "a is open in some direction: liquids need boxes"),
        ("single", [frame], (True,) * 3, "too few frames to tell an error"),
    ):
        some = [replace(f, periodic=periodic) for f in frames]
        with DatasetWriter.create(tmp_path / name, units="lj", labels=rolled.labels) as writer:
            writer.add_trajectory(
                "a",
                q=np.array([f.q for f in some]),
                species=frame.species,
                masses=frame.masses,
                box=frame.box,
                periodic=periodic,
            )
        with pytest.raises(DataError, match=message):
            measure_liquid(Dataset.open(tmp_path / name).trajectories)
