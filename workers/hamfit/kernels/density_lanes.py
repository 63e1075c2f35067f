"""Densities and forces of embedded atoms along runs of neighbours, eight at a time.

As ``kernels.lanes``, with functions of r^2 that are piecewise polynomials, each lane in a piece of its own. The eight
coefficients of a piece lie side by side in memory, so a lane's piece is one load, and the eight loads of a group are
transposed in registers, which takes a fraction of the time of gathering them one by one.

A group none of whose pairs is within a cutoff is left out: that branch is well predicted, and groups at the ends of runs
are often empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from hamfit.kernels.lanes import (
    _F64,
    _I32,
    _I64,
    _LANE_BIT,
    _LANE_F64,
    _MASK,
    _ONE,
    _ZERO,
    LANES,
    OUT_CORE,
    OUT_FORCE,
    RUN_WORDS,
    _Emitter,
    _whole,
)

#: A function is a row of numbers: cutoff^2, shift, scale, last piece, row of the first piece in the table of
#: coefficients. r^2 lies at t = scale r^2 + shift, in piece floor(t).
FUNCTION_CUTOFF2, FUNCTION_SHIFT, FUNCTION_SCALE, FUNCTION_LAST, FUNCTION_FIRST, FUNCTION_WORDS = range(6)
#: Coefficients of one piece.
ORDER = 8

#: Where ``out`` of a density holds what: density at the centre, particles nearer than the core.
OUT_DENSITY, OUT_NEAR, OUT_DENSITY_WORDS = range(3)

_LANE_I32 = ir.VectorType(_I32, LANES)


class _Function:
    """A function of r^2 at eight places."""

    def __init__(self, emit: _Emitter, row: Any, coefficients: Any) -> None:
        self._emit, self._coefficients = emit, coefficients
        words = [emit.number(row, _whole(k)) for k in range(FUNCTION_WORDS)]
        self._cutoff2, self._shift, self._scale = (emit.splat(word) for word in words[:FUNCTION_LAST])
        b = emit.builder
        last = b.insert_element(ir.Constant(_LANE_I32, ir.Undefined), b.fptosi(words[FUNCTION_LAST], _I32), _lane(0))
        self._last = b.shuffle_vector(last, last, ir.Constant(_LANE_I32, [0] * LANES))
        self._first = b.mul(b.fptosi(words[FUNCTION_FIRST], _I64), _whole(ORDER))

    def within(self, r2: Any) -> Any:
        """Which lanes are nearer than the cutoff."""
        return self._emit.builder.fcmp_ordered("<", r2, self._cutoff2)

    def at(self, r2: Any, follows: Any) -> Any:
        """The polynomial of each lane at its r^2; zero where ``follows`` is not set."""
        emit, b = self._emit, self._emit.builder
        t = b.select(follows, emit.fma(r2, self._scale, self._shift), _ZERO)
        piece = b.fptosi(t, _LANE_I32)
        # rounding may put what is just within the cutoff just beyond the last piece
        piece = b.select(b.icmp_signed(">", piece, self._last), self._last, piece)
        u = b.fsub(t, b.sitofp(piece, _LANE_F64))
        rows = []
        for lane in range(LANES):
            place = b.mul(b.sext(b.extract_element(piece, _lane(lane)), _I64), _whole(ORDER))
            pointer = emit.pointer(self._coefficients, b.add(self._first, place))
            row = b.load(b.bitcast(pointer, _LANE_F64.as_pointer()))
            row.align = 8
            rows.append(row)
        powers = _transposed(b, rows)
        value = powers[-1]
        for coefficient in powers[-2::-1]:
            value = emit.fma(value, u, coefficient)
        return b.select(follows, value, _ZERO)


def _lane(k: int) -> ir.Constant:
    return ir.Constant(_I32, k)


def _transposed(b: Any, rows: list[Any]) -> list[Any]:
    """Eight vectors of which vector k holds number k of each row."""
    width = 1
    while width < LANES:
        low, high = [], []
        for k in range(LANES):
            # even blocks of ``width`` numbers of both rows, or the odd ones
            block, inside = divmod(k, 2 * width)
            start = 2 * width * block + (inside % width)
            low.append(start + (LANES if inside >= width else 0))
            high.append(low[-1] + width)
        merged: list[Any] = [None] * LANES
        for k in range(LANES):
            if k & width == 0:
                pair = rows[k], rows[k + width]
                merged[k] = b.shuffle_vector(*pair, ir.Constant(_LANE_I32, low))
                merged[k + width] = b.shuffle_vector(*pair, ir.Constant(_LANE_I32, high))
        rows, width = merged, 2 * width
    return rows


class _Run:
    """The loop over the runs of one centre, eight particles at a time."""

    def __init__(self, emit: _Emitter, arguments: tuple[Any, ...]) -> None:
        self._emit = emit
        self._q, self._q_width, self._runs, self._n_runs, self._shifts, *self._centre, core2 = arguments
        self._core2 = emit.splat(core2)
        self._close = cgutils.alloca_once_value(emit.builder, ir.Constant(_LANE_BIT, [0] * LANES))
        emit.builder.store(ir.Constant(_LANE_BIT, [0] * LANES), self._close)

    def each(self, body: Callable[[list[Any], Any, Any, Any, Any], None]) -> None:
        """Call body(d, r2, far, k, place) for each group: which lanes are no nearer than the core, and where they are."""
        emit, b = self._emit, self._emit.builder
        with cgutils.for_range(b, self._n_runs, intp=_I64) as loop:
            row = b.mul(loop.index, _whole(RUN_WORDS))
            begin, end, target, image = (emit.word(self._runs, b.add(row, _whole(k))) for k in range(RUN_WORDS))
            translation = b.mul(image, _whole(3))
            centre = [
                emit.splat(b.fsub(c, emit.number(self._shifts, b.add(translation, _whole(axis)))))
                for axis, c in enumerate(self._centre)
            ]
            ahead = b.sub(target, begin)
            with cgutils.for_range_slice(b, begin, end, _whole(LANES), _I64) as (k, _):
                d = [b.fsub(centre[axis], emit.load(self._q, axis, self._q_width, k)) for axis in range(3)]
                r2 = emit.fma(d[2], d[2], emit.fma(d[1], d[1], b.fmul(d[0], d[0])))
                member = emit.members(k, end)
                close = b.and_(b.fcmp_ordered("<", r2, self._core2), member)
                b.store(b.or_(b.load(self._close), close), self._close)
                body(d, r2, b.and_(member, b.not_(close)), k, b.add(k, ahead))

    def report(self, out: Any, word: int) -> None:
        """Add one to a word of ``out`` where a particle was nearer than the core."""
        emit, b = self._emit, self._emit.builder
        found = b.icmp_unsigned("!=", b.bitcast(b.load(self._close), _MASK), ir.Constant(_MASK, 0))
        place = emit.pointer(out, _whole(word))
        b.store(b.fadd(b.load(place), b.uitofp(found, _F64)), place)


def _any(b: Any, lanes: Any) -> Any:
    return b.icmp_unsigned("!=", b.bitcast(lanes, _MASK), ir.Constant(_MASK, 0))


def _density_kernel(*, alike: bool) -> Callable[..., Any]:
    """The kernel for centre and neighbours of one species, or of two."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *common, own_row, other_row, coefficients, window, out = arguments
        emit = _Emitter(builder)
        run = _Run(emit, tuple(common))
        own = _Function(emit, own_row, coefficients)
        other = own if alike else _Function(emit, other_row, coefficients)
        total = cgutils.alloca_once_value(builder, _ZERO)
        builder.store(_ZERO, total)

        def body(d: list[Any], r2: Any, far: Any, k: Any, place: Any) -> None:
            follows = builder.and_(far, own.within(r2))
            with cgutils.if_likely(builder, _any(builder, follows)):
                here = own.at(r2, follows)
                there = here if alike else other.at(r2, follows)
                emit.add_product(total, here, _ONE)
                old = emit.load(window, 0, _whole(0), place)
                emit.store(builder.fadd(old, there), window, 0, _whole(0), place)

        run.each(body)
        place = emit.pointer(out, _whole(OUT_DENSITY))
        builder.store(emit.sum(builder.load(place), builder.load(total)), place)
        run.report(out, OUT_NEAR)
        return context.get_dummy_value()

    def density_lanes(
        typing_context: Any,
        q: Any,
        q_width: Any,
        runs: Any,
        n_runs: Any,
        shifts: Any,
        x: Any,
        y: Any,
        z: Any,
        core2: Any,
        own: Any,
        other: Any,
        coefficients: Any,
        window: Any,
        out: Any,
    ) -> Any:
        whole, real = types.int64, types.float64
        return types.void(*[whole] * 5, *[real] * 4, *[whole] * 5), generate

    kernel: Callable[..., Any] = intrinsic(density_lanes)
    return kernel


def _force_kernel(*, alike: bool, pairs: bool) -> Callable[..., Any]:
    """The kernel for one species or two, with or without pair functions."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *common, own_row, other_row, pair_row, slopes, steep, own_steep, force, force_width, out = arguments
        emit = _Emitter(builder)
        run = _Run(emit, tuple(common))
        own = _Function(emit, own_row, slopes)
        other = own if alike else _Function(emit, other_row, slopes)
        pair = _Function(emit, pair_row, slopes) if pairs else None
        here = emit.splat(own_steep)
        totals = [cgutils.alloca_once_value(builder, _ZERO) for _ in range(3)]
        for total in totals:
            builder.store(_ZERO, total)

        def body(d: list[Any], r2: Any, far: Any, k: Any, place: Any) -> None:
            dense = builder.and_(far, own.within(r2))
            paired = builder.and_(far, pair.within(r2)) if pair is not None else dense
            with cgutils.if_likely(builder, _any(builder, builder.or_(dense, paired))):
                there = emit.load(steep, 0, _whole(0), k)
                if alike:
                    pull = builder.fmul(own.at(r2, dense), builder.fadd(here, there))
                else:
                    pull = emit.fma(own.at(r2, dense), here, builder.fmul(other.at(r2, dense), there))
                if pair is not None:
                    pull = builder.fadd(pull, pair.at(r2, paired))
                back = builder.fneg(pull)
                for axis in range(3):
                    emit.add_product(totals[axis], pull, d[axis])
                    old = emit.load(force, axis, force_width, place)
                    emit.store(emit.fma(back, d[axis], old), force, axis, force_width, place)

        run.each(body)
        for axis, total in enumerate(totals):
            place = emit.pointer(out, _whole(OUT_FORCE + axis))
            builder.store(emit.sum(builder.load(place), builder.load(total)), place)
        run.report(out, OUT_CORE)
        return context.get_dummy_value()

    def density_force_lanes(
        typing_context: Any,
        q: Any,
        q_width: Any,
        runs: Any,
        n_runs: Any,
        shifts: Any,
        x: Any,
        y: Any,
        z: Any,
        core2: Any,
        own: Any,
        other: Any,
        pair: Any,
        slopes: Any,
        steep: Any,
        own_steep: Any,
        force: Any,
        force_width: Any,
        out: Any,
    ) -> Any:
        whole, real = types.int64, types.float64
        return types.void(*[whole] * 5, *[real] * 4, *[whole] * 5, real, *[whole] * 3), generate

    kernel: Callable[..., Any] = intrinsic(density_force_lanes)
    return kernel


sum_density_alike = _density_kernel(alike=True)
sum_density_unlike = _density_kernel(alike=False)
"""Add the densities of one centre's runs; all arguments are addresses or numbers.

q (3, q_width) positions; runs (n_runs, 4) int32; shifts (translations, 3); x, y, z the centre; core2: pairs nearer than its
root are left out and reported; own and other: rows of the functions for the density at the centre and at the
neighbour, whose ``coefficients`` by rising power are (pieces, 8); window: densities at the neighbours, added to; out (2,) is
added to. The density at the centre is not added to the window.
"""
push_density_alike = _force_kernel(alike=True, pairs=False)
push_density_unlike = _force_kernel(alike=False, pairs=False)
push_density_alike_pairs = _force_kernel(alike=True, pairs=True)
push_density_unlike_pairs = _force_kernel(alike=False, pairs=True)
"""Add the forces of one centre's runs.

Arguments as above, with pair: row of the pair function; slopes: -2 dE/d(r^2) of all functions by rising power; steep: dF/d(density)
of all particles; own_steep: of the centre; force (3, force_width): the window of forces, from which the neighbours' share is
subtracted; out (4,): the force on the centre and the report are added. ``kernels.lanes`` says where.
"""
