"""What a rollout gives: against a plain leapfrog, and against sums over what it stored."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scenes
from scenes import Scene

import hamfit
from hamfit.data import Trajectory
from hamfit.frames import Frame
from hamfit.inference import Observation
from hamfit.model import Model
from hamfit.options import FitOptions
from hamfit.progress import Event
from hamfit.rollouts import rollout
from hamfit.rollouts.tally import Tally
from hamfit.types import FloatArray
from worlds import liquids, relative, write

# Pairs out of range are no subject but of the tests that say so.
pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.RolloutWarning")


def momenta(frame: Frame) -> FloatArray:
    assert frame.p is not None
    return frame.p


def leapfrog(model: Model, start: Frame, dt: float, steps: int) -> list[tuple[FloatArray, FloatArray]]:
    """(q, p) after every step, the start included, by the model's own forces and velocities."""
    frame = model.adapt(start)
    q, p = frame.q, momenta(frame)
    out = [(q, p)]
    for _ in range(steps):
        p = p + 0.5 * dt * model.forces(replace(frame, q=q))
        q = q + dt * model.velocities(replace(frame, q=q, p=p))
        p = p + 0.5 * dt * model.forces(replace(frame, q=q))
        out.append((q, p))
    return out


def energies(model: Model, trajectory: Trajectory) -> FloatArray:
    return np.array([model.energy(frame) for frame in trajectory.frames()])


def test_a_rollout_is_what_a_plain_leapfrog_gives(scene: Scene, tmp_path: Path) -> None:
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", steps=23, dt=scene.dt, every=5, threads=1)
    result.dataset.verify()
    assert [t.name for t in result.dataset.trajectories] == [f"{t.name}-frame-0" for t in scene.initial.trajectories]
    for ours, source in zip(result.dataset.trajectories, scene.initial.trajectories, strict=True):
        assert ours.step.tolist() == [0, 5, 10, 15, 20, 23]
        np.testing.assert_allclose(ours.time, scene.dt * ours.step, rtol=1e-14)
        assert (ours.n_particles, ours.periodic) == (source.n_particles, source.periodic)
        path = leapfrog(scene.model, source.frame(0), scene.dt, 23)
        for step, frame in zip(ours.step, ours.frames(), strict=True):
            q, p = path[step]
            assert relative(frame.q, q) < 1e-9
            assert np.abs(momenta(frame) - p).max() <= 1e-8 * max(np.abs(p).max(), 1e-3)
            assert np.abs(np.asarray(frame.qdot) - scene.model.velocities(frame)).max() < 1e-8
            assert frame.potential_energy == pytest.approx(scene.model.potential_energy(frame), rel=1e-9, abs=1e-11)
        assert ours.frame(0).q.tobytes() == source.frame(0).q.tobytes()


def test_the_report_says_what_the_stored_frames_say(scene: Scene, tmp_path: Path) -> None:
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", steps=40, dt=scene.dt, every=7, threads=2)
    drift, push, outside, pairs = 0.0, 0.0, 0, 0
    for trajectory in result.dataset.trajectories:
        frames = trajectory.frames()
        energy = energies(scene.model, trajectory)
        constant = np.nan_to_num(scene.model.constants)[scene.model.adapt(frames[0]).species].sum()
        scale = max(abs(energy[0] - constant), scene.model.kinetic_energy(frames[0]))
        drift = max(drift, np.abs(energy - energy[0]).max() / scale)
        total = np.array([momenta(frame).sum(axis=0) for frame in frames])
        size = max(np.linalg.norm(momenta(frame), axis=1).sum() for frame in frames)
        push = max(push, np.linalg.norm(total - total[0], axis=1).max() / size)
        found = [scene.model.extrapolated(frame) for frame in frames]
        outside += sum(f[0] for f in found)
        pairs += sum(f[1] for f in found)
    report = result.report
    assert report["energy_drift"] == pytest.approx(drift, rel=1e-4, abs=1e-12)
    # both are rounding
    assert report["momentum_drift"] < 1e-12
    assert push < 1e-12
    assert report["extrapolated_share"] == (pytest.approx(outside / pairs, rel=1e-12) if pairs else None)
    assert any("outside the distances seen in training" in note for note in report["warnings"]) == (outside > 0)
    assert json.loads(json.dumps(report)) == report


def test_the_speed_is_that_of_the_clock(tmp_path: Path) -> None:
    scene = scenes.rings()
    report = rollout(scene.model, scene.initial, out=tmp_path / "r", steps=900, dt=-0.004, threads=1).report
    rate = report["steps_per_second"]
    assert rate == pytest.approx(3 * 900 / report["seconds"]["rollout"], rel=0.02)
    assert report["tau_per_hour"] == pytest.approx(rate * 3600.0 * 0.004)
    assert report["seconds"]["total"] >= report["seconds"]["rollout"] > 0.0
    assert report["peak_bytes"] > 2**20
    assert "ns_per_hour" not in report


def test_speeds_of_metals_are_in_nanoseconds(tmp_path: Path) -> None:
    frames = liquids(2, 3, jitter=0.06)
    data = write(tmp_path / "metal", [frames], units="ase")
    model = replace(
        hamfit.fit(write(tmp_path / "s", [liquids(1, 12)], units="ase"), options=scenes.QUICK, cutoff=1.75).model
    )
    report = rollout(model, data, out=tmp_path / "r", steps=20, dt=0.002, threads=1).report
    # the unit of time is A sqrt(amu / eV) = 10.18 fs
    assert report["ns_per_hour"] == pytest.approx(report["steps_per_second"] * 3600 * 0.002 * 10.1805e-6, rel=1e-4)


def test_chosen_frames_and_replicas_are_rolled_out(tmp_path: Path) -> None:
    scene = scenes.liquid()
    how = {"frames": "0,10,-1", "replicas": 2, "temperature": 0.4, "seed": 3, "steps": 6, "dt": scene.dt, "threads": 2}
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", **how)
    names = [t.name for t in result.dataset.trajectories]
    assert names[:4] == ["run-0-frame-0-replica-0", "run-0-frame-0-replica-1", "run-0-frame-10-replica-0",
                         "run-0-frame-10-replica-1"]  # fmt: skip
    assert len(names) == len(set(names)) == 12
    for trajectory in result.dataset.trajectories:
        origin = trajectory.attrs["rollout"]
        assert origin["source"] == scene.initial.digest
        start = scene.initial.trajectory(origin["trajectory"]).frame(origin["frame"])
        first = trajectory.frame(0)
        assert first.q.tobytes() == start.q.tobytes()
        # 3 (N - 1) degrees of freedom: the centre of mass is at rest
        n = first.n_particles
        kinetic = 0.5 * float(np.sum(momenta(first) ** 2 / first.masses[:, None]))
        assert kinetic == pytest.approx(0.5 * 3 * (n - 1) * 0.4, rel=1e-6)
    again = rollout(scene.model, scene.initial, out=tmp_path / "s", **how)
    other = rollout(scene.model, scene.initial, out=tmp_path / "t", **{**how, "seed": 4})
    assert again.dataset.digest == result.dataset.digest != other.dataset.digest


def test_positions_are_not_wrapped_into_the_box(tmp_path: Path) -> None:
    scene = scenes.liquid()
    frame = scene.initial.trajectories[0].frame(0)
    drift = 50.0 * np.ones((1, 3))
    p = momenta(frame) + frame.masses[:, None] * drift
    moving = replace(frame, p=p, qdot=p / frame.masses[:, None])
    data = write(tmp_path / "d", [[moving]])
    result = rollout(scene.model, data, out=tmp_path / "r", steps=200, every=10, dt=scene.dt, threads=1)
    q = np.array([f.q for f in result.dataset.trajectories[0].frames()])
    assert frame.box is not None
    # twenty units of length on, in a box of 3.6
    assert (q[-1] - q[0]).min() > 4.0 * frame.box[0, 0]
    assert np.abs(np.diff(q, axis=0) - 10 * scene.dt * drift).max() < 0.2


def test_a_rollout_backwards_comes_back_to_its_start(tmp_path: Path) -> None:
    scene = scenes.liquid()
    out = rollout(scene.model, scene.initial, out=tmp_path / "out", steps=100, dt=scene.dt, every=50, threads=1)
    back = rollout(scene.model, out.dataset, out=tmp_path / "back", steps=100, dt=-scene.dt, frames="-1", threads=1)
    for there, home in zip(out.dataset.trajectories, back.dataset.trajectories, strict=True):
        assert home.name == f"{there.name}-frame-2"
        assert relative(home.frame(-1).q, there.frame(0).q) < 1e-11
        assert relative(momenta(home.frame(-1)), momenta(there.frame(0))) < 1e-10
        assert (np.diff(home.time) > 0).all()


@pytest.mark.parametrize(
    ("method", "bound"), [("yoshida4", 3e-7), ("kahanli6", 1e-9), ("kahanli8", 1e-11), ("midpoint", 1e-3)]
)
def test_every_integrator_conserves_as_its_order_says(method: str, bound: float, tmp_path: Path) -> None:
    scene = scenes.bodies()
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", steps=60, dt=0.01, integrator=method, threads=1)
    assert 0.0 < result.report["energy_drift"] < bound
    assert result.report["integrator"] == method


def test_a_rollout_can_be_learned_from_and_predicted(tmp_path: Path) -> None:
    scene = scenes.rings()
    how = {"steps": 400, "dt": 0.005, "every": 10, "forces": True, "threads": 1}
    data = rollout(scene.model, scene.initial, out=tmp_path / "r", **how).dataset
    errors = hamfit.evaluate(scene.model, data)
    assert errors["force"] < 1e-10
    assert errors["velocity"] < 1e-12
    student = hamfit.fit(data, options=FitOptions(features=32, threads=1, checkpoint=False)).model
    assert hamfit.evaluate(student, scene.initial)["force"] < 1e-4


def test_momenta_are_stored_where_velocities_do_not_tell_them_from_rest_on(tmp_path: Path) -> None:
    scene = scenes.fast()
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", steps=50, dt=scene.dt, every=5, threads=1)
    trajectory = result.dataset.trajectories[0]
    # the first frame is at rest, where p and m v are both nothing
    assert not momenta(trajectory.frame(0)).any()
    assert "momentum" in trajectory.fields
    last = trajectory.frame(-1)
    v = momenta(last) / np.sqrt(1.0 + momenta(last) ** 2)
    assert relative(np.asarray(last.qdot), v) < 1e-4
    assert (
        "momentum"
        not in rollout(scenes.rings().model, scenes.rings().initial, out=tmp_path / "s", steps=3, dt=0.01, threads=1)
        .dataset.trajectories[0]
        .fields
    )


def test_a_start_at_rest_at_temperature_zero_is_no_special_case(tmp_path: Path) -> None:
    scene = scenes.liquid()
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", steps=20, dt=scene.dt, temperature=0.0, threads=1)
    for trajectory in result.dataset.trajectories:
        assert not momenta(trajectory.frame(0)).any()
        assert momenta(trajectory.frame(-1)).any()


def test_progress_counts_the_steps_of_all_rollouts_and_never_goes_back(tmp_path: Path) -> None:
    scene = scenes.rings()
    events: list[Event] = []
    how = {"steps": 3000, "dt": 0.005, "threads": 2}
    rollout(scene.model, scene.initial, out=tmp_path / "r", progress=events.append, **how)
    assert {event.phase for event in events} == {"rollout"}
    assert {event.unit for event in events} == {"steps"}
    assert {event.total for event in events} == {9000}
    assert (events[0].done, events[-1].done) == (0, 9000)
    assert all(a.done <= b.done and a.seconds <= b.seconds for a, b in pairwise(events))


def test_the_drift_does_not_depend_on_the_constants_of_the_model(tmp_path: Path) -> None:
    scene = scenes.crowd()
    shifted = replace(scene.model, constants=np.nan_to_num(scene.model.constants) - 1e4)
    plain, far = (
        rollout(model, scene.initial, out=tmp_path / name, steps=40, dt=scene.dt).report["energy_drift"]
        for name, model in (("plain", scene.model), ("far", shifted))
    )
    # energies of 1e4 a particle leave 1e-12 of them for what moves
    assert far == pytest.approx(plain, rel=1e-5)


def test_a_run_that_explodes_without_ever_being_infinite_drifts_by_more_than_all_it_had() -> None:
    tally = Tally()
    p = np.ones((2, 3))
    for kinetic in (1.0, 1.2, 5000.0):
        seen = Observation(-2.0, kinetic, np.zeros((2, 3)), None, 0, 1)
        tally.add(seen, p, p.sum(axis=0), constant=0.0, start=kinetic == 1.0)
    assert tally.energy_drift == pytest.approx(4999.0)
