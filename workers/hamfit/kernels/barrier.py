"""A barrier for threads inside compiled loops.

The threads of a rollout meet twice in every step, a few thousand times a second: too often for Python's locks, and
numba's own parallel loops need a threading layer that either aborts when two Python threads use it or is a library
that need not be there. So the threads are Python's, each runs the same compiled loop without the GIL, and they meet
at a counter that only grows: the k-th meeting is over when ``threads * k`` arrivals have been counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from hamfit.kernels.uncounted import uncounted
from hamfit.types import IntArray

_I64 = ir.IntType(64)
#: Looks at the counter before the thread offers its core to others; some microseconds, arbitrary.
_PATIENCE = 2000

#: Offers before it sleeps instead: by now some tenths of a millisecond have gone, so the one waited for has no core,
#: and may get this one (216 atoms, two threads, two cores that two strangers keep busy: 3 ms a step without it, 0.2
#: with).
_OFFERS = 50
#: Microseconds of one sleep; the system makes it longer.
_NAP = 20

_sched_yield: Callable[..., Any] = types.ExternalFunction("sched_yield", types.int32())
_usleep: Callable[..., Any] = types.ExternalFunction("usleep", types.int32(types.uint32))


def arrive(typing_context: Any, address: Any) -> Any:
    """Add one to the number at ``address``; what was written before is seen by whoever reads it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        return builder.atomic_rmw("add", pointer, ir.Constant(_I64, 1), "acq_rel")

    return types.int64(types.int64), generate


def arrivals(typing_context: Any, address: Any) -> Any:
    """The number at ``address``, read anew each time."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.int64), generate


# seen from compiled code the typing context is no argument
_arrive: Callable[..., Any] = intrinsic(arrive)
_arrivals: Callable[..., Any] = intrinsic(arrivals)


@uncounted
def meet(counter: IntArray, n_threads: int, meeting: int) -> int:
    """Wait until all threads have called this; returns the number to pass at the next meeting.

    counter (1,) starts at 0, and so does ``meeting`` in every thread.
    """
    meeting += 1
    if n_threads > 1:
        address = counter.ctypes.data
        _arrive(address)
        looks = 0
        while _arrivals(address) < meeting * n_threads:
            looks += 1
            if looks % _PATIENCE == 0:
                if looks < _PATIENCE * _OFFERS:
                    _sched_yield()
                else:
                    _usleep(_NAP)
    return meeting
