"""Options of rollouts, and what all checked options share: where they come from, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.checked_options import available_cores
from hamfit.errors import SpecError
from hamfit.integrators import INTEGRATORS
from hamfit.rollouts.options import RolloutOptions


def test_every_integrator_can_be_asked_for() -> None:
    for name in INTEGRATORS:
        assert RolloutOptions.build({"steps": 1, "integrator": name}).integrator == name


@given(steps=st.integers(1, 10**7), every=st.none() | st.integers(1, 10**6))
def test_at_most_a_hundred_and_two_frames_are_stored_unless_asked_for(steps: int, every: int | None) -> None:
    stride = RolloutOptions.build({"steps": steps, "every": every}).stride
    assert stride == every if every is not None else 1 + -(-steps // stride) <= 201
    assert stride >= 1


def test_where_a_rollout_runs_is_no_part_of_its_physics() -> None:
    one = RolloutOptions.build({"steps": 500, "dt": 0.1})
    away = {"workers": 3, "threads": 2, "resume": False, "checkpoint_seconds": 1.0, "every": 5}
    assert one.with_changes(**away).physics() == one.physics()
    for name, value in {"every": 6, "steps": 501, "seed": 1, "forces": True, "dt": -0.1, "frames": "1"}.items():
        assert one.with_changes(**{name: value}).physics() != one.physics()


def test_threads_are_the_cores_of_each_worker() -> None:
    assert RolloutOptions.build({"steps": 1}).threads == available_cores()
    assert RolloutOptions.build({"steps": 1, "workers": 10**6}).threads == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "'steps' is missing and has no default, give a value"),
        ({"steps": 0}, "'steps' cannot be 0: input should be greater than or equal to 1"),
        ({"steps": 1, "dt": math.nan}, "'dt' cannot be nan: input should be a finite number"),
        ({"steps": 1, "dt": -math.inf}, "'dt' cannot be -inf"),
        ({"steps": 1, "dt": "fast"}, "'dt' cannot be 'fast'"),
        ({"steps": 1, "threads": 0}, "'threads' cannot be 0"),
        ({"steps": 1, "workers": 0}, "'workers' cannot be 0"),
        ({"steps": 1, "checkpoint_seconds": -1}, "'checkpoint_seconds' cannot be -1"),
        ({"steps": 1, "seed": -1}, "'seed' cannot be -1"),
        ({"steps": 1, "integrator": "leapfrog"}, "'integrator' cannot be 'leapfrog': input should be 'verlet'"),
        ({"steps": 1, "evry": 3}, "'evry' is not an option, did you mean 'every'"),
        ({"steps": 1, "colour": 3}, "'colour' is not an option, use one of steps, dt,"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        RolloutOptions.build(values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_and_flags_complete_each_other(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text("steps = 40\ndt = 0.5\n")
    assert RolloutOptions.load(config, {"dt": 0.25, "every": None}).dt == 0.25
    assert RolloutOptions.load(config, {}).steps == 40
    config.write_text("dt = 0.5\n")
    assert RolloutOptions.load(config, {"steps": 7}).steps == 7


def test_what_neither_a_file_nor_flags_give_is_missing(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text("dt = 0.5\n")
    with pytest.raises(SpecError, match=r"run.toml with the flags given: 'steps' is missing"):
        RolloutOptions.load(config, {"every": 3})


def test_the_message_blames_the_source_that_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text("evry = 3\n")
    with pytest.raises(SpecError, match=r"^[^:]*run.toml: 'evry' is not an option, did you mean 'every'$"):
        RolloutOptions.load(config, {"steps": 7})
    config.write_text("every = 3\n")
    with pytest.raises(SpecError, match=r"^options: 'dt' cannot be inf"):
        RolloutOptions.load(config, {"dt": math.inf})
