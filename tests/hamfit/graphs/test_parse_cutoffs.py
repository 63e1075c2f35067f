"""Cutoffs as people write them."""

from __future__ import annotations

import numpy as np
import pytest

from hamfit.errors import SpecError
from hamfit.graphs import parse_cutoffs, species_pairs


def test_one_number_is_for_all_pairs() -> None:
    np.testing.assert_array_equal(parse_cutoffs(" 2.5 ", ("1", "2")), np.full((2, 2), 2.5))


@pytest.mark.parametrize("text", ["1-1=2.5,1-2=2,2-2=0", " 2-1 = 2.0 , 2-2=0.0, 1-1=25e-1 "])
def test_pairs_may_come_in_any_order(text: str) -> None:
    np.testing.assert_array_equal(parse_cutoffs(text, ("1", "2")), [[2.5, 2.0], [2.0, 0.0]])


def test_labels_may_contain_hyphens() -> None:
    found = parse_cutoffs("C-sp2-H=3,C-sp2-C-sp2=4,H-H=5", ("H", "C-sp2"))
    np.testing.assert_array_equal(found, [[5, 3], [3, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no number"),
        ("wide", "'wide' has no number"),
        ("-1", "is not a finite length"),
        ("nan", "is not a finite length"),
        ("inf", "is not a finite length"),
        ("0", "joins no particles"),
        ("1-1=0,1-2=0,2-2=0", "joins no particles"),
        ("1-1=2.5,1-2=2.0", "cutoff of 2-2 is missing"),
        ("1-1=2.5", "cutoff of 1-2, 2-2 is missing"),
        ("1-1=2.5,1-3=2,1-2=1,2-2=1", "'1-3=2' names an unknown pair: the species are 1, 2"),
        ("1-1=2.5,1-2=2,2-1=2,2-2=1", "cutoff of 2-1 is given twice"),
        ("1-1=2.5,1-2=,2-2=1", "'1-2=' has no number"),
        ("1-1=2.5,1-2=-1,2-2=1", "'1-2=-1' is not a finite length"),
        ("1-1=2.5,1-2", "'1-2' names no pair: write it as 1-1=2.5,1-2=2.5,2-2=2.5"),
        ("1-1=2.5,1-2=2,2-2=1,", "'' names no pair"),
    ],
)
def test_what_cannot_be_understood_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_cutoffs(text, ("1", "2"))


def test_pairs_are_counted_row_by_row() -> None:
    assert species_pairs(3) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
