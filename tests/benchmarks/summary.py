"""One table over all pages: for each group of cases the worst value beside its bar."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.records import RESULTS, VELOCITY, Page, Value, markdown_table, number

ROOT = RESULTS.parents[1]
#: Pages written by hand that show tables of results, and how links to the results begin there.
SHOWN_IN = {"README.md": "docs/results/", "docs/explanation/accuracy.md": "../results/"}
_PLACE = re.compile(r"(<!-- results: ([^>]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def pages(folder: Path = RESULTS) -> list[Page]:
    """All measured pages, in the order of the benchmarks."""
    from tests.benchmarks.__main__ import PAGES

    return [Page.load(folder / f"{name}.json") for name in PAGES if (folder / f"{name}.json").exists()]


def table(found: Sequence[Page], link: str = "") -> str:
    """The summary in Markdown; links to pages begin with `link`. Velocities of all pages share one row."""
    rows = [["what", "cases", "quantity", "worst", "bar", ""]]
    velocities: list[Value] = []
    for page in found:
        for group in dict.fromkeys(case.group for case in page.cases):
            judged = [v for case in page.cases if case.group == group for v in case.values if v.bar is not None]
            velocities += [v for v in judged if v.quantity == VELOCITY]
            for quantity in dict.fromkeys(v.quantity for v in judged if v.quantity != VELOCITY):
                values = [v for v in judged if v.quantity == quantity]
                rows.append(_row(f"[{page.title}]({link}{page.name}.md): {group}", quantity, values))
    if velocities:
        rows.append(_row("Velocities, everywhere", VELOCITY, velocities))
    return markdown_table(rows)


def _row(name: str, quantity: str, values: Sequence[Value]) -> list[str]:
    worst = max(values, key=_excess)
    verdict = "met" if worst.passes else "**missed**"
    return [name, str(len(values)), quantity, number(worst.measured), number(worst.bar), verdict]


def render_all(folder: Path = RESULTS, root: Path = ROOT) -> None:
    """Render every page, the summary and the tables that other pages show, from the JSON files."""
    found = pages(folder)
    for page in found:
        (folder / f"{page.name}.md").write_text(page.render(), encoding="utf-8")
    (folder / "index.md").write_text(summary(found), encoding="utf-8")
    for name, link in SHOWN_IN.items():
        path = root / name
        if path.exists():
            path.write_text(with_tables(path.read_text(encoding="utf-8"), found, link), encoding="utf-8")


def summary(found: Sequence[Page]) -> str:
    """The summary page."""
    return (
        "\n\n".join(
            [
                "# Results",
                "Every number on these pages was measured by the command beside it; `make results` measures all of them"
                " again. A bar is what the project set out to reach; a miss is shown as one. `worst` is the case"
                " furthest from its bar.",
                table(found),
            ]
        )
        + "\n"
    )


def with_tables(text: str, found: Sequence[Page], link: str) -> str:
    """The text with every table between marks replaced by what was measured.

    `<!-- results: summary -->` takes the summary, `<!-- results: PAGE: GROUP -->` the table of one group; each
    ends with `<!-- end of results -->`. A place whose page was never measured stays as it is.
    """
    by_name = {page.name: page for page in found}

    def fill(place: re.Match[str]) -> str:
        name, _, group = place[2].partition(": ")
        if name == "summary":
            return f"{place[1]}{table(found, link)}\n{place[3]}"
        page = by_name.get(name)
        return place[0] if page is None else f"{place[1]}{page.table(group)}\n{place[3]}"

    return _PLACE.sub(fill, text)


def _excess(value: Value) -> float:
    if value.measured is None:
        return math.inf
    return value.measured / value.bar if value.bar else value.measured
