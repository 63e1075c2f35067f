"""Numbers and tables as HTML: every text escaped, nothing that reads NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

UNKNOWN = "–"
"""What stands for a number that is unknown or not finite."""

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: int) -> str:
    """10 to a whole power, with a raised exponent."""
    return "10" + str(exponent).translate(_SUPERSCRIPT)


def number(value: float | int | None, digits: int = 3) -> str:
    """A number for reading: 0.0123, or 1.23·10⁻⁵ where it is far from 1."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f").replace("-", "−")
    if value == 0.0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return (f"{value:.{digits}g}" if abs(value) < 1e3 else f"{value:.0f}").replace("-", "−")
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}·{power_of_ten(int(exponent))}".replace("-", "−")


def with_error(value: float, error: float | None) -> str:
    """A value with its standard error, both to the second digit of the error: 0.812(13) reads as 0.812 ± 0.013."""
    if error is None or not (math.isfinite(value) and math.isfinite(error) and error > 0.0):
        return number(value, 4)
    places = 1 - math.floor(math.log10(error))
    # outside these, plain decimals would be all zeros
    if not 0 <= places <= 8:
        return f"{number(value, 4)} ± {number(error, 2)}"
    return f"{value:.{places}f} ± {error:.{places}f}".replace("-", "−")


def unit(text: str) -> str:
    """The name of a unit as one writes it by hand: sigma*sqrt(m/epsilon) is σ√(m/ε), A is Å."""
    for word, sign in (("sigma", "σ"), ("epsilon", "ε"), ("*", ""), ("sqrt", "√")):
        text = text.replace(word, sign)
    return re.sub(r"\bA(?![a-z])", "Å", text)


def counted(n: int, noun: str) -> str:
    """A number of things: 1 rollout, 12 rollouts."""
    return f"{number(n)} {noun}" if n == 1 else f"{number(n)} {noun}s"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """A table whose first columns are text and the others numbers; all cells are escaped here."""
    if not rows:
        return ""
    kinds = ["text" if k < text_columns else "num" for k in range(len(header))]
    head = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{escape(cell)}</td>' for cell, kind in zip(row, kinds, strict=True))
        + "</tr>\n"
        for row in rows
    )
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n'


def facts(rows: Sequence[tuple[str, str]]) -> str:
    """Names with their values, as a list of definitions; both are escaped here."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in rows)
    return f"<dl>\n{items}</dl>\n"
