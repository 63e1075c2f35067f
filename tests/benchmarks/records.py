"""What a benchmark leaves behind: numbers with their bars, and the machine they were measured on.

A page is kept as JSON, which only a measurement writes; Markdown is rendered from the JSON and from nothing else, so
that no table can hold a number that was typed in. The summary and the README's table come from the same files.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"

#: The one quantity that every page measures.
VELOCITY = "relative velocity error"

_PACKAGES = ("hamfit", "numpy", "scipy", "numba")


@dataclass(frozen=True, slots=True)
class Value:
    """One number that was measured."""

    quantity: str
    """What it is; the heading of its column."""
    measured: float | None
    """None where the data cannot tell."""
    bar: float | None = None
    """The largest value that passes; None for what is only reported."""

    @property
    def passes(self) -> bool:
        """Whether the bar is met; a value that could not be measured meets none."""
        return self.bar is None or (self.measured is not None and self.measured <= self.bar)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of a page: a model, tested on some data."""

    group: str
    """Cases of a group share one line of the summary."""
    name: str
    """What was tested."""
    values: tuple[Value, ...]
    """What came out."""
    commands: tuple[str, ...] = ()
    """What to type to do the same by hand."""
    note: str = ""
    """Words needed to read the row rightly."""

    def __post_init__(self) -> None:
        quantities = [value.quantity for value in self.values]
        if len(set(quantities)) != len(quantities):
            raise ValueError(f"{self.name} measures a quantity twice: {quantities}")

    @property
    def passes(self) -> bool:
        """Whether every bar is met."""
        return all(value.passes for value in self.values)


@dataclass(frozen=True, slots=True)
class Page:
    """The cases of one benchmark, and where they were measured."""

    name: str
    title: str
    text: str
    """What is measured and how, in Markdown."""
    cases: tuple[Case, ...]
    machine: Mapping[str, Any]
    """CPU, cores, memory, operating system, versions."""

    @property
    def command(self) -> str:
        """What measures the page again."""
        return f"python -m tests.benchmarks {self.name}"

    def save(self, folder: Path = RESULTS) -> None:
        """Write the page's JSON and Markdown."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        (folder / f"{self.name}.md").write_text(self.render(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Page:
        """Read a page's JSON."""
        content = json.loads(path.read_text(encoding="utf-8"))
        cases = tuple(
            Case(
                **{
                    **case,
                    "values": tuple(Value(**value) for value in case["values"]),
                    "commands": tuple(case["commands"]),
                }
            )
            for case in content["cases"]
        )
        return cls(**{**content, "cases": cases})

    def render(self) -> str:
        """The page in Markdown."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        parts = [
            f"# {self.title}",
            self.text.strip(),
            "```sh\n" + self.command + "\n```",
            *(f"## {group}\n\n{self.table(group)}" for group in _ordered(case.group for case in self.cases)),
            *(f"{case.name}: {case.note}" for case in self.cases if case.note),
            *self._by_hand(),
            f"Measured on: {machine}.",
        ]
        return "\n\n".join(parts) + "\n"

    def table(self, group: str) -> str:
        """The cases of one group as a table; ValueError for a group that the page has not."""
        cases = [case for case in self.cases if case.group == group]
        if not cases:
            raise ValueError(f"page {self.name} has no group {group!r}")
        quantities = _ordered(value.quantity for case in cases for value in case.values)
        bars = {q: {v.bar for c in cases for v in c.values if v.quantity == q} for q in quantities}
        heads = [q if bars[q] == {None} else f"{q} ({_bars(bars[q])})" for q in quantities]
        judged = any(value.bar is not None for case in cases for value in case.values)
        rows = [["", *heads, *(["meets its bars"] if judged else [])]]
        for case in cases:
            by_quantity = {value.quantity: value for value in case.values}
            cells = [_cell(by_quantity[q]) if q in by_quantity else "" for q in quantities]
            verdict = "yes" if case.passes else "**no**"
            own = any(value.bar is not None for value in case.values)
            rows.append([case.name, *cells, *([verdict if own else ""] if judged else [])])
        return markdown_table(rows)

    def _by_hand(self) -> Iterator[str]:
        first = next((case for case in self.cases if case.commands), None)
        if first is not None:
            yield f"The first row by hand ({first.name}; the JSON beside this page holds the commands of every row):"
            yield "```sh\n" + "\n".join(first.commands) + "\n```"


def _cell(value: Value) -> str:
    text = number(value.measured)
    return text if value.passes else f"**{text}**"


def _bars(bars: set[float | None]) -> str:
    known = sorted(bar for bar in bars if bar is not None)
    return "bar " + " or ".join(number(bar) for bar in known)


def _ordered(names: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(names))


def number(value: float | None) -> str:
    """A measured number, short enough for a table."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0.0:
        return "0"
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}"
    if 0.01 <= abs(value) < 1e4:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table of which the first row is the head."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def this_machine() -> dict[str, Any]:
    """CPU, cores, memory and versions, for the foot of a page."""
    import psutil

    from hamfit.checked_options import available_cores

    return {
        "CPU": _cpu_model(),
        "cores": available_cores(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "BLAS threads": int(os.environ.get("OPENBLAS_NUM_THREADS", "0")) or "default",
        "Python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or "unknown"
