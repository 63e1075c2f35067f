from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.errors import SpecError
from hamfit.systems import SYSTEMS, system
from hamfit.systems.networks import SpringSpec
from hamfit.systems.options import read_shape


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_option_has_help_and_a_flag_of_its_own(name: str) -> None:
    options = SYSTEMS[name].options
    assert all(option.help.endswith(".") for option in options)
    assert len({option.flag for option in options}) == len(options)
    assert all(option.flag.startswith("--") for option in options)
    assert {option.kind for option in options} <= {"int", "float", "bool", "text", "shape"}
    assert all(bool(option.choices) == (option.kind == "text") for option in options)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_defaults_given_as_text_make_the_default_spec(name: str) -> None:
    entry = SYSTEMS[name]
    as_text = {}
    for option in entry.options:
        value = option.default
        if value is not None:
            as_text[option.name] = "x".join(map(str, value)) if option.kind == "shape" else str(value)
    assert entry.spec(as_text) == entry.spec({})


@given(st.lists(st.integers(1, 999), min_size=1, max_size=3))
def test_a_shape_is_read_back_from_its_text(numbers: list[int]) -> None:
    assert read_shape("x".join(map(str, numbers))) == read_shape(numbers) == tuple(numbers)


def test_a_single_number_is_a_shape_of_one_axis() -> None:
    assert read_shape(10) == (10,)


@pytest.mark.parametrize("value", ["", "3x", "axb", "3x-3", "0", 0, -1, 2.5, True, "1x2x3x4", [], None, "²"])
def test_nonsense_is_not_a_shape(value: object) -> None:
    with pytest.raises(SpecError, match="as 10, 3x3"):
        read_shape(value)


def test_an_unknown_system_is_refused_with_the_known_names() -> None:
    with pytest.raises(SpecError, match=r"'sprin' is unknown; did you mean 'spring'\? known: spring, anharmonic"):
        system("sprin")


def test_an_unknown_option_is_refused_with_the_known_names() -> None:
    with pytest.raises(SpecError, match=r"'temprature' is not an option of lj; did you mean 'temperature'\? known: "):
        system("lj").spec({"temprature": 1.0})


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("spring", {"geometry": "helix"}, "spring: geometry 'helix' is unknown; known: chain, ring"),
        ("spring", {"n_frames": 0}, "n_frames is 0; it must be at least 1"),
        ("spring", {"n_frames": 2.5}, "n_frames 2.5 is not a whole number"),
        ("spring", {"n_frames": True}, "n_frames True is not a whole number"),
        ("spring", {"dt": 0}, "dt is 0; it must be greater than 0"),
        ("spring", {"dt": "fast"}, "dt 'fast' is not a number"),
        ("spring", {"dt": float("nan")}, "dt nan is not a finite number"),
        ("spring", {"seed": -1}, "seed is -1; it must be at least 0"),
        ("spring", {"mass": -1.0}, "mass is -1.0; it must be greater than 0"),
        ("spring", {"amplitude": 0.6}, "keep it below 0.5"),
        ("spring", {"periodic": "perhaps"}, "neither true nor false"),
        ("spring", {"geometry": "square", "shape": "3"}, "a square needs 2"),
        ("lj", {"shape": "5"}, "a liquid needs 3"),
        ("lj", {"density": 0.0}, "density is 0.0"),
        ("gravity", {"dim": 4}, "dim is 4"),
        ("gravity", {"amplitude": 0.4}, "each other's place"),
        ("nspring", {"n_bodies": 2}, "n_bodies is 2"),
        ("nbody", {"start": "mirror", "n_trajectories": 2}, "take --start fresh"),
        ("nbody", {"start": "upside-down"}, "known: given, mirror, fresh"),
    ],
)
def test_nonsense_is_refused_with_the_field_and_the_fix(name: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(")):
        system(name).spec(values)


def test_options_that_are_none_keep_their_defaults() -> None:
    assert system("lj").spec({"density": None}) == system("lj").spec({})


def test_a_spec_is_frozen() -> None:
    spec = SpringSpec()
    for field in fields(spec):
        with pytest.raises(FrozenInstanceError):
            setattr(spec, field.name, getattr(spec, field.name))
