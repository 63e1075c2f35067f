"""Plans: what a rollout will take, and what is refused before anything runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import scenes
from hypothesis import given
from hypothesis import strategies as st
from scenes import Scene

from hamfit.errors import DataError, GraphError, HamfitError, ModelError, SpecError, StoreError
from hamfit.model import Model
from hamfit.rollouts import plan_rollout, rollout
from hamfit.rollouts.options import RolloutOptions
from hamfit.rollouts.plan import RolloutPlan, make_plan
from hamfit.rollouts.starts import initial_states
from worlds import liquids, write

# Pairs out of range are no subject but of the tests that say so.
pytestmark = pytest.mark.filterwarnings("ignore::hamfit.errors.RolloutWarning")


@pytest.mark.parametrize("forces", [False, True])
def test_what_a_plan_says_of_the_disk_is_what_it_takes(scene: Scene, forces: bool, tmp_path: Path) -> None:
    how = {"steps": 31, "every": 4, "dt": scene.dt, "frames": "0,-1", "forces": forces, "threads": 1}
    plan = plan_rollout(scene.model, scene.initial, **how)
    result = rollout(scene.model, scene.initial, out=tmp_path / "r", **how)
    assert plan["disk_bytes"] == result.dataset.n_bytes
    assert (plan["rollouts"], plan["frames"]) == (
        len(result.dataset.trajectories),
        result.dataset.trajectories[0].n_frames,
    )
    assert plan["engine"] == result.report["engine"]
    assert result.dataset.trajectories[0].has_forces == forces
    assert list(tmp_path.iterdir()) == [tmp_path / "r"]


def test_the_plan_counts_frames_of_each_trajectory(tmp_path: Path) -> None:
    frames = liquids(2, 5, n_species=2, jitter=0.06)
    data = write(tmp_path / "d", [frames[:1], frames, liquids(3, 2, n_species=2, side=4, jitter=0.06)])
    how = {"steps": 3, "dt": 0.002, "frames": "all", "threads": 1}
    plan = plan_rollout(scenes.liquid_model(), data, **how)
    assert plan["rollouts"] == 8
    assert plan["disk_bytes"] == rollout(scenes.liquid_model(), data, out=tmp_path / "r", **how).dataset.n_bytes


def refused(error: type[HamfitError], words: str, tmp_path: Path, model: Any, data: Any, **how: Any) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=words) as caught:
        rollout(model, data, out=tmp_path / "out", **{"steps": 10, "dt": 0.002, "threads": 1, **how})
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_data_that_do_not_suit_the_model_are_refused(tmp_path: Path) -> None:
    model = scenes.liquid_model()
    strange = [replace(frame, labels=("A", "Xe")) for frame in liquids(2, 2, n_species=2)]
    refused(ModelError, "species Xe is unknown to the model", tmp_path / ".", model, write(tmp_path / "a", [strange]))
    metal = write(tmp_path / "b", [liquids(2, 2, n_species=2)], units="ase")
    refused(DataError, "b is in ase units, the model in lj: ingest it alike", tmp_path, model, metal)
    flat = write(tmp_path / "c", [liquids(2, 2, dim=2)])
    refused(ModelError, "c is 2-dimensional, the model 3-dimensional", tmp_path, model, flat)
    loose = [replace(f, bonds=None, bond_types=None) for f in scenes.rings().initial.trajectories[0].frames()]
    refused(ModelError, "has no bonds", tmp_path, scenes.ring_model(), write(tmp_path / "d", [loose]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dt": 0.0}, "dt is 0, which is no step"),
        ({"dt": float("nan")}, "'dt' cannot be nan"),
        ({"dt": float("inf")}, "'dt' cannot be inf"),
        ({"steps": 0}, "'steps' cannot be 0"),
        ({"steps": 2.5}, "'steps' cannot be 2.5"),
        ({"every": 0}, "'every' cannot be 0"),
        ({"replicas": 3}, "3 replicas without a temperature would all be equal"),
        ({"replicas": 0}, "'replicas' cannot be 0"),
        ({"temperature": -1.0}, "'temperature' cannot be -1"),
        ({"frames": "1:x"}, "frames '1:x' cannot be read"),
        ({"integrator": "euler"}, "'integrator' cannot be 'euler'"),
        ({"workers": 2}, "workers run on a cluster: give client="),
        ({"wrokers": 2}, "'wrokers' is not an option, did you mean 'workers'"),
        ({"dt": 3.0}, r"trajectory run-0, frame 0: dt 3 blows up in the first step .*: take less than .* unstable"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    scene = scenes.liquid()
    refused(SpecError, words, tmp_path, scene.model, scene.initial, **options)


def test_steps_have_no_default(tmp_path: Path) -> None:
    scene = scenes.liquid()
    with pytest.raises(SpecError, match="'steps' is missing and has no default, give a value"):
        rollout(scene.model, scene.initial, out=tmp_path / "r", dt=0.1)


def test_states_that_are_none_to_start_from_are_refused(tmp_path: Path) -> None:
    model = scenes.liquid_model()
    frames = liquids(2, 3, n_species=2, jitter=0.05)
    refused(DataError, "frame 12 does not exist: it has 3 frames", tmp_path, model, write(tmp_path / "a", [frames]),
            frames="0,12")  # fmt: skip
    still = write(tmp_path / "b", [frames], velocities=False)
    refused(DataError, "run-0: has no velocities to start with: give a temperature", tmp_path, model, still)
    rollout(model, still, out=tmp_path / "warm", steps=2, dt=0.002, temperature=0.5, threads=1)
    q = frames[0].q.copy()
    q[3] = q[7]
    twins = write(tmp_path / "c", [[replace(frames[0], q=q)]])
    refused(GraphError, r"c, trajectory run-0, frame 0: particles 3 and 7", tmp_path, model, twins)


def test_no_step_is_proposed_for_momenta_that_are_not_m_v(tmp_path: Path) -> None:
    scene = scenes.fast()
    refused(SpecError, "no multiples of momenta, so no step is proposed: give dt", tmp_path, scene.model, scene.initial,
            dt=None)  # fmt: skip


def test_what_is_no_model_or_no_dataset_is_refused(tmp_path: Path) -> None:
    scene = scenes.rings()
    refused(StoreError, "nowhere does not exist", tmp_path, tmp_path / "nowhere", scene.initial)
    refused(StoreError, "is not a complete model|holds a", tmp_path, scene.initial.path, scene.initial)
    refused(StoreError, "nowhere: does not exist, not a hamfit dataset", tmp_path, scene.model, tmp_path / "nowhere")


def test_trajectories_do_not_replace_what_they_are_made_from(tmp_path: Path) -> None:
    model = scenes.liquid_model()
    model.save(tmp_path / "model")
    data = write(tmp_path / "data", [liquids(2, 1, n_species=2, jitter=0.05)])
    for out in ("model", "data"):
        with pytest.raises(SpecError, match=f"{out}: the trajectories would replace what they are made from"):
            rollout(tmp_path / "model", data, out=tmp_path / out, steps=2, dt=0.002, overwrite=True, threads=1)


def test_a_learned_constant_does_not_hide_a_step_that_is_too_long(tmp_path: Path) -> None:
    scene = scenes.liquid()
    heavy = replace(scene.model, constants=scene.model.constants - 1e6)
    refused(SpecError, "blows up in the first step", tmp_path, heavy, scene.initial, dt=3.0)


# ----------------------------------------------------------------------------------------------- where it stops


def plan_of(steps: int, every: int, segment: int) -> RolloutPlan:
    states: Any = None
    options = RolloutOptions.build({"steps": steps, "every": every, "dt": 0.1})
    return RolloutPlan(states, options, False, segment, "", "", None, 1000, False)


@given(steps=st.integers(1, 400), every=st.integers(1, 60), segment=st.integers(1, 60))
def test_stops_go_from_the_start_to_the_end_and_meet_every_stored_frame(steps: int, every: int, segment: int) -> None:
    plan = plan_of(steps, every, segment)
    stops = [0]
    while stops[-1] < steps:
        stops.append(plan.next_stop(stops[-1]))
        assert 0 < stops[-1] - stops[-2] <= min(every, segment)
    assert stops[-1] == steps
    stored = [stop for stop in stops if plan.is_stored(stop)]
    assert stored == sorted({*range(0, steps + 1, every), steps})
    assert len(stored) == plan.n_frames


@given(
    steps=st.integers(1, 10**6), every=st.integers(1, 10**5), segment=st.integers(1, 10**6), at=st.integers(0, 10**6)
)
def test_the_next_stop_depends_on_the_step_alone(steps: int, every: int, segment: int, at: int) -> None:
    plan = plan_of(steps, every, segment)
    at = min(at, steps - 1)
    stop = plan.next_stop(at)
    assert at < stop <= steps
    # whoever is anywhere before it stops there next
    assert plan.next_stop((at + stop - 1) // 2) == stop


def test_a_plan_is_the_same_wherever_it_is_made_and_another_for_other_physics(tmp_path: Path) -> None:
    scene = scenes.pair_of_rings()
    scene.model.save(tmp_path / "model")
    reread = Model.open(tmp_path / "model")

    def fingerprint(model: Model, **changes: Any) -> str:
        options = RolloutOptions.build({"steps": 40, "dt": 0.01, **changes})
        states = initial_states(model, scene.initial, options)
        return make_plan(model, states, options)[0].fingerprint

    one = fingerprint(scene.model)
    assert fingerprint(reread) == fingerprint(replace(scene.model, factors={}, provenance={})) == one
    assert fingerprint(scene.model, threads=1, checkpoint_seconds=3.0) == one
    other_theta = replace(scene.model, theta=(scene.model.theta[0], scene.model.theta[1] * (1 + 1e-15)))
    others = [fingerprint(other_theta), fingerprint(scene.model, steps=41), fingerprint(scene.model, dt=0.011)]
    assert len({one, *others}) == 4


def test_a_proposed_step_is_said_to_be_one() -> None:
    scene = scenes.liquid()
    plan = plan_rollout(scene.model, scene.initial, steps=10)
    assert plan["dt_proposed"]
    assert 1e-3 < plan["dt"] < 1e-2
    assert not plan_rollout(scene.model, scene.initial, steps=10, dt=plan["dt"])["dt_proposed"]
