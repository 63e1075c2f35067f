from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hamfit.data import Dataset, DatasetWriter
from hamfit.observables.unwrapping import is_wrapped, lattice_shift, unwrapped
from hamfit.types import FloatArray

BOX = np.array([[4.0, 0.0, 0.0], [1.3, 5.0, 0.0], [-0.7, 0.9, 6.0]])
#: The same with its second direction at right angles to the others, which may then be open.
SLAB = np.array([[4.0, 0.0, 0.9], [0.0, 5.0, 0.0], [-0.7, 0.0, 6.0]])


def walk(n_frames: int = 60, drift: float = 0.3, box: FloatArray = BOX) -> FloatArray:
    """Particles that cross the cell several times, in steps well below half of it, (T, 7, 3)."""
    rng = np.random.default_rng(1)
    return rng.uniform(size=(7, 3)) @ box + np.cumsum(drift + 0.2 * rng.normal(size=(n_frames, 7, 3)), axis=0)


def folded(q: FloatArray, periodic: tuple[bool, ...], box: FloatArray = BOX) -> FloatArray:
    fractions = q @ np.linalg.inv(box)
    return np.asarray((fractions - np.floor(fractions) * np.array(periodic)) @ box)


def stored(path: Path, q: FloatArray, periodic: tuple[bool, ...] = (True,) * 3, box: FloatArray = BOX) -> Dataset:
    with DatasetWriter.create(path, units="lj", labels=("A",)) as writer:
        writer.add_trajectory("a", q=q, species=np.zeros(7, int), masses=1.0, box=box, periodic=periodic)
    return Dataset.open(path)


@pytest.mark.parametrize(("periodic", "box"), [((True, True, True), BOX), ((True, False, True), SLAB)])
def test_folded_positions_are_followed_through_the_walls(
    tmp_path: Path, periodic: tuple[bool, ...], box: FloatArray
) -> None:
    q = walk(box=box)
    trajectory = stored(tmp_path / "a", folded(q, periodic, box), periodic, box).trajectories[0]
    assert is_wrapped(trajectory)
    got = np.array([positions for _, positions in unwrapped(trajectory.frames(), True)])
    assert np.allclose(got - got[0], q - q[0], rtol=0, atol=1e-12)


def test_unwrapped_positions_are_taken_as_they_are_even_in_large_steps(tmp_path: Path) -> None:
    q = walk(8, drift=3.7)
    trajectory = stored(tmp_path / "a", q).trajectories[0]
    assert not is_wrapped(trajectory)
    got = [positions for _, positions in unwrapped(trajectory.frames(), is_wrapped(trajectory))]
    assert np.array_equal(got, q)


def test_particles_that_stay_in_one_cell_are_not_wrapped(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    q = (0.3 + 0.4 * rng.uniform(size=(5, 7, 3))) @ BOX
    assert not is_wrapped(stored(tmp_path / "a", q).trajectories[0])
    assert not is_wrapped(stored(tmp_path / "b", folded(walk(), (True,) * 3), (False,) * 3).trajectories[0])


def test_the_shift_between_two_conventions_is_made_of_lattice_vectors(tmp_path: Path) -> None:
    turns = np.random.default_rng(3).integers(-2, 3, size=(7, 3))
    turns[:, 1] = 0
    frame = stored(tmp_path / "a", walk(box=SLAB), (True, False, True), SLAB).trajectories[0].frame(0)
    assert np.allclose(lattice_shift(frame.q + turns @ SLAB + 1e-3, frame), turns @ SLAB, rtol=0, atol=1e-12)
