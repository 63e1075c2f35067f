"""`python -m tests.benchmarks NAME...|all`: measure pages of docs/results.

`render` writes the pages again from what was measured before, `figures` draws the figures.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

# Before NumPy: what is recorded must not depend on nested thread pools.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tests.benchmarks.records import Page, this_machine
from tests.benchmarks.study import ROOT, Study
from tests.benchmarks.summary import render_all

PAGES = (
    "networks",
    "zero_shot",
    "liquids",
    "neurips",
    "metals",
    "dft",
    "ablations",
    "performance",
    "startup",
    "scaling",
    "rollouts",
    "service",
)


def measure(name: str, folder: Path) -> Page:
    """Measure one page, telling of every case on standard error."""
    module = import_module(f"tests.benchmarks.{name}")
    found = []
    for case in module.cases(Study(folder)):
        found.append(case)
        values = ", ".join(f"{v.quantity} {v.measured}{'' if v.passes else ' MISS'}" for v in case.values)
        print(f"{case.group}: {case.name}: {values}", file=sys.stderr, flush=True)
    return Page(name, module.TITLE, module.TEXT.strip(), tuple(found), this_machine())


def main(names: list[str]) -> int:
    """Measure the named pages; 1 when a bar is missed, 2 for a name that is none."""
    wanted = [*_everything(), "figures"] if names == ["all"] else names
    unknown = sorted(set(wanted) - {*PAGES, "render", "figures"})
    if unknown or not wanted:
        known = ", ".join([*PAGES, "figures", "render", "all"])
        print(f"name some of {known}; not {', '.join(unknown) or 'nothing'}", file=sys.stderr)
        return 2
    pages = []
    for name in (name for name in wanted if name in PAGES):
        page = measure(name, _folder(name))
        page.save()
        pages.append(page)
    render_all()
    if "figures" in wanted:
        from tests.benchmarks.figures import draw_all

        draw_all(_folder("figures"))
    return int(any(not case.passes for page in pages for case in page.cases))


def _everything() -> list[str]:
    if os.environ.get("HAMFIT_DFT_DATA"):
        return [*PAGES]
    print("leaving out dft, whose files are not part of this repository: set HAMFIT_DFT_DATA", file=sys.stderr)
    return [name for name in PAGES if name != "dft"]


def _folder(name: str) -> Path:
    folder = ROOT / "build" / "benchmarks" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
