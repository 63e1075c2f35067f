from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

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
    with pytest.raises(ValueError, match="as 10, 3x3"):
        read_shape(value)


def test_an_unknown_system_is_refused_with_the_known_names() -> None:
    with pytest.raises(SpecError, match="'sprin' is unknown: did you mean 'spring'"):
        system("sprin")
    with pytest.raises(SpecError, match="'water' is unknown: use one of spring, anharmonic"):
        system("water")


def test_an_unknown_option_is_refused_with_the_known_names() -> None:
    with pytest.raises(SpecError, match="lj: 'temprature' is not an option, did you mean 'temperature'"):
        system("lj").spec({"temprature": 1.0})


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "spring",
            {"geometry": "helix"},
            "spring: 'geometry' cannot be 'helix': input should be 'chain', 'ring', 'square' or 'cubic'",
        ),
        ("spring", {"n_frames": 0}, "spring: 'n_frames' cannot be 0: input should be greater than or equal to 1"),
        ("spring", {"n_frames": 2.5}, "'n_frames' cannot be 2.5: input should be a valid integer"),
        ("spring", {"n_frames": "1e3"}, "'n_frames' cannot be '1e3': input should be a valid integer"),
        ("spring", {"n_frames": True}, "'n_frames' cannot be True: input should be a valid integer, not true or false"),
        ("spring", {"dim": False}, "'dim' cannot be False: input should be a valid integer, not true or false"),
        ("spring", {"shape": "3x"}, "'shape' cannot be '3x': a shape is 1 to 3 positive numbers; write it as 10, 3x3"),
        ("spring", {"dt": 0}, "'dt' cannot be 0: input should be greater than 0"),
        ("spring", {"dt": "fast"}, "'dt' cannot be 'fast': input should be a valid number"),
        ("spring", {"dt": float("nan")}, "'dt' cannot be nan: input should be a finite number"),
        ("spring", {"seed": -1}, "'seed' cannot be -1: input should be greater than or equal to 0"),
        ("spring", {"mass": -1.0}, "'mass' cannot be -1.0: input should be greater than 0"),
        ("spring", {"amplitude": 0.6}, "spring: amplitude 0.6 lets neighbours change places; keep it below 0.5"),
        ("spring", {"periodic": "perhaps"}, "'periodic' cannot be 'perhaps': input should be a valid boolean"),
        ("spring", {"geometry": "square", "shape": "3"}, "a square needs 2"),
        ("lj", {"shape": "5"}, "a liquid needs 3"),
        ("lj", {"density": 0.0}, "'density' cannot be 0.0"),
        ("gravity", {"dim": 4}, "'dim' cannot be 4: input should be less than or equal to 3"),
        ("gravity", {"amplitude": 0.4}, "each other's place"),
        ("nspring", {"n_bodies": 2}, "'n_bodies' cannot be 2"),
        ("nbody", {"start": "mirror", "n_trajectories": 2}, "take --start fresh"),
        ("nbody", {"start": "upside-down"}, "input should be 'given', 'mirror' or 'fresh'"),
    ],
)
def test_nonsense_is_refused_with_the_field_and_the_fix(name: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(")):
        system(name).spec(values)


def test_options_that_are_none_keep_their_defaults() -> None:
    assert system("lj").spec({"density": None}) == system("lj").spec({})


def test_a_spec_is_frozen() -> None:
    spec = SpringSpec()
    for name in type(spec).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(spec, name, getattr(spec, name))
