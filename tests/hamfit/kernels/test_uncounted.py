"""Kernels that are run for every particle count no references, and make no arrays."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from numba.core.errors import TypingError

from hamfit.kernels import counting, density, pair_forces, pair_tables, stepping
from hamfit.kernels.uncounted import uncounted

EVERY_STEP = (
    pair_forces.push_chunk,
    pair_tables.law,
    pair_tables.push_table,
    density.sum_chunk,
    density.embed,
    density.push_kept,
    stepping.add_windows,
    stepping.kick_and_drift,
    stepping.last_kick,
    counting.count_outside,
)


def sum_of_rows(rows: tuple[np.ndarray, np.ndarray]) -> float:
    total, row = 0.0, rows[0][0]
    for i in range(rows[0].shape[0]):
        if rows[1][i, 0] > 0.0:
            row = rows[0][i]
        total += row[0]
    return total


def test_references_are_counted_by_numba_and_not_by_these_kernels() -> None:
    rows = (np.ones((3, 2)), np.ones((3, 2)))
    counts = []
    for compiled in (nb.njit(sum_of_rows), nb.njit(**options_of_uncounted())(sum_of_rows)):
        assert compiled(rows) == 3.0
        counts.append("@NRT_decref" in "".join(compiled.inspect_llvm().values()))
    assert counts == [True, False]


def options_of_uncounted() -> dict[str, bool]:
    """As `uncounted` compiles, but into no cache: what comes from there cannot be looked into."""
    options = dict(uncounted(sum_of_rows).targetoptions)
    return {name: value for name, value in options.items() if name != "nopython"}


@pytest.mark.parametrize("kernel", EVERY_STEP, ids=lambda kernel: kernel.__name__)
def test_what_is_run_at_every_step_counts_no_references(kernel: object) -> None:
    assert kernel.targetoptions == uncounted(sum_of_rows).targetoptions


def test_a_kernel_that_makes_an_array_is_refused() -> None:
    @uncounted
    def kernel(n: int) -> float:
        return float(np.zeros(n).sum())

    with pytest.raises(TypingError, match="Only accept returning of array passed into the function"):
        kernel(3)
