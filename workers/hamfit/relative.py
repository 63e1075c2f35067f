"""Errors relative to the size of what is expected, as root mean squares over all entries."""

from __future__ import annotations

import numpy as np

from hamfit.types import FloatArray


def rms(values: FloatArray) -> float:
    """Root mean square of all entries, of which there must be some."""
    return float(np.sqrt(np.mean(values**2)))


def relative_rms(got: FloatArray, expected: FloatArray) -> float:
    """Root mean square of the difference over that of the expected values; 0 where nothing is expected."""
    size = rms(expected)
    return rms(got - expected) / size if size > 0.0 else 0.0


def relative_errors(got: FloatArray, expected: FloatArray) -> tuple[float, float]:
    """``relative_rms``, and the largest difference over the same root mean square; 0 where nothing is expected."""
    size = rms(expected)
    return (relative_rms(got, expected), float(np.abs(got - expected).max()) / size) if size > 0.0 else (0.0, 0.0)
