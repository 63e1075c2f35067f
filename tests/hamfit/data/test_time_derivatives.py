from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.data import Dataset, ingest
from hamfit.data.derivatives import REACH, derivatives_of_series, differentiate, stencil_weights, unwrapped
from hamfit.errors import DataError


def orbit(time: np.ndarray) -> dict[str, np.ndarray]:
    """Two particles on a known path: q, and its first and second derivative, (T, 2, 1)."""
    w = np.array([1.3, 0.7])
    phase = time[:, None] * w
    return {
        "q": np.sin(phase)[..., None],
        "velocity": (w * np.cos(phase))[..., None],
        "acceleration": (-(w**2) * np.sin(phase))[..., None],
    }


@pytest.mark.parametrize("order", [1, 2])
def test_even_steps_give_the_classical_weights(order: int) -> None:
    h = 0.3
    weights = stencil_weights(h * np.arange(9), 3, order)
    classical = {
        1: np.array([-1, 9, -45, 0, 45, -9, 1]) / (60 * h),
        2: np.array([2, -27, 270, -490, 270, -27, 2]) / (180 * h**2),
    }[order]
    assert np.allclose(weights, classical, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 1000), degree=st.integers(0, 6), order=st.sampled_from([1, 2]))
def test_the_rule_is_exact_for_polynomials_of_degree_six_at_uneven_times(seed: int, degree: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    time = np.cumsum(rng.uniform(0.5, 1.0, size=10))
    polynomial = np.polynomial.Polynomial(rng.normal(size=degree + 1), domain=[0, 10], window=[-1, 1])
    found = differentiate(polynomial(time), time, order=order)
    assert np.allclose(found, polynomial.deriv(order)(time[REACH:-REACH]), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("derivative", "given"), [("velocity", "q"), ("acceleration", "q"), ("acceleration", "velocity")]
)
@pytest.mark.parametrize("uneven", [False, True])
def test_halving_the_step_divides_the_error_by_sixty_four(derivative: str, given: str, uneven: bool) -> None:
    if uneven and (derivative, given) == ("acceleration", "q"):
        expected_order = 5.0  # the central second derivative loses its extra order
    else:
        expected_order = 6.0
    errors = []
    for n in (41, 81, 161):
        time = np.linspace(0.0, 8.0, n)
        if uneven:
            time = time + 0.1 * np.sin(time)  # a smooth map keeps its shape under refinement
        path = orbit(time)
        order = 2 if (derivative, given) == ("acceleration", "q") else 1
        found = differentiate(path[given], time, order=order)
        errors.append(np.abs(found - path[derivative][REACH:-REACH]).max())
    observed = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert (observed > expected_order - 0.3).all()


@pytest.mark.parametrize("known", [(), ("velocity",), ("momentum",)])
def test_forces_follow_from_whatever_is_known(known: tuple[str, ...]) -> None:
    time = np.linspace(0, 4, 201)
    path, masses = orbit(time), np.array([2.0, 5.0])
    p = path["velocity"] * masses[:, None]
    available = {"velocity": path["velocity"], "momentum": p}
    found = derivatives_of_series("s", path["q"], time, masses, **{name: available[name] for name in known})
    inner = slice(REACH, -REACH)
    assert np.allclose(found.velocity, path["velocity"][inner], atol=1e-9)
    assert np.allclose(found.momentum_rate, (path["acceleration"] * masses[:, None])[inner], atol=1e-8)
    assert found.error < 1e-5
    rough = derivatives_of_series("s", path["q"][::40], time[::40], masses) if len(time[::40]) >= 7 else found
    assert rough.error < 1.0


def test_the_reported_error_bounds_the_true_one() -> None:
    time = np.linspace(0, 20, 41)
    path = orbit(time)
    found = derivatives_of_series("s", path["q"], time, np.ones(2))
    true = path["acceleration"][REACH:-REACH]
    assert np.linalg.norm(found.momentum_rate - true) / np.linalg.norm(true) < found.error < 0.1


def test_unwrapping_undoes_wrapping_in_a_tilted_box() -> None:
    rng = np.random.default_rng(0)
    box = np.array([[5.0, 0, 0], [1, 6, 0], [-1, 2, 7]])
    path = rng.uniform(0, 5, size=(1, 8, 3)) + np.cumsum(rng.normal(scale=0.3, size=(40, 8, 3)), axis=0)
    fractions = path @ np.linalg.inv(box)
    fractions[..., :2] %= 1.0  # the third direction is open
    wrapped = fractions @ box
    found = unwrapped(wrapped, np.tile(box, (40, 1, 1)), (True, True, False))
    assert np.allclose(found - found[0], path - path[0], atol=1e-12)


def write_npz(tmp_path: Path, **changes: Any) -> Path:
    time = np.linspace(0, 4, 101)
    path = orbit(time)
    masses = np.array([2.0, 5.0])
    arrays = {"q": path["q"], "p": path["velocity"] * masses[:, None], "time": time, "masses": masses} | changes
    np.savez(tmp_path / "s.npz", **{name: value for name, value in arrays.items() if value is not None})
    return tmp_path / "s.npz"


def ingest_npz(tmp_path: Path, changes: dict[str, Any], **options: Any) -> Dataset:
    return ingest(
        write_npz(tmp_path, **changes), tmp_path / "d.zarr", **({"units": "lj", "derivatives": True} | options)
    )


def test_a_series_of_q_and_p_becomes_a_dataset_with_all_derivatives(tmp_path: Path) -> None:
    dataset = ingest_npz(
        tmp_path, {"species": np.array(["A", "B"]), "bonds": np.array([[0, 1]]), "bond_types": np.array(["rod"])}
    )
    (trajectory,) = dataset.trajectories
    path = orbit(np.linspace(0, 4, 101))
    assert (dataset.labels, dataset.bond_labels, dataset.dim) == (("A", "B"), ("rod",), 1)
    assert trajectory.n_frames == 101 - 2 * REACH
    assert trajectory.time[0] == pytest.approx(0.12)
    for t in (0, 50, 94):
        frame = trajectory.frame(t)
        assert np.allclose(frame.q, path["q"][t + REACH], atol=0)
        assert np.allclose(frame.qdot, path["velocity"][t + REACH], atol=1e-9)
        assert np.array_equal(frame.p, (path["velocity"] * np.array([2.0, 5.0])[:, None])[t + REACH])
        assert np.allclose(frame.pdot, (path["acceleration"] * np.array([2.0, 5.0])[:, None])[t + REACH], atol=1e-8)
        assert frame.bonds is not None
    report = trajectory.attrs["derivatives"]
    assert report["filled"] == ["velocity", "force"]
    assert report["error"] < 1e-4


def test_positions_alone_suffice(tmp_path: Path) -> None:
    frame = ingest_npz(tmp_path, {"p": None}, dt=0.04).trajectories[0].frame(10)
    path = orbit(np.linspace(0, 4, 101))
    assert np.allclose(frame.pdot, (path["acceleration"] * np.array([2.0, 5.0])[:, None])[13], atol=1e-7)
    assert np.allclose(frame.p, (path["velocity"] * np.array([2.0, 5.0])[:, None])[13], atol=1e-8)


def test_known_forces_are_kept_when_only_velocities_are_missing(tmp_path: Path) -> None:
    force = np.random.default_rng(0).normal(size=(101, 2, 1))
    trajectory = ingest_npz(tmp_path, {"p": None, "force": force}).trajectories[0]
    assert np.array_equal(trajectory.frame(0).pdot, force[3])
    assert trajectory.attrs["derivatives"]["filled"] == ["velocity"]


def test_nothing_is_dropped_when_nothing_is_missing(tmp_path: Path) -> None:
    path = orbit(np.linspace(0, 4, 101))
    trajectory = ingest_npz(tmp_path, {"p": None, "velocity": path["velocity"], "force": path["q"]}).trajectories[0]
    assert trajectory.n_frames == 101
    assert "derivatives" not in trajectory.attrs


def test_wrapped_positions_are_unwrapped_before_they_are_differentiated(tmp_path: Path) -> None:
    head = 'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3'
    times = 0.05 * np.arange(60)
    lines = [f"1\n{head}\nA {(0.7 * t**2) % 3.0!r} 0.5 {(2 * t) % 3.0!r}\n" for t in times.tolist()]
    (tmp_path / "a.xyz").write_text("".join(lines))
    (trajectory,) = ingest(
        tmp_path / "a.xyz", tmp_path / "d.zarr", units="lj", masses="A=2", derivatives=True, dt=0.05
    ).trajectories
    for frame, t in zip(trajectory.frames(), times[3:-3], strict=True):
        assert np.allclose(frame.pdot, [[2.8, 0, 0]], atol=1e-9)
        assert np.allclose(frame.qdot, [[1.4 * t, 0, 2]], atol=1e-9)


def test_frames_that_lie_far_apart_are_warned_of(tmp_path: Path) -> None:
    time = np.linspace(0, 80, 40)
    with pytest.warns(UserWarning, match="the frames are far apart"):
        ingest_npz(tmp_path, {"q": orbit(time)["q"], "p": None, "time": time})


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no forces": ({}, {"derivatives": False}, "has no forces"),
    "no time": ({"time": None}, {}, "times of the frames are unknown, derivatives need them: give --dt"),
    "too short": (
        dict.fromkeys(("p", "time")) | {"q": np.zeros((6, 2, 1))},
        {"dt": 1.0},
        "has 6 frames: derivatives need at least 7",
    ),
    "gap": (
        {"time": np.where(np.arange(101) < 50, 0.0, 9.0) + np.arange(101)},
        {},
        "a gap that derivatives cannot cross",
    ),
    "time back": ({"time": -np.arange(101.0)}, {}, "time does not increase"),
    "unknown array": ({"pos": np.zeros(3)}, {}, "array 'pos' is unknown: the names are q, time"),
    "no q": ({"q": None}, {}, "needs positions q"),
    "short p": ({"p": np.zeros((5, 2, 1))}, {}, r"p has shape \(5, 2, 1\), needed is \(101, 2, 1\)"),
    "nan q": ({"q": np.full((101, 2, 1), np.nan)}, {}, "is nan"),
    "no mass": ({"masses": None}, {}, "mass of species '1' is unknown"),
    "negative mass": ({"masses": np.array([1.0, -1.0])}, {}, "mass of particle 1 is -1.0"),
    "species of three": ({"species": np.array([1, 2, 3])}, {}, "species has shape"),
    "words": ({"q": np.full((101, 2, 1), "x")}, {}, "q is not numeric"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_series_is_refused_in_one_sentence_and_nothing_is_left(tmp_path: Path, case: str) -> None:
    changes, options, message = FAULTS[case]
    with pytest.raises(DataError, match=message) as caught:
        ingest_npz(tmp_path, changes, **options)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.npz"]


def test_a_damaged_npz_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"s\.npz: is not a readable \.npz"):
        ingest(path, tmp_path / "d.zarr", units="lj")
