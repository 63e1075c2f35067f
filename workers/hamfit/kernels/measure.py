"""The distance of two particles: formed here, and nowhere else on the processor.

Whether a pair lies within its cutoff, nearer than the core of its law, or within the range of training is decided in
many kernels: graphs, counts, engines and their slow paths. They agree only if all compare the same bits, and a square
that is rounded otherwise (by a fused multiply-add, or with the translation taken off the centre first) differs in the
last one: then the pair that sits at the boundary is lost, or counts twice. ``kernels/cuda/common.cu`` forms the same
bits on a device. NumPy does too: ``d = (x_i - x_j) - t`` and ``(d0 * d0 + d1 * d1) + d2 * d2``.

The difference is never formed as x_i - (x_j + t), so i sees j at exactly minus the vector at which j sees i. Products
and sums are rounded one by one; LLVM does not join them unless it is told that it may.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba as nb
from numba.core import types
from numba.extending import intrinsic


def squared(builder: Any, d: Sequence[Any]) -> Any:
    """The instructions of d . d for three numbers, or three vectors of them."""
    a, b, c = (builder.fmul(component, component) for component in d)
    return builder.fadd(builder.fadd(a, b), c)


def difference(builder: Any, centre: Sequence[Any], neighbour: Sequence[Any], translation: Sequence[Any]) -> list[Any]:
    """The instructions of (centre - neighbour) - translation, by component."""
    parts = zip(centre, neighbour, translation, strict=True)
    return [builder.fsub(builder.fsub(x, y), t) for x, y, t in parts]


def _vector_between(
    typing_context: Any, x0: Any, x1: Any, x2: Any, y0: Any, y1: Any, y2: Any, t0: Any, t1: Any, t2: Any
) -> Any:
    result = types.UniTuple(types.float64, 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        d = difference(builder, arguments[:3], arguments[3:6], arguments[6:])
        return context.make_tuple(builder, result, [*d, squared(builder, d)])

    return result(*[types.float64] * 9), generate


def _square(typing_context: Any, d0: Any, d1: Any, d2: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return squared(builder, arguments)

    return types.float64(*[types.float64] * 3), generate


between: Callable[..., tuple[float, float, float, float]] = intrinsic(_vector_between)
"""``between(x0, x1, x2, y0, y1, y2, t0, t1, t2)`` in compiled code: the vector x - y - t, and its squared length."""
square_of: Callable[..., float] = intrinsic(_square)
"""``square_of(d0, d1, d2)`` in compiled code: the squared length of a vector that was formed by ``between``."""


@nb.njit(cache=True, nogil=True, inline="always")
def coincide(r2: float, cutoff2: float) -> bool:
    """Whether two particles are so near, beside their cutoff, that they count as one; their vector has no direction."""
    return r2 <= 1e-20 * cutoff2
