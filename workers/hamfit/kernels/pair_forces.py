"""Forces of pairs within a cutoff: polynomials in lanes (``kernels.lanes``), and tables where these do not reach."""

from __future__ import annotations

from typing import NamedTuple

from hamfit.kernels.bodies import Bodies, Reach, window_of
from hamfit.kernels.lanes import (
    LAW_CORE2,
    LAW_N,
    OUT_CORE,
    OUT_FORCE,
    RUN_WORDS,
    observe_lanes_inverse,
    observe_lanes_square,
    push_lanes_inverse,
    push_lanes_square,
)
from hamfit.kernels.pair_tables import Tables, push_table
from hamfit.kernels.uncounted import uncounted
from hamfit.types import FloatArray, IntArray


class LawRows(NamedTuple):
    """The laws of all channels."""

    channels: IntArray
    """Channel of each pair of species, (S, S)."""
    rows: FloatArray
    """Polynomials, (C, longest row); those without one have no coefficients."""
    inverse: IntArray
    """1 where the polynomial is in 1/r^2, (C,)."""
    cutoff2: FloatArray
    """(C,)."""
    tables: Tables
    """Piecewise polynomials."""


@uncounted
def push_chunk(k: int, bodies: Bodies, reach: Reach, laws: LawRows, observe: bool, out: FloatArray) -> None:
    """Forces of all pairs whose centre lies in chunk k, into its window; energy and virial are added to ``out``."""
    origin, window = reach.window[k, 0], window_of(k, reach)
    window[:] = 0.0
    q, species, runs, ends, shifts = bodies.q, bodies.species, reach.runs, reach.ends, reach.shifts
    channels, rows, inverse, cutoff2, tables = laws.channels, laws.rows, laws.inverse, laws.cutoff2, laws.tables
    q_rows, window_rows = (q.ctypes.data, q.shape[1]), (window.ctypes.data, window.shape[1])
    runs_at, shifts_at, laws_at, out_at = runs.ctypes.data, shifts.ctypes.data, rows.ctypes.data, out.ctypes.data
    for i in range(reach.chunks[k], reach.chunks[k + 1]):
        # chunks come in the order of the particles, so i is never before the window's origin
        target = i - origin
        x, y, z = q[0, i], q[1, i], q[2, i]
        for axis in range(3):
            out[OUT_FORCE + axis] = 0.0
        for b in range(ends.shape[1] - 1):
            first, last = ends[i, b], ends[i, b + 1]
            if first == last:
                continue
            c = channels[species[i], b]
            limit2 = cutoff2[c]
            if rows[c, LAW_N] > 0.0:
                out[OUT_CORE] = 0.0
                mine, law = runs_at + 4 * RUN_WORDS * (i * runs.shape[1] + first), laws_at + 8 * c * rows.shape[1]
                arguments = (q_rows, window_rows, mine, last - first, shifts_at, (x, y, z), law, out_at)
                if observe:
                    if inverse[c]:
                        observe_lanes_inverse(*arguments)
                    else:
                        observe_lanes_square(*arguments)
                elif inverse[c]:
                    push_lanes_inverse(*arguments)
                else:
                    push_lanes_square(*arguments)
                if out[OUT_CORE] == 0.0:
                    continue
                limit2 = rows[c, LAW_CORE2]
            push_table(q, window, runs[i], first, last, shifts, x, y, z, tables, c, limit2, observe, out)
        for axis in range(3):
            window[axis, target] += out[OUT_FORCE + axis]
