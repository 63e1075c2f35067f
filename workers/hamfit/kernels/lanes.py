"""Forces along runs of neighbouring particles, eight at a time.

The innermost loop of a rollout. A centre i meets a run of particles that lie side by side in memory
(``kernels.columns``), so eight of them are loaded, measured, and pushed with plain vector instructions: no gather, no
scatter, no branch. That loop is written in LLVM's own vector types, because the compiler will not vectorise a
loop that stores into the array of forces (it cannot know that the array does not overlap the positions), and because
the order of all sums is then the same on every processor, whatever the width of its registers.

The force law is one polynomial u -> E(u) for each pair of species, in u = scale * r^2 + shift or
u = scale / r^2 + shift, and the force is its exact derivative. ``inference.pair`` makes it; laws that no single
polynomial follows, and distances below its range, are left to ``kernels.pair_tables``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from hamfit.kernels.emitter import F64, I64, LANE_BIT, LANES, MASK, ONE, ZERO, Emitter, whole
from hamfit.kernels.measure import difference, squared

#: A law is a row of numbers: cutoff^2, core^2, shift, scale, number of coefficients n, then n coefficients of the
#: slope and n of the energy, highest power first; n is a multiple of ``emitter.UNROLLED``.
LAW_CUTOFF2, LAW_CORE2, LAW_SHIFT, LAW_SCALE, LAW_N, LAW_COEFFICIENTS = range(6)

#: A run is four numbers: first particle, one past the last, first place in the window of forces, lattice translation.
RUN_BEGIN, RUN_END, RUN_TARGET, RUN_SHIFT, RUN_WORDS = range(5)

#: Where ``out`` holds what: force on the centre, particles nearer than the core, energy, virial (xx yy zz xy xz yz).
OUT_FORCE, OUT_CORE, OUT_ENERGY, OUT_VIRIAL, OUT_WORDS = 0, 3, 4, 5, 11
VIRIAL_AXES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


#: How rows of numbers are passed, as an address and the width of a row, and a place.
ROWS, PLACE = types.UniTuple(types.int64, 2), types.UniTuple(types.float64, 3)


@contextmanager
def candidates(emit: Emitter, q: Any, runs: Any, n_runs: Any, shifts: Any, centre: Any) -> Iterator[tuple[Any, ...]]:
    """What is emitted within is done for each eight particles of one centre's runs.

    Gives the place in the window of the first of them, centre minus each, r^2, and which of them lie in the run.
    """
    builder = emit.builder
    q, q_width = cgutils.unpack_tuple(builder, q)
    centre = [emit.splat(c) for c in cgutils.unpack_tuple(builder, centre)]
    with cgutils.for_range(builder, n_runs, intp=I64) as loop:
        row = builder.mul(loop.index, whole(RUN_WORDS))
        begin, end, target, image = (emit.word(runs, builder.add(row, whole(k))) for k in range(RUN_WORDS))
        translation = builder.mul(image, whole(3))
        moved = [emit.splat(emit.number(shifts, builder.add(translation, whole(axis)))) for axis in range(3)]
        ahead = builder.sub(target, begin)
        with cgutils.for_range_slice(builder, begin, end, whole(LANES), I64) as (k, _):
            d = difference(builder, centre, [emit.load(q, axis, q_width, k) for axis in range(3)], moved)
            yield builder.add(k, ahead), d, squared(builder, d), emit.members(k, end)


def _kernel(*, inverse: bool, observe: bool) -> Callable[..., Any]:
    """The kernel for laws in 1/r^2 or r^2, with or without energy and virial."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        q, force, runs, n_runs, shifts, centre, law, out = arguments
        force, force_width = cgutils.unpack_tuple(builder, force)
        emit = Emitter(builder)
        words = [emit.number(law, whole(k)) for k in range(LAW_COEFFICIENTS)]
        cutoff2, core2, shift, scale = (emit.splat(word) for word in words[:LAW_N])
        n = builder.fptosi(words[LAW_N], I64)
        slope_at = whole(LAW_COEFFICIENTS)
        energy_at = builder.add(slope_at, n)
        summed = [w for w in range(OUT_WORDS if observe else OUT_CORE) if w != OUT_CORE]
        totals = {word: cgutils.alloca_once_value(builder, ZERO) for word in summed}
        core = cgutils.alloca_once_value(builder, ir.Constant(LANE_BIT, [0] * LANES))
        with candidates(emit, q, runs, n_runs, shifts, centre) as (place, d, r2, member):
            near = builder.and_(builder.fcmp_ordered("<", r2, cutoff2), member)
            close = builder.and_(builder.fcmp_ordered("<", r2, core2), member)
            builder.store(builder.or_(builder.load(core), close), core)
            follows = builder.and_(near, builder.not_(close))
            variable = builder.fdiv(ONE, r2) if inverse else r2
            u = emit.fma(variable, scale, shift)
            slope = emit.polynomial(law, slope_at, n, u)
            if inverse:
                slope = builder.fmul(slope, builder.fmul(variable, variable))
            slope = builder.select(follows, slope, ZERO)
            back = builder.fneg(slope)
            for axis in range(3):
                emit.add_product(totals[OUT_FORCE + axis], slope, d[axis])
                # lanes beyond the run get back what they held
                old = emit.load(force, axis, force_width, place)
                emit.store(emit.fma(back, d[axis], old), force, axis, force_width, place)
            if observe:
                energy = builder.select(follows, emit.polynomial(law, energy_at, n, u), ZERO)
                emit.add_product(totals[OUT_ENERGY], energy, ONE)
                for word, (a, b) in enumerate(VIRIAL_AXES, OUT_VIRIAL):
                    emit.add_product(totals[word], builder.fmul(slope, d[a]), d[b])
        for word, total in totals.items():
            place = emit.pointer(out, whole(word))
            builder.store(emit.sum(builder.load(place), builder.load(total)), place)
        any_close = builder.icmp_unsigned("!=", builder.bitcast(builder.load(core), MASK), ir.Constant(MASK, 0))
        place = emit.pointer(out, whole(OUT_CORE))
        builder.store(builder.fadd(builder.load(place), builder.uitofp(any_close, F64)), place)
        return context.get_dummy_value()

    def push_lanes(
        typing_context: Any, q: Any, force: Any, runs: Any, n_runs: Any, shifts: Any, centre: Any, law: Any, out: Any
    ) -> Any:
        integer = types.int64
        return types.void(ROWS, ROWS, *[integer] * 3, PLACE, integer, integer), generate

    kernel: Callable[..., Any] = intrinsic(push_lanes)
    return kernel


push_lanes_square = _kernel(inverse=False, observe=False)
push_lanes_inverse = _kernel(inverse=True, observe=False)
observe_lanes_square = _kernel(inverse=False, observe=True)
observe_lanes_inverse = _kernel(inverse=True, observe=True)
"""Add the forces of one centre's runs; all arguments are addresses or numbers.

q (3, width) positions, all finite, spare ones too; force (3, width) the window of forces, which the neighbours' share
is subtracted from, both as address and width; runs (n_runs, 4) int32; shifts (translations, 3); centre (x, y, z); law
as above; out (11,) is added to, and only its first four numbers without energy and virial. Forces on the centre are
not added to the window.
"""
