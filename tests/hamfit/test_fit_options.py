from __future__ import annotations

import contextlib
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamfit.checked_options import available_cores
from hamfit.errors import SpecError
from hamfit.options import FitOptions


def test_defaults_are_valid_and_survive_pickling() -> None:
    options = FitOptions()
    assert options.features == 256
    assert options.threads == available_cores()
    assert pickle.loads(pickle.dumps(options)) == options


def test_threads_share_the_cores_among_the_workers() -> None:
    assert FitOptions(workers=1_000_003).threads == 1
    assert FitOptions(workers=2, threads=7).threads == 7


def test_options_are_frozen_and_changes_are_checked() -> None:
    options = FitOptions()
    assert options.with_changes(features=17).features == 17
    assert options.features == 256
    with pytest.raises(SpecError, match="'features' cannot be 0"):
        options.with_changes(features=0)


def test_blocks_are_read_from_text() -> None:
    assert FitOptions.build({"blocks": "kinetic, pair"}).blocks == ("kinetic", "pair")


@pytest.mark.parametrize(
    ("cutoff", "read"),
    [
        ("2.5", 2.5),
        (2.5, 2.5),
        (3, 3.0),
        ("1-1=2.5,1-2=2.0", "1-1=2.5,1-2=2.0"),
        ("Si-Si=3.7, Si-O=0", "Si-Si=3.7,Si-O=0"),
        ("C-a-C-b=1.0", "C-a-C-b=1.0"),
    ],
)
def test_cutoffs_as_people_write_them_are_read(cutoff: str | float, read: str | float) -> None:
    found = FitOptions.build({"cutoff": cutoff}).cutoff
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    "cutoff", ["", "far", "-2.5", -2.5, "nan", "inf", "1-1", "1-1=x", "11=2.5", "2.5,3.5", "1-1=2,"]
)
def test_cutoffs_that_cannot_be_read_are_refused(cutoff: str | float) -> None:
    with pytest.raises(SpecError, match="'cutoff' cannot be"):
        FitOptions.build({"cutoff": cutoff})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"features": True}, "'features' cannot be True: input should be a valid integer, not true or false"),
        ({"featurs": 3}, "'featurs' is not an option, did you mean 'features'"),
        ({"features": "many"}, "'features' cannot be 'many'"),
        ({"seed": -1}, "'seed' cannot be -1"),
        ({"blocks": "pair,pear"}, "'blocks' cannot be 'pear'"),
        ({"blocks": "pair,pair"}, "'blocks' cannot be .* must name each block once"),
        ({"solver": "magic"}, "'solver' cannot be 'magic'.*'sketched', 'tsqr' or 'normal'"),
        ({"solver": "tsqr", "precision": "mixed"}, "'precision' cannot be 'mixed': only the solver sketched"),
        ({"ridge": float("nan")}, "'ridge' cannot be nan"),
        ({"l_max": 4}, "'l_max' cannot be 4"),
        ({"features": 0, "groups": 1}, "'features' cannot be 0.*; 'groups' cannot be 1"),
    ],
)
def test_a_mistake_names_the_field_and_the_fix_in_one_line(values: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        FitOptions.build(values)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value).lower()


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "fit.toml"
    file.write_text('features = 13\nseed = 7\nblocks = ["pair"]\n')
    options = FitOptions.load(file, {"seed": 11, "solver": None})
    assert (options.features, options.seed, options.blocks, options.solver) == (13, 11, ("pair",), "sketched")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("features = \n", "is not valid TOML"),
        ("featurs = 3\n", "fit.toml: 'featurs' is not an option"),
        ("features = -3\n", "fit.toml: 'features' cannot be -3"),
        ("[fit]\nfeatures = 3\n", "fit.toml: 'fit' is not an option"),
    ],
)
def test_a_mistake_in_the_file_names_the_file(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "fit.toml"
    file.write_text(text)
    with pytest.raises(SpecError, match=words):
        FitOptions.load(file, {"seed": 1})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.toml cannot be read"):
        FitOptions.load(tmp_path / "none.toml")


def test_every_field_has_words_for_the_user() -> None:
    assert all(field.description for field in FitOptions.model_fields.values())


@given(
    name=st.sampled_from(sorted(FitOptions.model_fields)),
    value=st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.text(), max_size=2)),
)
def test_no_value_escapes_as_a_foreign_exception(name: str, value: object) -> None:
    with contextlib.suppress(SpecError):
        FitOptions.build({name: value})
