"""Kernels that are run for every particle count no references, and neither make nor return arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numba as nb
import numpy as np
import pytest
from numba.core import types
from numba.core.dispatcher import Dispatcher
from numba.core.errors import TypingError

from hamfit.kernels import barrier, counting, density, pair_forces, pair_tables, stepping
from hamfit.kernels.uncounted import uncounted

#: Those that make arrays: once for each run, or each call from Python.
COUNTED = {"count_candidates", "scratch_of", "observe", "advance"}


def kernels() -> Iterator[Dispatcher]:
    """All kernels of a time step that are not inlined into another."""
    for module in (barrier, counting, density, pair_forces, pair_tables, stepping):
        for found in vars(module).values():
            own = isinstance(found, Dispatcher) and found.py_func.__module__ == module.__name__
            if own and found.targetoptions.get("inline") != "always":
                yield found


KERNELS = {kernel.__name__: kernel for kernel in kernels()}


def sum_of_rows(rows: tuple[np.ndarray, np.ndarray]) -> float:
    total, row = 0.0, rows[0][0]
    for i in range(rows[0].shape[0]):
        if rows[1][i, 0] > 0.0:
            row = rows[0][i]
        total += row[0]
    return total


def options_of_uncounted() -> dict[str, bool]:
    """As `uncounted` compiles, but into no cache: what comes from there cannot be looked into."""
    options = dict(uncounted(sum_of_rows).targetoptions)
    return {name: value for name, value in options.items() if name != "nopython"}


def test_references_are_counted_by_numba_and_not_by_these_kernels() -> None:
    rows = (np.ones((3, 2)), np.ones((3, 2)))
    counts = []
    for compiled in (nb.njit(sum_of_rows), nb.njit(**options_of_uncounted())(sum_of_rows)):
        assert compiled(rows) == 3.0
        counts.append("@NRT_decref" in "".join(compiled.inspect_llvm().values()))
    assert counts == [True, False]


def test_all_that_is_run_at_every_step_is_uncounted() -> None:
    options = uncounted(sum_of_rows).targetoptions
    assert {name for name, kernel in KERNELS.items() if kernel.targetoptions != options} == COUNTED
    assert {"push_chunk", "push_table", "sum_chunk", "embed", "push_kept", "kick_and_drift", "meet"} <= set(KERNELS)


@pytest.mark.parametrize("kernel", [k for name, k in KERNELS.items() if name not in COUNTED], ids=lambda k: k.__name__)
def test_an_uncounted_kernel_returns_no_array(kernel: Dispatcher) -> None:
    """Its caller would let go of one too early."""
    annotation = str(kernel.py_func.__annotations__["return"])
    assert annotation in ("None", "int", "float", "tuple[float, float]", "tuple[int, int]", "tuple[int, bool]")
    for signature in kernel.nopython_signatures:
        result = signature.return_type
        parts = list(result) if isinstance(result, types.BaseTuple) else [result]
        assert all(isinstance(part, types.Number | types.Boolean | types.NoneType) for part in parts)


def test_a_kernel_that_makes_an_array_is_refused() -> None:
    @uncounted
    def kernel(n: int) -> float:
        return float(np.zeros(n).sum())

    with pytest.raises(TypingError, match="Only accept returning of array passed into the function"):
        kernel(3)
