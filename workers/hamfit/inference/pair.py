"""Laws of force, compiled: after the fit sum_k theta_k phi_k(r) is one function of the distance for each channel.

Two forms, both energies as polynomials whose exact derivatives are the forces:

- one polynomial in r^2 or 1/r^2 between the shortest distance seen in training and the cutoff. Its force is a Chebyshev
  interpolant of the exact slope, integrated once. Lennard-Jones is a polynomial in 1/r^2, and the model of one needs 8
  coefficients; ``kernels.lanes`` evaluates it for eight pairs at a time.
- pieces of degree 7 (``features.pieces``), for what needs more than ``MOST_COEFFICIENTS`` numbers, for systems
  without a cutoff, and for distances outside those of training: there the features themselves are compiled, to
  half of the shortest and to twice the longest distance; farther out the energy follows its tangent.

``Law.error`` is the rms difference between compiled and exact force over the rms of the exact force, on a fine grid of
the distances seen in training; ``Law.worst`` the same with the largest difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.polynomial import chebyshev, polynomial

from hamfit.devices import AbstractDevice
from hamfit.features.curves import radial_function, radial_slope
from hamfit.features.functions import PairFunctions
from hamfit.features.pieces import NOTHING, Function, compile_functions, n_pieces, values_and_slopes
from hamfit.features.radial import RadialFeatures
from hamfit.frames import Frame
from hamfit.graphs import BondGraph, CutoffGraph
from hamfit.graphs.channels import pair_channels
from hamfit.inference.compiled import AbstractCompiled, Counted, Law
from hamfit.inference.cutoff_engine import CutoffEngine
from hamfit.inference.device_pair_engine import DevicePairEngine
from hamfit.inference.engine import AbstractEngine
from hamfit.inference.listed_engine import ListedEngine
from hamfit.integrators import Composition
from hamfit.kernels.cpu import SPLINE_DEGREE
from hamfit.kernels.emitter import UNROLLED
from hamfit.kernels.lanes import LAW_COEFFICIENTS
from hamfit.kernels.pair_forces import LawRows
from hamfit.kernels.pair_tables import Tables
from hamfit.relative import relative_errors, rms
from hamfit.types import FloatArray

#: Most coefficients of a single polynomial; with more, pieces are as fast.
MOST_COEFFICIENTS = 32
#: Relative error of the force, rms, at which a single polynomial is good enough: the rounding of 256 features.
TOLERANCE = 1e-12
#: How far beyond the shortest trained distance a polynomial may begin, tried in turn. The model is arbitrary where
#: few pairs were seen, and the first percent of the range can cost twenty coefficients.
_BEGINNINGS = (1.0, 1.02, 1.05)
_GRID = 4000


@dataclass(frozen=True, slots=True, eq=False)
class CompiledPair(AbstractCompiled[LawRows]):
    """A pair block, ready for ``kernels.pair_forces``, or ``kernels.listed`` where its graph has no cutoffs."""

    what: ClassVar[str] = "pairs"

    def on_processor(
        self, frame: Frame, rate: FloatArray, method: Composition, dt: float, threads: int
    ) -> AbstractEngine:
        """See ``AbstractCompiled.on_processor``."""
        if isinstance(self.graph, CutoffGraph):
            return CutoffEngine(self, frame, rate, method, dt, threads)
        return ListedEngine(self, frame, rate, method, dt)

    def on_device(
        self, device: AbstractDevice, frame: Frame, rate: FloatArray, method: Composition, dt: float
    ) -> AbstractEngine | None:
        """See ``AbstractCompiled.on_device``: there is none for bonds and all pairs."""
        if isinstance(self.graph, CutoffGraph):
            return DevicePairEngine(device, self, frame, rate, method, dt)
        return None


def compile_pair(pair: PairFunctions, theta: FloatArray, extents: FloatArray, constants: FloatArray) -> CompiledPair:
    """All channels of a pair block with their coefficients.

    extents (C, 2) as in ``Model.extents``; constants (S,): energy of a particle beside the features, nan where unknown.
    """
    radial, graph = pair.radial, pair.graph
    tables = compile_functions([_function(radial, theta, c, extents[c]) for c in range(radial.n_channels)])
    laws = [_law(radial, theta, c, extents[c], graph.channel_labels[c], tables) for c in range(radial.n_channels)]
    rows = np.zeros((len(laws), max(LAW_COEFFICIENTS, *(law.row.size for law in laws))))
    for c, law in enumerate(laws):
        rows[c, : law.row.size] = law.row
    kernel = LawRows(
        np.zeros((0, 0), dtype=np.int64) if isinstance(graph, BondGraph) else pair_channels(len(constants)),
        rows,
        np.array([int(law.inverse) for law in laws], dtype=np.int64),
        np.array([law.cutoff * law.cutoff for law in laws]),
        tables,
    )
    return CompiledPair(tuple(laws), kernel, np.nan_to_num(constants), graph, (Counted(radial.cutoffs, extents),))


def _law(radial: RadialFeatures, theta: FloatArray, c: int, extent: FloatArray, label: str, tables: Tables) -> Law:
    cutoff, (low, high) = float(radial.cutoffs[c]), (float(extent[0]), float(extent[1]))
    part = theta[radial.columns(c)]
    if not (np.isfinite(extent).all() and high > low):
        return Law(label, cutoff, (low, high), cutoff, "no pair was seen", 0.0, 0.0)
    exact = radial_slope(radial, theta, c)
    grid = np.linspace(low, min(high, cutoff), _GRID, endpoint=False)
    truth = exact(grid)
    size = rms(truth)
    _, compiled = values_and_slopes(tables, c, grid)
    best: tuple[FloatArray, bool, float] | None = None
    if np.isfinite(cutoff) and size > 0.0:
        # as far as it will be used, which may be farther than pairs were seen
        reach = np.linspace(low, cutoff, _GRID, endpoint=False)
        best = _best_polynomial(radial, part, c, low, cutoff, reach, exact(reach), size)
    if best is None:
        form = f"{n_pieces(tables, c)} pieces of degree {SPLINE_DEGREE} in {radial.input_maps[c]}"
        return Law(label, cutoff, (low, high), cutoff, form, *relative_errors(compiled, truth))
    row, inverse, core = best
    follows = grid >= core
    mixed = np.where(follows, _force(row, inverse, np.where(follows, grid, core)), compiled)
    form = f"polynomial of {int(row[LAW_COEFFICIENTS - 1])} coefficients in {'1/r^2' if inverse else 'r^2'}"
    return Law(label, cutoff, (low, high), core, form, *relative_errors(mixed, truth), row, inverse)


def _best_polynomial(
    radial: RadialFeatures,
    theta: FloatArray,
    c: int,
    low: float,
    cutoff: float,
    grid: FloatArray,
    truth: FloatArray,
    size: float,
) -> tuple[FloatArray, bool, float] | None:
    """The shortest polynomial that is accurate enough, with the distance where it begins."""
    for n in range(2 * UNROLLED, MOST_COEFFICIENTS + 1, UNROLLED):
        for beginning in _BEGINNINGS:
            core = beginning * low
            if core >= cutoff:
                continue
            covered = grid >= core
            # r^2 first: it needs no division
            for inverse in (False, True):
                row = _polynomial(radial, theta, c, core, cutoff, n, inverse=inverse)
                if rms(_force(row, inverse, grid[covered]) - truth[covered]) / size <= TOLERANCE:
                    return row, inverse, core
    return None


def _polynomial(
    radial: RadialFeatures, theta: FloatArray, c: int, core: float, cutoff: float, n: int, *, inverse: bool
) -> FloatArray:
    """The row of ``kernels.lanes`` with n coefficients: slope of degree n - 2, energy of degree n - 1."""
    ends = np.array([core, cutoff]) ** (-2.0 if inverse else 2.0)
    a, b = float(ends.min()), float(ends.max())
    scale, shift = 2.0 / (b - a), -(a + b) / (b - a)
    nodes = np.cos(np.pi * (np.arange(n - 1) + 0.5) / (n - 1))
    v = (nodes - shift) / scale
    r = v**-0.5 if inverse else v**0.5
    pull = -(radial.slopes_over_r(c, r) @ theta)
    # -E'(r)/r = 2 (dE/dv) v^2 for v = 1/r^2, and -2 dE/dv for v = r^2
    values = pull / v**2 if inverse else pull
    slope = chebyshev.cheb2poly(chebyshev.chebfit(nodes, values, n - 2))
    energy = polynomial.polyint(slope / (2.0 * scale if inverse else -2.0 * scale))
    at_cutoff = cutoff ** (-2.0 if inverse else 2.0) * scale + shift
    known = float(radial.values(c, np.array([cutoff]))[0] @ theta)
    energy[0] += known - polynomial.polyval(at_cutoff, energy)
    row = np.zeros(LAW_COEFFICIENTS + 2 * n)
    row[:LAW_COEFFICIENTS] = cutoff * cutoff, core * core, shift, scale, n
    row[LAW_COEFFICIENTS + 1 : LAW_COEFFICIENTS + n] = slope[::-1]
    row[LAW_COEFFICIENTS + n :] = energy[::-1]
    return row


def _force(row: FloatArray, inverse: bool, r: FloatArray) -> FloatArray:
    """dE/dr of a row, as the kernel computes it."""
    n = int(row[LAW_COEFFICIENTS - 1])
    v = 1.0 / (r * r) if inverse else r * r
    u = v * row[3] + row[2]
    value = np.zeros_like(u)
    for coefficient in row[LAW_COEFFICIENTS : LAW_COEFFICIENTS + n]:
        value = value * u + coefficient
    return np.asarray(-(value * v * v if inverse else value) * r)


def _function(radial: RadialFeatures, theta: FloatArray, c: int, extent: FloatArray) -> Function:
    """The energy of channel c: nearer than in training, as in training, and farther (up to the cutoff)."""
    low, high = float(extent[0]), float(extent[1])
    cutoff = float(radial.cutoffs[c])
    if cutoff == 0.0:
        # no pair is ever asked for
        return NOTHING
    if not (np.isfinite(extent).all() and high > low):
        # no pair was seen: the features are summed all the same, over the whole range they can have
        far = cutoff if np.isfinite(cutoff) else 2.0
        ends = [0.25 * far, far]
    else:
        far = cutoff if np.isfinite(cutoff) else 2.0 * high
        ends = [0.5 * low, low, min(high, far)]
        # a sliver between the longest distance seen and the cutoff belongs to the range itself
        if far > high * (1.0 + 1e-2):
            ends.append(far)
        else:
            ends[-1] = far
    return radial_function(radial, theta, c, tuple(ends))
