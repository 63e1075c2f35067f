"""Panels of one size, drawn by matplotlib and turned into SVG that many on one page do not disturb.

Text stays text, in the page's own font; ids get a prefix for each panel; nothing points outside the file.
"""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from hamfit.reports.text import power_of_ten

INK, BLUE, ORANGE, GREY, FAINT = "#1c2430", "#1762a8", "#c8501e", "#8b94a1", "#e4e7ec"
SIZE = (4.5, 3.3)
"""Inches; all panels alike, so that they line up in the page's grid."""
_LEFT, _WIDTH = 0.145, 0.835
_SOFT = "#5b6675"
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "hamfit",
    "path.simplify": True,
}
"""The look of all panels."""


def single() -> tuple[Figure, Any]:
    """A figure with one plot."""
    figure = Figure(figsize=SIZE)
    return figure, figure.add_axes((_LEFT, 0.155, _WIDTH, 0.755))


def double() -> tuple[Figure, Any, Any]:
    """A figure with a plot, and a low one below it on the same x axis."""
    figure = Figure(figsize=SIZE)
    upper = figure.add_axes((_LEFT, 0.46, _WIDTH, 0.45))
    lower = figure.add_axes((_LEFT, 0.155, _WIDTH, 0.175), sharex=upper)
    upper.tick_params(labelbottom=False)
    return figure, upper, lower


def name_heights(axes: Any, text: str) -> None:
    """Say above the plot what its y axis shows: upright, and never in the way of long tick labels."""
    axes.set_title(text, loc="left", fontsize=9.5, color=_SOFT, x=0.0, pad=5)


def linear_ticks(*axes: Any, most: int = 5) -> None:
    """Few round ticks, written without an offset that would stand apart from them."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(_plain))


def log_ticks(axis: Any, most: int = 6) -> None:
    """Ticks at powers of ten, the exponent raised; at 1, 2 and 5 times them where the range is short."""
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    if decades < 1.5:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(_plain))
    else:
        axis.set_major_locator(LogLocator(numticks=most))
        axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(round(np.log10(value)))))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: int) -> str:
    if value == 0.0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.10g}".replace("-", "−")
    mantissa, _e, exponent = f"{value:.1e}".partition("e")
    mantissa = mantissa.removesuffix(".0").replace("-", "−")
    power = power_of_ten(int(exponent))
    return power if mantissa == "1" else f"−{power}" if mantissa == "−1" else f"{mantissa}·{power}"


def to_svg(figure: Figure, prefix: str, description: str) -> str:
    """The figure as an `<svg>` element for a page of HTML; `description`, escaped, is read to those who cannot see."""
    buffer = io.StringIO()
    # without a date the same numbers give the same bytes
    figure.savefig(buffer, format="svg", metadata={"Date": None}, dpi=160, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = (
        text.replace("xlink:href=", "href=").replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    )
    width, height = (72 * inches for inches in SIZE)
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{description}">'
    return re.sub(r"<svg[^>]*>", lambda _: head, text, count=1).strip()
