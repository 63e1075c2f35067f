"""The panels of a report: one function for each kind, each from a comparison to figures with captions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from hamfit.comparison import RolloutComparison
from hamfit.comparison.liquids import ObservablePair
from hamfit.comparison.pair_curves import PairCurve
from hamfit.comparison.summary import OBSERVABLES
from hamfit.observables.blocking import BlockedCurve
from hamfit.reports import canvas
from hamfit.reports.canvas import BLUE, GREY, INK, ORANGE
from hamfit.reports.text import counted, number, unit
from hamfit.types import FloatArray

MOST_LINES = 60
"""Rollouts drawn one by one; the mean is over all."""
MOST_POINTS = 500
"""Points of a line."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing of the page."""

    title: str
    caption: str
    svg: str


class Panels:
    """Draws panels, in the style that is set, and numbers them, so that ids on the page differ."""

    def __init__(self, comparison: RolloutComparison) -> None:
        self._comparison = comparison
        self._units = {name: unit(str(text)) for name, text in comparison.model.units.items()}
        self._drawn = 0

    def _panel(self, figure: Any, title: str, caption: str) -> Panel:
        self._drawn += 1
        return Panel(title, caption, canvas.to_svg(figure, f"p{self._drawn}", escape(f"{title}. {caption}")))

    def errors(self) -> Iterator[Panel]:
        """Zerr, Herr and Perr against time."""
        errors = self._comparison.errors
        if errors is None:
            return
        whose = "true" if errors.energy_source == "true" else "stored and learned"
        kinds = {
            "zerr": ("Positions, Zerr", "|q − q̂| / (|q| + |q̂|)", "Over all positions"),
            "herr": ("Energy, Herr", "|H − Ĥ| / (|H| + |Ĥ|)", f"With the {whose} energies"),
            "perr": ("Momentum, Perr", "| |Σv|² − |Σv̂|² |", "Of the whole system"),
        }
        for metric, (title, label, what) in kinds.items():
            values = getattr(errors, metric)[:, 1:]
            mean = errors.curve(metric)[1:]
            if not (mean[np.isfinite(mean)] > 0.0).any():
                continue
            figure, axes = canvas.single()
            for row in values[:MOST_LINES]:
                _line(axes, errors.time[1:], np.where(row > 0.0, row, np.nan), BLUE, linewidth=0.6, alpha=0.22)
            _line(axes, errors.time[1:], np.where(mean > 0.0, mean, np.nan), BLUE, linewidth=2.0)
            axes.set(yscale="log", xlabel=self._time_label())
            canvas.name_heights(axes, label)
            canvas.linear_ticks(axes.xaxis)
            canvas.log_ticks(axes.yaxis)
            caption = f"{what}; geometric mean {number(errors.overall(metric))}. Thin: single rollouts, bold: their"
            yield self._panel(figure, title, caption + " geometric mean.")

    def conservation(self) -> Iterator[Panel]:
        """Energy against time."""
        known = [drift for drift in self._comparison.drifts if np.isfinite(drift.energy).sum() > 1]
        if not known:
            return
        figure, axes = canvas.single()
        alpha = 0.9 if len(known) == 1 else max(0.25, 0.7 - 0.05 * len(known))
        for drift in known[:MOST_LINES]:
            _line(axes, drift.time, drift.energy, BLUE, linewidth=0.9, alpha=alpha)
        axes.axhline(0.0, color=INK, linewidth=0.7)
        axes.set(xlabel=self._time_label())
        canvas.name_heights(axes, "(E(t) − E(0)) / scale")
        canvas.linear_ticks(axes.xaxis, axes.yaxis)
        trend = self._comparison.trend
        slope = "too few frames to tell a trend"
        if trend is not None:
            slope = f"trend {number(trend.slope)} ± {number(trend.standard_error, 2)} per unit time"
        scale = "max(|E(0) − C|, K(0)), C the model's constants"
        caption = f"Learned energy of each rollout, relative to {scale}; {slope}."
        yield self._panel(figure, "Drift of the energy", caption)

    def forces(self) -> Iterator[Panel]:
        """Learned against stored forces, and their difference."""
        sample = self._comparison.forces
        if sample is None:
            return
        force = f"{self._units['energy']}/{self._units['length']}"
        # few points are drawn larger; as pixels, because thousands of vectors would make a heavy page
        dots: dict[str, Any] = {"marker": ".", "linestyle": "", "color": BLUE, "mew": 0, "rasterized": True}
        dots |= {"markersize": 6.0, "alpha": 0.8} if sample.true.size < 500 else {"markersize": 3.0, "alpha": 0.5}
        figure, axes = canvas.single()
        ends = np.array([sample.true.min(), sample.true.max()])
        axes.plot(ends, ends, color=GREY, linewidth=1.0)
        axes.plot(sample.true, sample.learned, **dots)
        axes.set(xlabel=f"reference, {force}")
        canvas.name_heights(axes, f"model, {force}")
        canvas.linear_ticks(axes.xaxis, axes.yaxis)
        caption = f"Components of {counted(sample.n_frames, 'frame')} of the reference; relative error "
        yield self._panel(figure, "Forces", caption + f"{number(sample.relative_error)}.")
        size, difference = np.abs(sample.true), np.abs(sample.learned - sample.true)
        shown = (size > 0.0) & (difference > 0.0)
        if not shown.any():
            return
        figure, axes = canvas.single()
        axes.plot(size[shown], difference[shown], **dots)
        axes.set(xscale="log", yscale="log", xlabel=f"size of the reference component, {force}")
        canvas.name_heights(axes, f"size of the difference, {force}")
        canvas.log_ticks(axes.xaxis)
        canvas.log_ticks(axes.yaxis)
        yield self._panel(figure, "Errors of the forces", "Size of the difference against size of the force.")

    def potential(self, curve: PairCurve) -> Panel:
        """V(r) of one channel."""
        if curve.true is None:
            figure, upper = canvas.single()
            bottom = upper
        else:
            figure, upper, bottom = canvas.double()
            upper.plot(curve.r, curve.true, color=ORANGE, linewidth=4.0, alpha=0.45, label="true")
            apart = np.abs(curve.learned - curve.true)
            bottom.plot(curve.r, np.where(apart > 0.0, apart, np.nan), color=BLUE, linewidth=1.0)
            if (apart > 0.0).any():
                bottom.set_yscale("log")
                canvas.log_ticks(bottom.yaxis, 3)
            canvas.name_heights(bottom, "size of the difference")
        upper.plot(curve.r, curve.learned, color=BLUE, linewidth=1.5, label="learned")
        upper.set_ylim(*_window(curve.learned))
        canvas.linear_ticks(upper.yaxis, bottom.xaxis)
        canvas.name_heights(upper, f"V(r), {self._units['energy']}")
        bottom.set_xlabel(f"r, {self._units['length']}")
        if curve.true is not None:
            upper.legend(loc="best")
        caption = "Over the distances seen in training"
        if curve.aligned:
            caption += "; forces leave a constant open, which is set to fit the true curve"
        if curve.largest_difference is not None:
            caption += f"; largest difference {number(curve.largest_difference)} of the range of V"
        return self._panel(figure, f"V(r) of {curve.channel}", caption + ".")

    def observable(self, pair: ObservablePair) -> Panel:
        """Both curves of one observable of a liquid."""
        length, time = self._units["length"], self._units["time"]
        labels = {
            "rdf": (f"r, {length}", "g(r)"),
            "msd": (f"lag, {time}", f"⟨|q(t) − q(0)|²⟩, {length}²"),
            "vacf": (f"lag, {time}", f"⟨v(t)·v(0)⟩, ({length}/{time})²"),
        }
        figure, upper, lower = canvas.double()
        _band(upper, pair.reference, ORANGE, "reference", 3.2)
        _band(upper, pair.rollouts, BLUE, "rollouts", 1.4)
        x_label, y_label = labels[pair.kind]
        canvas.name_heights(upper, y_label)
        upper.legend(loc="best")
        lower.axhspan(-2.0, 2.0, color=GREY, alpha=0.22, linewidth=0)
        caption = "Too few blocks to compare"
        if pair.difference is not None:
            z = -pair.difference.z
            lower.plot(pair.reference.x, z, color=BLUE, linewidth=1.0, marker=".", markersize=2.5)
            reach = max(3.0, 1.15 * float(np.abs(z[np.isfinite(z)]).max(initial=0.0)))
            lower.set_ylim(-reach, reach)
            caption = f"χ² per bin {number(pair.difference.chi2_per_bin)}, p = {number(pair.difference.p_value, 2)}"
        lower.set(xlabel=x_label)
        canvas.name_heights(lower, "difference in combined errors")
        canvas.linear_ticks(upper.yaxis, lower.xaxis)
        canvas.linear_ticks(lower.yaxis, most=3)
        title = OBSERVABLES[pair.kind].capitalize()
        note = "bands: two standard errors; below: rollouts − reference, grey within two combined standard errors"
        return self._panel(figure, f"{title} of {pair.label}", f"{caption}; {note}.")

    def _time_label(self) -> str:
        return f"time, {self._units['time']}"


def _line(axes: Any, x: FloatArray, y: FloatArray, color: str, **how: Any) -> None:
    """A line of a bounded number of points."""
    step = -(-len(x) // MOST_POINTS)
    axes.plot(x[::step], y[::step], color=color, **how)


def _band(axes: Any, curve: BlockedCurve, color: str, label: str, width: float) -> None:
    mean, error = curve.mean, curve.standard_error
    if np.isfinite(error).all():
        axes.fill_between(curve.x, mean - 2.0 * error, mean + 2.0 * error, color=color, alpha=0.25, linewidth=0)
    alpha = 0.5 if width > 2.0 else 1.0
    axes.plot(curve.x, mean, color=color, linewidth=width, alpha=alpha, label=label)


def _window(values: FloatArray) -> tuple[float, float]:
    """Limits that show the well and not only the wall: the upper one leaves out the steepest part of a repulsion."""
    low, high = float(values.min()), float(values.max())
    well = float(np.median(values)) - low
    # a wall more than ten times as high as the rest would press it flat; ten is arbitrary
    high = min(high, low + 10.0 * well) if well > 0.0 else high
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin
