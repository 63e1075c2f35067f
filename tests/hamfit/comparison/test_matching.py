from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hamfit.comparison.matching import match
from hamfit.data import Dataset
from hamfit.errors import DataError
from hamfit.frames import Frame
from rolled import Rolled, write_rollouts
from worlds import liquids

LABELS = ("A", "B")


def rolled(start: Frame, name: str, spacing: float, n: int, **attrs: Any) -> Rolled:
    """Free flight from a frame."""
    time = spacing * np.arange(n)
    v = np.asarray(start.qdot)
    q = start.q + time[:, None, None] * v
    return Rolled(name, start, q, np.broadcast_to(v, q.shape), np.zeros(n), time, attrs)


@pytest.fixture
def start() -> Frame:
    return liquids(5, 1, n_species=2)[0]


@pytest.fixture
def reference(start: Frame, tmp_path: Path) -> Dataset:
    return write_rollouts(tmp_path / "reference", [rolled(start, "a", 0.1, 21)])


def told(reference: Dataset, one: Rolled, tmp_path: Path) -> Any:
    data = write_rollouts(tmp_path / "rollout", [one])
    return match(reference, data.trajectories[0], data.labels)


def origin(reference: Dataset, **more: Any) -> dict[str, Any]:
    return {"rollout": {"source": reference.digest, "trajectory": "a", "frame": 0, **more}}


@pytest.mark.parametrize(("spacing", "pairs"), [(0.1, 10), (0.05, 5), (0.2, 10), (0.3, 7)])
def test_frames_are_matched_by_time(
    start: Frame, reference: Dataset, tmp_path: Path, spacing: float, pairs: int
) -> None:
    found = told(reference, rolled(start, "x", spacing, 10, **origin(reference, replica=3)), tmp_path)
    assert found.why is None
    assert found.replica == 3
    assert len(found.frames) == pairs
    times = found.rollout.time[found.frames[:, 0]]
    assert np.allclose(times, found.reference.time[found.frames[:, 1]], rtol=0, atol=1e-12)
    assert np.allclose(times, found.time, rtol=0, atol=1e-12)


def test_a_last_frame_that_comes_soon_does_not_narrow_what_equal_times_are(
    start: Frame, reference: Dataset, tmp_path: Path
) -> None:
    even = rolled(start, "x", 0.1, 10, **origin(reference))
    # nine digits of the times, and a last frame after 1e-3 of the interval
    time = np.append(even.time + 3e-8 * 0.1 * np.sin(np.arange(10.0)), even.time[-1] + 1e-4)
    more = {name: np.append(getattr(even, name), getattr(even, name)[-1:], axis=0) for name in ("q", "v", "energy")}
    found = told(reference, replace(even, time=time, **more), tmp_path)
    assert found.frames.tolist() == [[k, k] for k in range(10)]


def test_a_rollout_may_start_from_any_frame_in_another_image(start: Frame, reference: Dataset, tmp_path: Path) -> None:
    later = reference.trajectories[0].frame(4)
    assert later.box is not None
    moved = replace(later, q=later.q + np.array([1.0, -2.0, 0.0]) @ later.box)
    found = told(reference, rolled(moved, "x", 0.1, 30, **origin(reference, frame=4)), tmp_path)
    assert found.why is None
    assert found.start == 4
    assert found.frames.tolist() == [[k, k + 4] for k in range(17)]


def test_without_a_record_the_name_decides(start: Frame, reference: Dataset, tmp_path: Path) -> None:
    assert told(reference, rolled(start, "a", 0.1, 5), tmp_path).why is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("source", "another dataset"),
        ("name", "does not say where it started"),
        ("velocities", "velocities of its own"),
        ("positions", "other positions"),
        ("masses", "particles are others"),
        ("species", "particles are others"),
        ("number", "has 26 particles where its start has 27"),
        ("times", "no frame after the first has a counterpart"),
    ],
)
def test_what_cannot_be_compared_says_why(
    start: Frame, reference: Dataset, tmp_path: Path, change: str, why: str
) -> None:
    attrs, name, spacing, frame = origin(reference), "x", 0.1, start
    if change == "source":
        attrs["rollout"]["source"] = "0" * 64
    elif change == "name":
        attrs = {}
    elif change == "velocities":
        frame = replace(start, p=None, qdot=-np.asarray(start.qdot))
    elif change == "positions":
        frame = replace(start, q=start.q + 1e-3)
    elif change == "masses":
        frame = replace(start, masses=2.0 * start.masses)
    elif change == "species":
        frame = replace(start, species=1 - start.species)
    elif change == "number":
        frame = replace(
            start,
            q=start.q[1:],
            p=None,
            qdot=np.asarray(start.qdot)[1:],
            pdot=None,
            species=start.species[1:],
            masses=start.masses[1:],
        )
    else:
        spacing = 3.0
    found = told(reference, rolled(frame, name, spacing, 5, **attrs), tmp_path)
    assert found.why is not None
    assert why in found.why
    assert len(found.frames) == 0


def test_starts_that_do_not_exist_are_refused(start: Frame, reference: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"started from trajectory z, which .* lacks"):
        told(reference, rolled(start, "x", 0.1, 5, **origin(reference, trajectory="z")), tmp_path)
    data = write_rollouts(tmp_path / "b", [rolled(start, "x", 0.1, 5, **origin(reference, frame=21))])
    with pytest.raises(DataError, match="frame 21 of a, which has 21 frames"):
        match(reference, data.trajectories[0], data.labels)
