"""One table over all pages: for each group of cases the worst value beside its bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.records import RESULTS, Case, Page, Value, markdown_table, number

README = RESULTS.parents[1] / "README.md"
_BEGIN, _END = "<!-- results: written by `python -m tests.benchmarks render` -->", "<!-- end of results -->"


def pages(folder: Path = RESULTS) -> list[Page]:
    """All measured pages, in the order of the benchmarks."""
    from tests.benchmarks.__main__ import PAGES

    return [Page.load(folder / f"{name}.json") for name in PAGES if (folder / f"{name}.json").exists()]


def table(found: Sequence[Page], link: str = "") -> str:
    """The summary in Markdown; links to pages begin with `link`."""
    rows = [["what", "cases", "quantity", "worst", "bar", ""]]
    for page in found:
        for group in dict.fromkeys(case.group for case in page.cases):
            cases = [case for case in page.cases if case.group == group]
            quantities = dict.fromkeys(v.quantity for case in cases for v in case.values if v.bar is not None)
            for quantity in quantities:
                values = [v for case in cases for v in case.values if v.quantity == quantity and v.bar is not None]
                worst = max(values, key=_excess)
                name = f"[{page.title}]({link}{page.name}.md): {group}"
                verdict = "met" if worst.passes else "**missed**"
                rows.append([name, str(len(values)), quantity, number(worst.measured), number(worst.bar), verdict])
    return markdown_table(rows)


def missed(found: Sequence[Page]) -> list[tuple[Page, Case]]:
    """The cases that miss a bar."""
    return [(page, case) for page in found for case in page.cases if not case.passes]


def render_all(folder: Path = RESULTS, readme: Path = README) -> None:
    """Render every page, the summary and the README's table from the JSON files."""
    found = pages(folder)
    for page in found:
        (folder / f"{page.name}.md").write_text(page.render(), encoding="utf-8")
    (folder / "index.md").write_text(summary(found), encoding="utf-8")
    if readme.exists():
        readme.write_text(with_table(readme.read_text(encoding="utf-8"), found), encoding="utf-8")


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


def with_table(text: str, found: Sequence[Page]) -> str:
    """The text with the table between its marks replaced; unchanged where there are no marks."""
    if _BEGIN not in text or _END not in text:
        return text
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    return f"{before}{_BEGIN}\n{table(found, 'docs/results/')}\n{_END}{after}"


def _excess(value: Value) -> float:
    if value.measured is None:
        return math.inf
    return value.measured / value.bar if value.bar else value.measured
