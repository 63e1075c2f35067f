"""A page says what was measured, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.benchmarks.records import RESULTS, VELOCITY, Case, Page, Value, number
from tests.benchmarks.summary import pages, table, with_tables

PAGE = Page(
    name="springs",
    title="Springs",
    text="Two springs.",
    cases=(
        Case("Chains", "short", (Value("force", 2e-8, 1e-7), Value(VELOCITY, 3e-15, 1e-8)), ("hamfit fit a",)),
        Case("Chains", "long", (Value("force", 5e-7, 1e-7), Value(VELOCITY, 7e-15, 1e-8)), note="cold"),
        Case("Rings", "small", (Value("force", None), Value("seconds", 11.0))),
    ),
    machine={"CPU": "abacus", "cores": 13},
)


def test_a_page_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    PAGE.save(tmp_path)
    assert Page.load(tmp_path / "springs.json") == PAGE
    assert (tmp_path / "springs.md").read_text() == PAGE.render()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_published_page_is_what_its_measurements_render_to(page: Page) -> None:
    assert (RESULTS / f"{page.name}.md").read_text() == page.render()


def test_a_value_meets_its_bar_up_to_equality() -> None:
    assert Value("force", 1e-7, 1e-7).passes
    assert not Value("force", 1.1e-7, 1e-7).passes


def test_a_value_that_could_not_be_measured_meets_no_bar() -> None:
    assert not Value("force", None, 1e-7).passes
    assert Value("force", None).passes


def test_a_miss_stands_out_in_the_page() -> None:
    rows = PAGE.table("Chains").splitlines()
    assert rows[2].endswith("| 2e-8 | 3e-15 | yes |")
    assert rows[3].endswith("| **5e-7** | 7e-15 | **no** |")


def test_a_group_without_bars_is_not_judged() -> None:
    assert "bar" not in PAGE.table("Rings")
    assert "| small | - | 11 |" in PAGE.table("Rings")


def test_a_group_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="no group 'Stars'"):
        PAGE.table("Stars")


def test_a_case_cannot_measure_a_quantity_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Case("Chains", "short", (Value("force", 1.0), Value("force", 2.0)))


def test_the_summary_shows_the_case_furthest_from_its_bar() -> None:
    summary = table([PAGE], "results/")
    assert "| [Springs](results/springs.md): Chains | 2 | force | 5e-7 | 1e-7 | **missed** |" in summary
    assert f"| Velocities, everywhere | 2 | {VELOCITY} | 7e-15 | 1e-8 | met |" in summary
    assert "Rings" not in summary


def test_tables_in_other_pages_are_replaced_and_the_words_around_them_kept() -> None:
    text = "before\n<!-- results: springs: Rings -->\nold\n<!-- end of results -->\nafter\n"
    once = with_tables(text, [PAGE], "")
    assert once.startswith("before\n<!-- results: springs: Rings -->\n| ")
    assert once.endswith("|\n<!-- end of results -->\nafter\n")
    assert "old" not in once
    assert with_tables(once, [PAGE], "") == once


def test_a_table_of_a_page_that_was_never_measured_stays() -> None:
    text = "<!-- results: stars: Cold -->\nold\n<!-- end of results -->"
    assert with_tables(text, [PAGE], "") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("inf"), "-"),
        (0.0, "0"),
        (258.0, "258"),
        (1e-7, "1e-7"),
        (0.0314, "0.0314"),
        (12345.6, "1.2e4"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number(value) == text
