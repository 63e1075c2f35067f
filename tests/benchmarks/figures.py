"""The figures of the README and of docs/results, drawn from measurements: `python -m tests.benchmarks figures`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from tests.benchmarks.liquids import split
from tests.benchmarks.records import RESULTS, number
from tests.benchmarks.study import FORCE, Study
from tests.benchmarks.summary import pages

import hamfit

matplotlib.use("Agg")

import matplotlib.pyplot as plt

FIGURES = RESULTS / "figures"
_INK, _BLUE, _RED, _GREY = "#222222", "#1f6fb4", "#c23b22", "#9a9a9a"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "hamfit",
    "svg.fonttype": "none",
    "savefig.facecolor": "white",
}


def draw_all(folder: Path) -> None:
    """Draw every figure; `folder` takes the data and the model that are needed on the way."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(_STYLE):
        draw_forces(Study(folder))
        draw_overview()
        draw_scaling()


def draw_forces(study: Study) -> None:
    """Predicted against true forces of Lennard-Jones frames that the fit never saw, and their differences."""
    train, unseen = split(study, "lj-500", "lj")
    model = study.fit("lj-500", train, cutoff=2.5).model
    frames = hamfit.Dataset.open(unseen.path).trajectories[0].frames()
    true = np.concatenate([np.asarray(frame.pdot).ravel() for frame in frames])
    predicted = np.concatenate([model.forces(frame).ravel() for frame in frames])
    error = np.linalg.norm(predicted - true) / np.linalg.norm(true)

    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), constrained_layout=True)
    ends = np.array([true.min(), true.max()])
    left.plot(ends, ends, color=_GREY, linewidth=0.8)
    left.plot(true, predicted, ".", color=_BLUE, markersize=2.5, alpha=0.4)
    left.set(xlabel="force from LAMMPS, reduced units", ylabel="force from hamfit", title="5 frames the fit never saw")
    right.plot(np.abs(true), np.abs(predicted - true), ".", color=_BLUE, markersize=2.5, alpha=0.4)
    right.set(
        xscale="log",
        yscale="log",
        xlim=(1e-2, None),
        xlabel="size of the force component",
        ylabel="size of the difference",
        title=f"relative error {number(float(error))}",
    )
    figure.savefig(FIGURES / "lj-500-forces.png", dpi=150)
    plt.close(figure)


def draw_overview() -> None:
    """Force error of every case of the results beside its bar."""
    rows = [
        (f"{case.group.partition(':')[0]}: {case.name}", value.measured, value.bar)
        for page in pages()
        for case in page.cases
        for value in case.values
        if value.quantity == FORCE and value.bar is not None and value.measured is not None
    ]
    figure, axes = plt.subplots(figsize=(7.2, 0.19 * len(rows) + 0.8), constrained_layout=True)
    for place, (_, measured, bar) in enumerate(rows):
        axes.plot([measured, bar], [place, place], color=_GREY, linewidth=0.6)
        axes.plot(bar, place, "|", color=_INK, markersize=8)
        axes.plot(measured, place, "o", color=_BLUE if measured <= bar else _RED, markersize=4)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=7)
    axes.set(xscale="log", xlabel="relative force error (dot), bar (line)")
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    figure.savefig(FIGURES / "overview.svg", metadata={"Date": None})
    plt.close(figure)


def draw_scaling() -> None:
    """Streaming time against particles and against frames, with lines of slope one."""
    page = next((page for page in pages() if page.name == "scaling"), None)
    if page is None:
        return
    groups = list(dict.fromkeys(case.group for case in page.cases))
    figure, panels = plt.subplots(1, len(groups), figsize=(7.2, 2.8), constrained_layout=True)
    for axes, group in zip(np.atleast_1d(panels), groups, strict=True):
        cases = [case for case in page.cases if case.group == group]
        sizes = np.array([float(case.name.split()[0].replace(",", "")) for case in cases])
        seconds = np.array([next(v.measured for v in case.values if v.quantity == "streaming, s") for case in cases])
        axes.plot(sizes, seconds[-1] * sizes / sizes[-1], color=_GREY, linewidth=0.8)
        axes.plot(sizes, seconds, "o", color=_BLUE, markersize=5)
        axes.set(xscale="log", yscale="log", title=group, xlabel=cases[0].name.split()[1], ylabel="streaming, s")
        axes.grid(color="#e5e5e5", linewidth=0.6)
    figure.savefig(FIGURES / "scaling.svg", metadata={"Date": None})
    plt.close(figure)
