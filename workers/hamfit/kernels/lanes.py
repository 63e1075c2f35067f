"""Forces along runs of neighbouring particles, eight at a time.

The innermost loop of a rollout. A centre i meets a run of particles that lie side by side in memory
(``kernels.columns``), so eight of them are loaded, measured, and pushed with plain vector instructions: no gather, no
scatter, no branch. That loop is written in LLVM's own vector types, because the compiler will not vectorise a
loop that stores into the array of forces (it cannot know that the array does not overlap the positions), and because
the order of all sums is then the same on every processor, whatever the width of its registers.

The force law is one polynomial u -> E(u) for each pair of species, in u = scale * r^2 + shift or
u = scale / r^2 + shift, and the force is its exact derivative. ``inference.laws`` makes it; laws that no single
polynomial follows, and distances below its range, are left to ``kernels.pair_tables``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

#: Particles handled at a time. Arrays of positions and forces have as many spare entries at their end.
LANES = 8

#: A law is a row of numbers: cutoff^2, core^2, shift, scale, number of coefficients n, then n coefficients of the
#: slope and n of the energy, highest power first; n is a multiple of ``UNROLLED``.
LAW_CUTOFF2, LAW_CORE2, LAW_SHIFT, LAW_SCALE, LAW_N, LAW_COEFFICIENTS = range(6)
UNROLLED = 4

#: A run is four numbers: first particle, one past the last, first place in the window of forces, lattice translation.
RUN_BEGIN, RUN_END, RUN_TARGET, RUN_SHIFT, RUN_WORDS = range(5)

#: Where ``out`` holds what: force on the centre, particles nearer than the core, energy, virial (xx yy zz xy xz yz).
OUT_FORCE, OUT_CORE, OUT_ENERGY, OUT_VIRIAL, OUT_WORDS = 0, 3, 4, 5, 11
VIRIAL_AXES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))

_F64, _I64, _I32 = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
_LANE_F64, _LANE_BIT, _MASK = ir.VectorType(_F64, LANES), ir.VectorType(ir.IntType(1), LANES), ir.IntType(LANES)
_ZERO = ir.Constant(_LANE_F64, [0.0] * LANES)
_ONE = ir.Constant(_LANE_F64, [1.0] * LANES)


def _whole(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


class _Emitter:
    """Shorthands for the instructions of one kernel."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self._fma = self._declare("llvm.fma.v8f64", _LANE_F64, [_LANE_F64] * 3)
        self._sum = self._declare("llvm.vector.reduce.fadd.v8f64", _F64, [_F64, _LANE_F64])

    def _declare(self, name: str, result: Any, arguments: list[Any]) -> Any:
        module = self.builder.module
        known = module.globals.get(name)
        return known if known is not None else ir.Function(module, ir.FunctionType(result, arguments), name)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.call(self._fma, [a, b, c])

    def sum(self, start: Any, lanes: Any) -> Any:
        """``start`` plus all lanes, one after the other."""
        return self.builder.call(self._sum, [start, lanes])

    def splat(self, value: Any) -> Any:
        undefined = ir.Constant(_LANE_F64, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.Constant(_I32, 0))
        return self.builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))

    def pointer(self, address: Any, index: Any, kind: Any = _F64) -> Any:
        return self.builder.gep(self.builder.inttoptr(address, kind.as_pointer()), [index])

    def number(self, address: Any, index: Any) -> Any:
        return self.builder.load(self.pointer(address, index))

    def word(self, address: Any, index: Any) -> Any:
        return self.builder.sext(self.builder.load(self.pointer(address, index, _I32)), _I64)

    def lanes(self, address: Any, row: int, width: Any, place: Any) -> Any:
        """Pointer to eight numbers of a row of a (3, width) array."""
        index = self.builder.add(self.builder.mul(_whole(row), width), place)
        return self.builder.bitcast(self.pointer(address, index), _LANE_F64.as_pointer())

    def load(self, address: Any, row: int, width: Any, place: Any) -> Any:
        value = self.builder.load(self.lanes(address, row, width, place))
        value.align = 8
        return value

    def store(self, value: Any, address: Any, row: int, width: Any, place: Any) -> None:
        self.builder.store(value, self.lanes(address, row, width, place)).align = 8

    def members(self, place: Any, end: Any) -> Any:
        """Which of the eight lanes from ``place`` on lie before ``end``, as bits."""
        left = self.builder.sub(end, place)
        some = self.builder.sub(self.builder.shl(_whole(1), left), _whole(1))
        many = self.builder.icmp_signed(">=", left, _whole(LANES))
        bits = self.builder.select(many, _whole(2**LANES - 1), some)
        return self.builder.bitcast(self.builder.trunc(bits, _MASK), _LANE_BIT)

    def add_product(self, variable: Any, a: Any, b: Any) -> None:
        self.builder.store(self.fma(a, b, self.builder.load(variable)), variable)

    def polynomial(self, law: Any, first: Any, n: Any, u: Any) -> Any:
        """Horner's rule for n coefficients of ``law`` from ``first`` on, four in each turn."""
        total = cgutils.alloca_once_value(self.builder, _ZERO)
        self.builder.store(_ZERO, total)
        with cgutils.for_range_slice(self.builder, _whole(0), n, _whole(UNROLLED), _I64) as (k, _):
            value = self.builder.load(total)
            for more in range(UNROLLED):
                place = self.builder.add(first, self.builder.add(k, _whole(more)))
                value = self.fma(value, u, self.splat(self.number(law, place)))
            self.builder.store(value, total)
        return self.builder.load(total)


def _kernel(*, inverse: bool, observe: bool) -> Callable[..., Any]:
    """The kernel for laws in 1/r^2 or r^2, with or without energy and virial."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        q, q_width, force, force_width, runs, n_runs, shifts, x, y, z, law, out = arguments
        emit = _Emitter(builder)
        words = [emit.number(law, _whole(k)) for k in range(LAW_COEFFICIENTS)]
        cutoff2, core2, shift, scale = (emit.splat(word) for word in words[:LAW_N])
        n = builder.fptosi(words[LAW_N], _I64)
        slope_at = _whole(LAW_COEFFICIENTS)
        energy_at = builder.add(slope_at, n)
        summed = [w for w in range(OUT_WORDS if observe else OUT_CORE) if w != OUT_CORE]
        totals = {word: cgutils.alloca_once_value(builder, _ZERO) for word in summed}
        core = cgutils.alloca_once_value(builder, ir.Constant(_LANE_BIT, [0] * LANES))
        with cgutils.for_range(builder, n_runs, intp=_I64) as loop:
            row = builder.mul(loop.index, _whole(RUN_WORDS))
            begin, end, target, image = (emit.word(runs, builder.add(row, _whole(k))) for k in range(RUN_WORDS))
            translation = builder.mul(image, _whole(3))
            # one subtraction for the whole run: the centre is moved, not the neighbours
            centre = [
                emit.splat(builder.fsub(c, emit.number(shifts, builder.add(translation, _whole(axis)))))
                for axis, c in enumerate((x, y, z))
            ]
            ahead = builder.sub(target, begin)
            with cgutils.for_range_slice(builder, begin, end, _whole(LANES), _I64) as (k, _):
                d = [builder.fsub(centre[axis], emit.load(q, axis, q_width, k)) for axis in range(3)]
                r2 = emit.fma(d[2], d[2], emit.fma(d[1], d[1], builder.fmul(d[0], d[0])))
                member = emit.members(k, end)
                near = builder.and_(builder.fcmp_ordered("<", r2, cutoff2), member)
                close = builder.and_(builder.fcmp_ordered("<", r2, core2), member)
                builder.store(builder.or_(builder.load(core), close), core)
                follows = builder.and_(near, builder.not_(close))
                variable = builder.fdiv(_ONE, r2) if inverse else r2
                u = emit.fma(variable, scale, shift)
                slope = emit.polynomial(law, slope_at, n, u)
                if inverse:
                    slope = builder.fmul(slope, builder.fmul(variable, variable))
                slope = builder.select(follows, slope, _ZERO)
                back = builder.fneg(slope)
                place = builder.add(k, ahead)
                for axis in range(3):
                    emit.add_product(totals[OUT_FORCE + axis], slope, d[axis])
                    # lanes beyond the run get back what they held
                    old = emit.load(force, axis, force_width, place)
                    emit.store(emit.fma(back, d[axis], old), force, axis, force_width, place)
                if observe:
                    energy = builder.select(follows, emit.polynomial(law, energy_at, n, u), _ZERO)
                    emit.add_product(totals[OUT_ENERGY], energy, _ONE)
                    for word, (a, b) in enumerate(VIRIAL_AXES, OUT_VIRIAL):
                        emit.add_product(totals[word], builder.fmul(slope, d[a]), d[b])
        for word, total in totals.items():
            place = emit.pointer(out, _whole(word))
            builder.store(emit.sum(builder.load(place), builder.load(total)), place)
        any_close = builder.icmp_unsigned("!=", builder.bitcast(builder.load(core), _MASK), ir.Constant(_MASK, 0))
        place = emit.pointer(out, _whole(OUT_CORE))
        builder.store(builder.fadd(builder.load(place), builder.uitofp(any_close, _F64)), place)
        return context.get_dummy_value()

    def push_lanes(
        typing_context: Any,
        q: Any,
        q_width: Any,
        force: Any,
        force_width: Any,
        runs: Any,
        n_runs: Any,
        shifts: Any,
        x: Any,
        y: Any,
        z: Any,
        law: Any,
        out: Any,
    ) -> Any:
        whole, real = types.int64, types.float64
        return types.void(*[whole] * 7, *[real] * 3, whole, whole), generate

    kernel: Callable[..., Any] = intrinsic(push_lanes)
    return kernel


push_lanes_square = _kernel(inverse=False, observe=False)
push_lanes_inverse = _kernel(inverse=True, observe=False)
observe_lanes_square = _kernel(inverse=False, observe=True)
observe_lanes_inverse = _kernel(inverse=True, observe=True)
"""Add the forces of one centre's runs; all arguments are addresses or numbers.

q (3, q_width) positions, all finite, spare ones too; force (3, force_width) the window of forces, which the neighbours'
share is subtracted from; runs (n_runs, 4) int32; shifts (translations, 3); x, y, z the centre; law as above; out (11,)
is added to, and only its first four numbers without energy and virial. Forces on the centre are not added to the
window.
"""
