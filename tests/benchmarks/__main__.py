"""`python -m tests.benchmarks NAME...|all`: measure pages of docs/results.

`render` writes the pages again from what was measured before, `figures` draws the figures.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

# Before NumPy: what is recorded must not depend on nested thread pools.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from tests.benchmarks.records import Page, this_machine
from tests.benchmarks.study import ROOT, Study
from tests.benchmarks.summary import render_all

from hamfit.devices import choose_device
from hamfit.errors import DeviceError

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
    "gpu",
)


def measure(name: str, folder: Path) -> Page:
    """Measure one page, telling of every case on standard error."""
    module = import_module(f"tests.benchmarks.{name}")
    page = Page(name, module.TITLE, module.TEXT.strip(), (), this_machine())
    for case in module.cases(Study(folder)):
        # devices tell of themselves only once they are used
        machine = {**this_machine(), **getattr(module, "machine", dict)()}
        page = replace(page, cases=(*page.cases, case), machine=machine)
        if getattr(module, "SAVED_AS_IT_GROWS", False):
            page.save()
        values = ", ".join(f"{v.quantity} {v.measured}{'' if v.passes else ' MISS'}" for v in case.values)
        print(f"{case.group}: {case.name}: {values}", file=sys.stderr, flush=True)
    return page


def main(names: list[str]) -> int:
    """Measure the named pages; 1 when a bar is missed, 2 for a name that is none or a device that is missing."""
    wanted = [*_everything(), "figures"] if names == ["all"] else names
    unknown = sorted(set(wanted) - {*PAGES, "render", "figures"})
    if unknown or not wanted:
        known = ", ".join([*PAGES, "figures", "render", "all"])
        print(f"name some of {known}; not {', '.join(unknown) or 'nothing'}", file=sys.stderr)
        return 2
    pages, missing = [], False
    for name in (name for name in wanted if name in PAGES):
        try:
            page = measure(name, _folder(name))
        except DeviceError as error:
            print(f"{name}: {error}", file=sys.stderr)
            missing = True
            continue
        page.save()
        pages.append(page)
    render_all()
    if "figures" in wanted:
        from tests.benchmarks.figures import draw_all

        draw_all(_folder("figures"))
    if missing:
        return 2
    return int(any(not case.passes for page in pages for case in page.cases))


def _everything() -> list[str]:
    without = set()
    if not os.environ.get("HAMFIT_DFT_DATA"):
        print("leaving out dft, whose files are not part of this repository: set HAMFIT_DFT_DATA", file=sys.stderr)
        without.add("dft")
    try:
        choose_device("cuda")
    except DeviceError as error:
        print(f"leaving out gpu: {error}", file=sys.stderr)
        without.add("gpu")
    return [name for name in PAGES if name not in without]


def _folder(name: str) -> Path:
    folder = ROOT / "build" / "benchmarks" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
