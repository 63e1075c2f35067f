"""How far two states are apart: the metrics of the NeurIPS 2022 benchmark (arXiv 2211.05520).

Zerr = |q - q'| / (|q| + |q'|) over all positions, Herr = |H - H'| / (|H| + |H'|), Perr = | |sum v|^2 - |sum v'|^2 |.
Curves are geometric means over rollouts for each frame.
"""

from __future__ import annotations

import numpy as np

from hamfit.types import FloatArray


def relative_distance(a: FloatArray | float, b: FloatArray | float) -> float:
    """|a - b| / (|a| + |b|) with Euclidean norms over all entries, between 0 and 1.

    Two zeros are 0 apart. Values that are not finite are 1 apart from anything: a rollout that failed is as wrong as
    can be.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        size = float(np.linalg.norm(a)) + float(np.linalg.norm(b))
        difference = float(np.linalg.norm(np.subtract(a, b)))
    if size == 0.0:
        return 0.0
    return difference / size if np.isfinite(size) else 1.0


def momentum_error(v: FloatArray, v_hat: FloatArray) -> float:
    """| |sum v|^2 - |sum v'|^2 | for velocities (N, d); inf where a velocity is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        total, total_hat = v.sum(axis=0), v_hat.sum(axis=0)
        error = abs(float(total @ total) - float(total_hat @ total_hat))
    return error if np.isfinite(error) else float("inf")


def geometric_mean(values: FloatArray, axis: int | None = None) -> FloatArray:
    """exp(mean(log(values))) over an axis, or over all.

    Exact zeros (the common start, above all), nan (no such frame) and infinities have no place in it and are left
    out. Where only zeros are left the result is 0, where nothing is left it is nan.
    """
    counted = np.isfinite(values) & (values > 0.0)
    logs = np.log(np.where(counted, values, 1.0)).sum(axis=axis)
    number = counted.sum(axis=axis)
    mean = np.exp(np.divide(logs, number, out=np.zeros(np.shape(logs)), where=number > 0))
    zeros = (values == 0.0).any(axis=axis)
    return np.asarray(np.where(number > 0, mean, np.where(zeros, 0.0, np.nan)))
