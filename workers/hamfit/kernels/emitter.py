"""Vectors of eight numbers in LLVM's own words: types, constants and shorthands that kernels are written with."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

#: Particles handled at a time. Arrays of positions and forces have as many spare entries at their end.
LANES = 8
#: Coefficients of a polynomial in each turn of its loop; their number is a multiple of this.
UNROLLED = 4

F64, I64, I32 = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
LANE_F64, LANE_BIT, MASK = ir.VectorType(F64, LANES), ir.VectorType(ir.IntType(1), LANES), ir.IntType(LANES)
ZERO = ir.Constant(LANE_F64, [0.0] * LANES)
ONE = ir.Constant(LANE_F64, [1.0] * LANES)


def whole(value: int) -> ir.Constant:
    """A 64-bit integer."""
    return ir.Constant(I64, value)


class Emitter:
    """Shorthands for the instructions of one kernel."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self._fma = self._declare("llvm.fma.v8f64", LANE_F64, [LANE_F64] * 3)
        self._sum = self._declare("llvm.vector.reduce.fadd.v8f64", F64, [F64, LANE_F64])

    def _declare(self, name: str, result: Any, arguments: list[Any]) -> Any:
        module = self.builder.module
        known = module.globals.get(name)
        return known if known is not None else ir.Function(module, ir.FunctionType(result, arguments), name)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once."""
        return self.builder.call(self._fma, [a, b, c])

    def sum(self, start: Any, lanes: Any) -> Any:
        """``start`` plus all lanes, one after the other."""
        return self.builder.call(self._sum, [start, lanes])

    def splat(self, value: Any) -> Any:
        """Eight times the same number."""
        undefined = ir.Constant(LANE_F64, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))

    def pointer(self, address: Any, index: Any, kind: Any = F64) -> Any:
        """Pointer to element ``index`` of an array of ``kind`` at an address."""
        return self.builder.gep(self.builder.inttoptr(address, kind.as_pointer()), [index])

    def number(self, address: Any, index: Any) -> Any:
        """Element of an array of float64."""
        return self.builder.load(self.pointer(address, index))

    def word(self, address: Any, index: Any) -> Any:
        """Element of an array of int32, as 64 bits."""
        return self.builder.sext(self.builder.load(self.pointer(address, index, I32)), I64)

    def lanes(self, address: Any, row: int, width: Any, place: Any) -> Any:
        """Pointer to eight numbers of a row of a (3, width) array."""
        index = self.builder.add(self.builder.mul(whole(row), width), place)
        return self.builder.bitcast(self.pointer(address, index), LANE_F64.as_pointer())

    def load(self, address: Any, row: int, width: Any, place: Any) -> Any:
        """Eight numbers of a row of a (3, width) array."""
        value = self.builder.load(self.lanes(address, row, width, place))
        value.align = 8
        return value

    def store(self, value: Any, address: Any, row: int, width: Any, place: Any) -> None:
        """Put eight numbers where ``load`` would read them."""
        self.builder.store(value, self.lanes(address, row, width, place)).align = 8

    def members(self, place: Any, end: Any) -> Any:
        """Which of the eight lanes from ``place`` on lie before ``end``, as bits."""
        left = self.builder.sub(end, place)
        some = self.builder.sub(self.builder.shl(whole(1), left), whole(1))
        many = self.builder.icmp_signed(">=", left, whole(LANES))
        bits = self.builder.select(many, whole(2**LANES - 1), some)
        return self.builder.bitcast(self.builder.trunc(bits, MASK), LANE_BIT)

    def add_product(self, variable: Any, a: Any, b: Any) -> None:
        """variable += a * b, rounded once."""
        self.builder.store(self.fma(a, b, self.builder.load(variable)), variable)

    def polynomial(self, law: Any, first: Any, n: Any, u: Any) -> Any:
        """Horner's rule for n coefficients of ``law`` from ``first`` on, four in each turn."""
        total = cgutils.alloca_once_value(self.builder, ZERO)
        self.builder.store(ZERO, total)
        with cgutils.for_range_slice(self.builder, whole(0), n, whole(UNROLLED), I64) as (k, _):
            value = self.builder.load(total)
            for more in range(UNROLLED):
                place = self.builder.add(first, self.builder.add(k, whole(more)))
                value = self.fma(value, u, self.splat(self.number(law, place)))
            self.builder.store(value, total)
        return self.builder.load(total)
