"""`python -m tests.benchmarks NAME...|all|render`: measure pages of docs/results, or render them again."""

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

PAGES = ("networks", "zero_shot", "liquids", "neurips", "metals", "dft")


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
    wanted = [*PAGES] if names == ["all"] else names
    unknown = sorted(set(wanted) - {*PAGES, "render"})
    if unknown or not wanted:
        print(f"name some of {', '.join(PAGES)}, all or render; not {', '.join(unknown)}", file=sys.stderr)
        return 2
    pages = []
    for name in wanted:
        if name != "render":
            folder = ROOT / "build" / "benchmarks" / name
            folder.mkdir(parents=True, exist_ok=True)
            page = measure(name, folder)
            page.save()
            pages.append(page)
    render_all()
    return int(any(not case.passes for page in pages for case in page.cases))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
