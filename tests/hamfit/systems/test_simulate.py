from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hamfit.data import Dataset
from hamfit.errors import SpecError, StoreError
from hamfit.systems import simulate, system

CASES: list[tuple[str, dict[str, object]]] = [
    ("spring", {"geometry": "square", "shape": "3x4", "periodic": True, "diagonals": True, "mass": 1.7}),
    ("morse", {"geometry": "chain", "shape": "3", "dim": 1}),
    ("kob-andersen", {"shape": "2x2x2", "melt_steps": 20}),
    ("nbody", {}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda value: str(value)[:12])
def test_what_is_read_back_is_what_was_simulated(name: str, options: dict[str, object], tmp_path: Path) -> None:
    options = {**options, "n_frames": 3, "amplitude": 0.05} if name != "nbody" else {"n_frames": 3}
    if name == "kob-andersen":
        del options["amplitude"]
    dataset = simulate(name, tmp_path / "data", **options)
    entry = system(name)
    expected = entry.run(entry.spec(options))
    assert dataset.units.name == "lj"
    assert dataset.labels == expected.particles.labels
    assert dataset.bond_labels == expected.particles.bond_labels
    assert len(dataset.trajectories) == len(expected.runs)
    for stored, run in zip(dataset.trajectories, expected.runs, strict=True):
        assert np.array_equal(stored.time, expected.time)
        assert stored.periodic == expected.particles.periodic
        for t, frame in enumerate(stored.frames(0, stored.n_frames)):
            assert np.array_equal(frame.q, run.q[t])
            assert frame.pdot is not None
            assert np.array_equal(frame.pdot, run.forces[t])
            assert frame.p is not None
            assert np.allclose(frame.p, run.p[t], rtol=1e-15, atol=0)
            assert frame.potential_energy == run.potential_energy[t]
            if expected.particles.bonds is not None:
                assert np.array_equal(frame.bonds, expected.particles.bonds)
                assert np.array_equal(frame.bond_types, expected.particles.bond_types)


def test_the_dataset_says_how_it_was_made(tmp_path: Path) -> None:
    simulate("spring", tmp_path / "data", n_trajectories=2, n_frames=3, seed="7")
    made = Dataset.open(tmp_path / "data").attrs["simulation"]
    assert made["system"] == "spring"
    assert made["options"]["seed"] == 7
    assert made["options"]["geometry"] == "chain"
    assert made["integrator"].startswith("Kahan-Li")
    assert 0 <= made["relative_energy_error"] < 1e-11


def test_the_same_call_gives_the_same_digest(tmp_path: Path) -> None:
    digests = [simulate("spring", tmp_path / name, n_frames=3).digest for name in "ab"]
    assert digests[0] == digests[1]
    assert simulate("spring", tmp_path / "c", n_frames=3, seed=1).digest != digests[0]


def test_a_refused_simulation_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="smaller dt"):
        simulate("spring", tmp_path / "data", dt=3.0)
    with pytest.raises(SpecError, match=r"spring: .* is not an option"):
        simulate("spring", tmp_path / "data", colour="red")
    assert not list(tmp_path.iterdir())


def test_a_taken_place_is_refused_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    first = simulate("spring", tmp_path / "data", n_frames=3)
    with pytest.raises(StoreError):
        simulate("spring", tmp_path / "data", n_frames=4)
    assert Dataset.open(tmp_path / "data").digest == first.digest
    assert simulate("spring", tmp_path / "data", n_frames=4, overwrite=True).digest != first.digest
