"""Numbers, times and sizes as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

UNKNOWN = "–"
"""What stands where there is no value."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SI = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))


def number(value: Any, digits: int = 3) -> str:
    """A number with few digits: 0.0123, 46,300, 1.15·10⁻¹⁴."""
    if isinstance(value, bool | str):
        return str(value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    if isinstance(value, int) and abs(value) < 10**12:
        return f"{value:,}".replace("-", "−")
    if 1e-3 <= abs(value) < 1e6:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{places}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_RAISED)}".replace("-", "−")


def rate(value: float) -> str:
    """A speed with a prefix of the SI: 46.3 k."""
    for size, prefix in _SI:
        if value >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


def size(value: float) -> str:
    """Bytes: 224 MB."""
    for step, prefix in _SI:
        if value >= step:
            return f"{value / step:.3g}{prefix}B"
    return f"{value:.0f} B"


def duration(seconds: float | None) -> str:
    """A time span: 5.4 s, 2 min 3 s, 1 h 4 min."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def age(when: datetime | None, now: datetime | None = None) -> str:
    """How long ago: 12 s, 3 min, 5 h, 2 d."""
    if when is None:
        return UNKNOWN
    seconds = max(0.0, ((now or datetime.now(UTC)) - when).total_seconds())
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def counted(count: int, noun: str) -> str:
    """1 frame, 20 frames."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def clock(when: datetime | None) -> str:
    """A time in UTC, to the second."""
    return UNKNOWN if when is None else when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
