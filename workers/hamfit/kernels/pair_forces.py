"""Forces of pairs within a cutoff: polynomials in lanes (``kernels.lanes``), and tables where these do not reach."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb

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


@nb.njit(cache=True, nogil=True, inline="always")
def push_centre(
    i: int, bodies: Bodies, reach: Reach, laws: LawRows, window: FloatArray, target: int, observe: bool, out: FloatArray
) -> None:
    """Add the forces between particle i and its runs to ``window`` (3, width), where i stands at ``target``."""
    q, words = bodies.q, reach.runs.shape[1] * RUN_WORDS
    x, y, z = q[0, i], q[1, i], q[2, i]
    runs_at = reach.runs.ctypes.data + 4 * i * words
    for b in range(reach.ends.shape[1] - 1):
        first, last = reach.ends[i, b], reach.ends[i, b + 1]
        if first == last:
            continue
        c = laws.channels[bodies.species[i], b]
        row = laws.rows[c]
        limit2 = laws.cutoff2[c]
        if row[LAW_N] > 0.0:
            out[OUT_CORE] = 0.0
            arguments = (
                (q.ctypes.data, q.shape[1]),
                (window.ctypes.data, window.shape[1]),
                runs_at + 4 * RUN_WORDS * first,
                last - first,
                reach.shifts.ctypes.data,
                (x, y, z),
                row.ctypes.data,
                out.ctypes.data,
            )
            if observe:
                if laws.inverse[c]:
                    observe_lanes_inverse(*arguments)
                else:
                    observe_lanes_square(*arguments)
            elif laws.inverse[c]:
                push_lanes_inverse(*arguments)
            else:
                push_lanes_square(*arguments)
            if out[OUT_CORE] == 0.0:
                continue
            limit2 = row[LAW_CORE2]
        push_table(q, window, reach.runs[i], first, last, reach.shifts, x, y, z, laws.tables, c, limit2, observe, out)
    for axis in range(3):
        window[axis, target] += out[OUT_FORCE + axis]


@nb.njit(cache=True, nogil=True)
def push_chunk(k: int, bodies: Bodies, reach: Reach, laws: LawRows, observe: bool, out: FloatArray) -> None:
    """Forces of all pairs whose centre lies in chunk k, into its window; energy and virial are added to ``out``."""
    origin, window = reach.window[k, 0], window_of(k, reach)
    window[:] = 0.0
    for i in range(reach.chunks[k], reach.chunks[k + 1]):
        out[OUT_FORCE : OUT_FORCE + 3] = 0.0
        # chunks come in the order of the particles, so i is never before the window's origin
        push_centre(i, bodies, reach, laws, window, i - origin, observe, out)
