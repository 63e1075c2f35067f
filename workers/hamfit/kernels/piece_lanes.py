"""Distances along runs, and piecewise polynomials of them, eight at a time.

For functions that cost more than the search for who is within the cutoff. ``measure_lanes`` takes all candidates of a
centre, with plain vector loads as in ``kernels.lanes``; the caller keeps those within the cutoff, and
``evaluate_lanes`` evaluates a function for these alone. In liquids that is one candidate in four.

Every lane of ``evaluate_lanes`` is in a piece of its own. The eight coefficients of a piece lie side by side in memory,
so they are one load, and the eight loads of a group are transposed in registers; gathering them one by one takes
longer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from hamfit.kernels.emitter import I32, I64, LANE_F64, LANES, ZERO, Emitter, whole
from hamfit.kernels.lanes import PLACE, ROWS, candidates

#: A function is a row of numbers: cutoff^2, core^2, shift, scale, last piece, row of the first piece in the table of
#: coefficients. r^2 lies at t = scale r^2 + shift, in piece floor(t).
FUNCTION_CUTOFF2, FUNCTION_CORE2, FUNCTION_SHIFT, FUNCTION_SCALE, FUNCTION_LAST, FUNCTION_FIRST = range(6)
FUNCTION_WORDS = 6
#: Coefficients of one piece.
ORDER = 8

_LANE_I32 = ir.VectorType(I32, LANES)
_FAR = ir.Constant(LANE_F64, [float("inf")] * LANES)


def _lane(k: int) -> ir.Constant:
    return ir.Constant(I32, k)


def transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Eight vectors of which vector k holds number k of each row: blocks of 1, 2 and 4 numbers change places."""
    width = 1
    while width < LANES:
        low = []
        for k in range(LANES):
            block, inside = divmod(k, 2 * width)
            low.append(2 * width * block + inside % width + (LANES if inside >= width else 0))
        high = [k + width for k in low]
        swapped: list[Any] = [None] * LANES
        for k in range(LANES):
            if k & width == 0:
                swapped[k] = builder.shuffle_vector(rows[k], rows[k + width], ir.Constant(_LANE_I32, low))
                swapped[k + width] = builder.shuffle_vector(rows[k], rows[k + width], ir.Constant(_LANE_I32, high))
        rows, width = swapped, 2 * width
    return rows


def find_candidates(
    typing_context: Any, q: Any, runs: Any, n_runs: Any, shifts: Any, centre: Any, found: Any, places: Any
) -> Any:
    """Squared distances and vectors to all particles of one centre's runs; returns how many places were filled.

    All arguments are addresses or numbers, rows an address and a width. q (3, width) positions; runs (n_runs, 4) int32;
    shifts (translations, 3); centre (x, y, z); found (4, width): r^2, then centre minus neighbour; places (width / 8,)
    int32: place in the window of the first of each eight. Places beyond the end of a run hold r^2 = inf.
    """

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        q, runs, n_runs, shifts, centre, found, places = arguments
        found, found_width = cgutils.unpack_tuple(b, found)
        emit = Emitter(b)
        filled = cgutils.alloca_once_value(b, whole(0))
        b.store(whole(0), filled)
        with candidates(emit, q, runs, n_runs, shifts, centre) as (place, d, r2, member):
            at = b.load(filled)
            emit.store(b.select(member, r2, _FAR), found, 0, found_width, at)
            for axis in range(3):
                emit.store(d[axis], found, 1 + axis, found_width, at)
            b.store(b.trunc(place, I32), emit.pointer(places, b.sdiv(at, whole(LANES)), I32))
            b.store(b.add(at, whole(LANES)), filled)
        return b.load(filled)

    integer = types.int64
    return integer(ROWS, integer, integer, integer, PLACE, ROWS, integer), generate


def keep(
    typing_context: Any,
    found: Any,
    places: Any,
    filled: Any,
    limit2: Any,
    hits: Any,
    squares: Any,
    vectors: Any,
    kept_places: Any,
) -> Any:
    """What ``find_candidates`` found with r^2 < limit2, in its order; returns how many.

    All arguments are addresses or numbers, rows an address and a width. found and places as there, filled what it
    returned; hits (filled + 1,) int32 scratch; squares (n,) gets r^2, vectors (3, width) the first n of each row, and
    kept_places (n,) int32 the places in the window.
    """

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        found, places, filled, limit2, hits, squares, vectors, kept_places = arguments
        (found, found_width), (vectors, width) = (cgutils.unpack_tuple(b, rows) for rows in (found, vectors))
        emit = Emitter(b)
        count = cgutils.alloca_once_value(b, whole(0))
        b.store(whole(0), count)
        # every place is written down, and overwritten by the next unless it is near: no branch to predict
        with cgutils.for_range(b, filled, intp=I64) as loop:
            n = b.load(count)
            b.store(b.trunc(loop.index, I32), emit.pointer(hits, n, I32))
            near = b.fcmp_ordered("<", emit.number(found, loop.index), limit2)
            b.store(b.add(n, b.zext(near, I64)), count)
        with cgutils.for_range(b, b.load(count), intp=I64) as loop:
            hit = emit.word(hits, loop.index)
            b.store(emit.number(found, hit), emit.pointer(squares, loop.index))
            for axis in range(3):
                value = emit.number(found, b.add(hit, b.mul(found_width, whole(1 + axis))))
                b.store(value, emit.pointer(vectors, b.add(loop.index, b.mul(width, whole(axis)))))
            group = b.load(emit.pointer(places, b.lshr(hit, whole(3)), I32))
            inside = b.trunc(b.and_(hit, whole(LANES - 1)), I32)
            b.store(b.add(group, inside), emit.pointer(kept_places, loop.index, I32))
        return b.load(count)

    integer = types.int64
    return integer(ROWS, integer, integer, types.float64, integer, integer, ROWS, integer), generate


# seen from compiled code the typing context is no argument
measure_lanes: Callable[..., Any] = intrinsic(find_candidates)
keep_near: Callable[..., Any] = intrinsic(keep)


def _evaluator(*, valued: bool) -> Callable[..., Any]:
    """The kernel for slopes, with or without values."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        row, coefficients, r2s, n, values, slopes = arguments
        emit = Emitter(b)
        words = [emit.number(row, whole(k)) for k in range(FUNCTION_WORDS)]
        cutoff2, core2, shift, scale = (emit.splat(word) for word in words[:FUNCTION_LAST])
        one = b.insert_element(ir.Constant(_LANE_I32, ir.Undefined), b.fptosi(words[FUNCTION_LAST], I32), _lane(0))
        last = b.shuffle_vector(one, one, ir.Constant(_LANE_I32, [0] * LANES))
        first = b.mul(b.fptosi(words[FUNCTION_FIRST], I64), whole(ORDER))
        steep = b.fmul(scale, ir.Constant(LANE_F64, [-2.0] * LANES))
        with cgutils.for_range_slice(b, whole(0), n, whole(LANES), I64) as (k, _):
            r2 = emit.load(r2s, 0, whole(0), k)
            follows = b.and_(b.fcmp_ordered("<", r2, cutoff2), b.fcmp_ordered(">=", r2, core2))
            t = b.select(follows, emit.fma(r2, scale, shift), ZERO)
            piece = b.fptosi(t, _LANE_I32)
            # rounding may put what is just within the cutoff just beyond the last piece
            piece = b.select(b.icmp_signed(">", piece, last), last, piece)
            u = b.fsub(t, b.sitofp(piece, LANE_F64))
            loads = []
            for lane in range(LANES):
                at = b.mul(b.sext(b.extract_element(piece, _lane(lane)), I64), whole(ORDER))
                pointer = emit.pointer(coefficients, b.add(first, at))
                loads.append(b.load(b.bitcast(pointer, LANE_F64.as_pointer())))
                loads[-1].align = 8
            powers = transposed(b, loads)
            value, slope = powers[-1], ZERO
            for power, coefficient in enumerate(powers[-2::-1]):
                slope = value if power == 0 else emit.fma(slope, u, value)
                value = emit.fma(value, u, coefficient)
            emit.store(b.select(follows, b.fmul(slope, steep), ZERO), slopes, 0, whole(0), k)
            if valued:
                emit.store(b.select(follows, value, ZERO), values, 0, whole(0), k)
        return context.get_dummy_value()

    def evaluate_lanes(
        typing_context: Any, row: Any, coefficients: Any, r2s: Any, n: Any, values: Any, slopes: Any
    ) -> Any:
        return types.void(*[types.int64] * 6), generate

    kernel: Callable[..., Any] = intrinsic(evaluate_lanes)
    return kernel


evaluate_lanes = _evaluator(valued=True)
slope_lanes = _evaluator(valued=False)
"""A function f at n squared distances, and -2 df/d(r^2), which times a distance vector is a force.

All arguments are addresses or numbers: row of the function, coefficients (pieces, 8) by rising power, r2s (n,), n,
values (n,), slopes (n,), all three with room to the next multiple of eight. Both are zero from the cutoff on, and
nearer than the core. ``slope_lanes`` does not touch values.
"""
