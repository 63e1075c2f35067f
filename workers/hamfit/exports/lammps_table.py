"""Pair models as files for `pair_style table`: one section for each pair of species.

With as many knots in the file as in the pair style, uniform in r^2 (RSQ), and the slopes of the force at both ends
(FPRIME), LAMMPS's spline passes through our own numbers, and its error falls with the fourth power of their number:
1e-12 at 10,000 and 1e-14 at 40,000 for a Lennard-Jones liquid. (`linear` would need millions.) Energy and force are
splined one by one in LAMMPS, so its energy is conserved to the same accuracy and not to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from hamfit.exports.lammps_splines import table_force
from hamfit.features.curves import RadialCurve
from hamfit.relative import relative_rms
from hamfit.types import FloatArray

#: Knots tried in turn where their number is not given, and the relative error of the force that is good enough.
KNOTS = (10_000, 20_000, 40_000, 80_000)
TOLERANCE = 1e-12
_PROBES = 20_011


@dataclass(frozen=True, slots=True, eq=False)
class TableSection:
    """One section: a pair function on knots uniform in r^2."""

    keyword: str
    """Name of the section."""
    r: FloatArray
    """Distances, (n,), from half the shortest one seen in training to the cutoff."""
    energy: FloatArray
    """Energy of a pair, (n,)."""
    force: FloatArray
    """-dE/dr, (n,)."""
    ends: tuple[float, float]
    """dF/dr at the first and the last distance."""
    error: float
    """Error of LAMMPS's spline over the distances seen in training, rms, relative to the rms force there."""

    def lines(self, decimals: int = 17) -> Iterator[str]:
        """The section's text."""
        yield self.keyword
        low, high = (f"{r:.{decimals}g}" for r in (self.r[0], self.r[-1]))
        first, last = (f"{slope:.{decimals}g}" for slope in self.ends)
        yield f"N {self.r.size} RSQ {low} {high} FPRIME {first} {last}"
        yield ""
        for k, (r, e, f) in enumerate(zip(self.r.tolist(), self.energy.tolist(), self.force.tolist(), strict=True)):
            yield f"{k + 1} {r:.{decimals}g} {e:.{decimals}g} {f:.{decimals}g}"


def table_section(keyword: str, curve: RadialCurve, channel: int, low: float, n_points: int | None) -> TableSection:
    """The table of one channel from ``low`` to its cutoff, judged over the distances met in training.

    Without n_points the knots are doubled until the error is below TOLERANCE.
    """
    seen, cutoff = curve.extent[channel], float(curve.radial.cutoffs[channel])

    def force(r: FloatArray) -> FloatArray:
        return -r * curve(r, np.full(r.size, channel, dtype=np.int64))[1]

    probes = np.sqrt(np.linspace(seen[0] ** 2, min(seen[1], cutoff) ** 2, _PROBES))
    expected = force(probes)
    ends = (_slope(force, low), _slope(force, cutoff))
    for n in KNOTS if n_points is None else (n_points,):
        # the very expression of pair_table.cpp, so that its distances are ours to the bit
        rsq = low * low + (cutoff * cutoff - low * low) * np.arange(n) / (n - 1)
        r = np.sqrt(rsq)
        r[0], r[-1] = low, cutoff
        forces = force(r)
        error = relative_rms(table_force(rsq, forces, ends, probes), expected)
        if error <= TOLERANCE:
            break
    energy = curve(r, np.full(n, channel, dtype=np.int64))[0]
    return TableSection(keyword, r, energy, forces, ends, error)


def _slope(force: Callable[[FloatArray], FloatArray], r: float) -> float:
    """dF/dr by central differences of fourth order; features are smooth beyond both ends of the table."""
    step = 1e-3 * r
    f = force(r + step * np.array([-2.0, -1.0, 1.0, 2.0]))
    return float(f[0] - 8.0 * f[1] + 8.0 * f[2] - f[3]) / (12.0 * step)
